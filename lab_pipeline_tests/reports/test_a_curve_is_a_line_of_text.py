import pytest

from lab_pipeline.reports.sparkline import BLOCKS, WIDTH, sparkline


def test_it_rises_and_falls_as_the_values_do():
    line = sparkline([100, 110, 140, 90, 170, 120])
    assert len(line) == 6
    assert [BLOCKS.index(block) for block in line] == [1, 2, 5, 0, 7, 3]


@pytest.mark.parametrize("count", [1, 2, WIDTH, WIDTH + 1, 10_000])
def test_it_is_as_long_as_there_is_room_and_ends_where_the_curve_ends(count):
    line = sparkline(list(range(count)))
    assert len(line) == min(count, WIDTH)
    assert line[-1] == (BLOCKS[-1] if count > 1 else BLOCKS[0])


def test_nothing_and_a_flat_line_are_drawn_too():
    assert sparkline([]) == ""
    assert sparkline([5.0, 5.0]) == BLOCKS[0] * 2
