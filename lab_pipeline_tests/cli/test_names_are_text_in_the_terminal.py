"""What a person named is shown by every command as text, in a terminal and in a pipe."""

import io

import pytest

from lab_pipeline.cli.app import TextConsole, TextTable
from lab_pipeline.cli.app import table as new_table

NAME = "Eve\x1b[2J\x9b31m\u202e\nrun 2  completed\u200b"


@pytest.fixture
def console():
    return TextConsole(file=io.StringIO(), color_system=None, width=200, markup=False, emoji=False, soft_wrap=True)


def acting(text):
    return [character for character in text if not character.isprintable() and character != "\n"]


def printed(console):
    return console.file.getvalue()


def test_in_a_sentence(console):
    console.print(f"error: unknown caller {NAME}", style="red")
    assert acting(printed(console)) == []
    assert "Eve\\x1b[2J\\x9b31m\\u202e" in printed(console)


def test_in_a_cell_of_a_table_a_name_is_one_line(console):
    rows = new_table("name", "trades", right=("trades",))
    assert isinstance(rows, TextTable)
    rows.add_row(NAME, "1")
    console.print(rows)
    assert acting(printed(console)) == []
    assert len(printed(console).splitlines()) == 2


def test_in_json(console):
    console.show_json({"name": NAME})
    text = printed(console)
    assert "\\u001b[2J\\u009b31m\\u202e\\nrun 2" in text
    assert "\x9b" not in text


def test_strategies_are_listed_as_text(lab, tmp_path):
    file = tmp_path / "strategy.json"
    file.write_text(
        '{"id": "odd", "name": "N\\u001b[2J\\u009b\\u202e\\nX", "description": "D\\u0007", "tags": ["t\\u001b"],'
        ' "exit": {"stopLoss": 0.5}}'
    )
    assert lab("strategies", "add", str(file)).status == 0
    for arguments in (["list"], ["list", "--json"], ["describe", "odd"]):
        shown = lab("strategies", *arguments).out
        assert acting(shown) == []
    assert "N\\x1b[2J\\x9b\\u202e\\nX" in lab("strategies", "list").out
