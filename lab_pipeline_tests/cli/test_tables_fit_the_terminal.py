"""Tables break no word, drop what matters least, and say so."""

import io

import pytest
from rich.cells import cell_len

from lab_pipeline.cli.app import TextConsole, table

PROSE = "Buys at market and sells in three steps while a trailing stop follows"


def printed(rows, width):
    console = TextConsole(file=io.StringIO(), color_system=None, width=width, markup=False, emoji=False, soft_wrap=True)
    console.print(rows)
    return console.file.getvalue().splitlines()


def runs(**options):
    made = table(
        "run", "strategy", "profit factor", "stability", "fills", right=("profit factor", "stability"), **options
    )
    made.add_row("0a1b2c3d", "ladder v1", "1.25", "0.5", "0f0f0f0f")
    made.add_row("4e5f6a7b", "trend-rider v12", "10.00", "0.25", "1e1e1e1e")
    return made


def test_a_table_that_fits_is_as_wide_as_what_is_in_it():
    assert printed(runs(), 80) == [
        "run       strategy         profit factor  stability  fills",
        "0a1b2c3d  ladder v1                 1.25        0.5  0f0f0f0f",
        "4e5f6a7b  trend-rider v12          10.00       0.25  1e1e1e1e",
    ]


def test_a_heading_is_broken_between_words_before_a_column_goes():
    lines = printed(runs(drop=("fills",)), 55)
    assert lines[0].split() == ["profit"]
    assert lines[1].split() == ["run", "strategy", "factor", "stability", "fills"]
    assert max(map(len, lines)) <= 55


def test_the_least_important_columns_go_first_and_a_line_says_which():
    lines = printed(runs(drop=("fills", "stability")), 45)
    assert lines[-1] == "no room here for: fills"
    lines = printed(runs(drop=("fills", "stability")), 36)
    assert lines[-1] == "no room here for: stability, fills"
    assert lines[2] == "0a1b2c3d  ladder v1             1.25"


@pytest.mark.parametrize("width", range(24, 100, 4))
def test_no_word_is_broken_and_no_line_too_long(width):
    made = table("id", "trades", "description", right=("trades",), prose=("description",), drop=("trades",))
    made.add_row("ladder", "1,234", PROSE)
    lines = printed(made, width)
    assert all(cell_len(line) <= width for line in lines[:-1])
    words = " ".join(lines).split()
    assert [word for word in words if word in PROSE.split()] == PROSE.split()


def test_what_fits_nowhere_is_cut_and_shows_it():
    made = table("caller", "trades", right=("trades",))
    made.add_row("x" * 200, "7")
    lines = printed(made, 40)
    assert len(lines) == 2
    assert lines[1].startswith("xxxx")
    assert "…" in lines[1]
    assert lines[1].endswith("7")
    assert len(lines[1]) <= 40


def test_letters_that_are_two_columns_wide_are_counted_as_two():
    made = table("caller", "n", right=("n",))
    made.add_row("月の子", "1")
    made.add_row("ann", "22")
    assert [cell_len(line) for line in printed(made, 80)[1:]] == [10, 10]


def test_a_row_of_another_length_is_a_mistake():
    with pytest.raises(ValueError, match="1 cells in a table of 2 columns"):
        table("a", "b").add_row("1")
