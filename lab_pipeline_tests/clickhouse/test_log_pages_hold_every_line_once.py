import threading
from datetime import timedelta

import pytest

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.logs import LEVELS, Order, append_lines, last_lines, list_lines
from lab_pipeline_tests.support.logbook import MOMENT, lines_of, walk


@pytest.fixture
def run(clickhouse, run_id):
    append_lines(clickhouse, lines_of(run_id, range(1, 701)))
    append_lines(clickhouse, lines_of(f"{run_id}-other", range(1, 50)))
    append_lines(clickhouse, lines_of(run_id, range(601, 1001)))  # sent again in part, as after a crash
    return run_id


@pytest.mark.parametrize("limit", [1_000, 999, 100, 37])
def test_walking_gives_every_line_once_in_both_orders(clickhouse, run, limit):
    assert walk(clickhouse, run, limit=limit) == list(range(1, 1001))
    assert walk(clickhouse, run, limit=limit, order=Order.NEWEST_FIRST) == list(range(1000, 0, -1))


def test_lines_come_back_whole(clickhouse, run):
    page = list_lines(clickhouse, run, limit=7)
    assert page.lines.equals(lines_of(run, range(1, 8)).drop("run_id"))
    assert page.next_cursor == 7


def test_levels_are_at_least(clickhouse, run):
    for index, level in enumerate(LEVELS):
        expected = [n for n in range(1, 1001) if n % len(LEVELS) >= index]
        assert walk(clickhouse, run, level=level, limit=300) == expected
    with pytest.raises(ValueError, match="LOUD"):
        list_lines(clickhouse, run, level="LOUD")


def test_text_is_found_in_message_and_stack_whatever_its_case(clickhouse, run):
    assert walk(clickhouse, run, text="candle 77 READ") == [77]
    assert walk(clickhouse, run, text="zerodivision") == list(range(4, 1001, 100))
    assert walk(clickhouse, run, text="%") == []
    assert walk(clickhouse, run, text="' OR 1=1") == []


def test_times_include_the_start_and_exclude_the_end(clickhouse, run):
    assert walk(clickhouse, run, start=MOMENT + timedelta(seconds=2), end=MOMENT + timedelta(seconds=3)) == list(
        range(100, 150)
    )


def test_filters_combine_in_both_orders(clickhouse, run):
    expected = [n for n in range(500, 1001) if n % 5 >= 3 and "9" in str(n)]
    options = {"level": "ERROR", "text": "9", "start": MOMENT + timedelta(seconds=10), "limit": 11}
    assert walk(clickhouse, run, **options) == expected
    assert walk(clickhouse, run, order=Order.NEWEST_FIRST, **options) == expected[::-1]


def test_lines_that_arrive_while_walking_are_met_once(config, clickhouse, run_id):
    append_lines(clickhouse, lines_of(run_id, range(1, 101)))
    done = threading.Event()

    def ship():
        with ClickHouse(config) as shipper:
            for begin in range(101, 1001, 60):
                append_lines(shipper, lines_of(run_id, range(begin - 20, min(begin + 60, 1001))))
        done.set()

    thread = threading.Thread(target=ship)
    thread.start()
    met, cursor = [], None
    backwards = walk(clickhouse, run_id, order=Order.NEWEST_FIRST, limit=10)
    while not done.is_set() or list_lines(clickhouse, run_id, cursor=cursor).lines.height:
        page = list_lines(clickhouse, run_id, cursor=cursor, limit=17)
        met += page.lines["seq"].to_list()
        cursor = met[-1] if met else None
    thread.join()
    assert met == list(range(1, 1001))
    assert backwards == list(range(backwards[0], 0, -1))


def test_the_last_line_that_arrived_is_known(clickhouse, run, run_id):
    assert last_lines(clickhouse, [run, f"{run_id}-unknown"]) == {run: 1000}
    assert last_lines(clickhouse, []) == {}
    append_lines(clickhouse, lines_of(run, []))


def test_any_text_is_kept(clickhouse, run_id):
    text = "é\ttab\nline \\ 'quote' \x00 \U0001f680 {a:Int8}"
    append_lines(clickhouse, lines_of(run_id, [1], message=text, data='{"k": "\\u0000"}'))
    assert list_lines(clickhouse, run_id).lines["message"].item() == text
