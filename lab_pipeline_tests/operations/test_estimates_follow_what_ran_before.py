from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from lab_pipeline.operations.estimate import SECONDS_PER_CALL, START_SECONDS, estimate_seconds

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Record:
    """Completed backtests of so many calls that took so many seconds."""

    def __init__(self, *finished):
        self.finished = finished

    def page(self, wanted, *, limit):
        assert ([*map(str, wanted.statuses)], list(wanted.timeframes)) == (["completed"], ["5m"])
        runs = [
            SimpleNamespace(
                published=SimpleNamespace(summary=SimpleNamespace(calls=calls)),
                started_at=BEGAN,
                completed_at=BEGAN + timedelta(seconds=seconds),
            )
            for calls, seconds in self.finished
        ]
        return runs[:limit], None


def test_without_runs_the_usual_figures_are_taken():
    assert estimate_seconds(Record(), "5m", 1000).runs == 0
    assert estimate_seconds(Record(), "5m", 1000).seconds == START_SECONDS + 1000 * SECONDS_PER_CALL


def test_runs_of_two_sizes_give_a_line():
    estimate = estimate_seconds(Record((100, 5.0), (1100, 7.0)), "5m", 10_100)
    assert estimate.runs == 2
    assert estimate.seconds == pytest.approx(25.0)


def test_runs_of_one_size_give_the_start_and_the_usual_slope():
    assert estimate_seconds(Record((100, 5.0), (100, 6.0)), "5m", 1100).seconds == pytest.approx(6.5)


def test_an_estimate_is_never_shorter_than_the_shortest_run_nor_falls_with_size():
    assert estimate_seconds(Record((1000, 8.0), (2000, 12.0)), "5m", 1).seconds == 8.0
    assert estimate_seconds(Record((1000, 12.0), (2000, 8.0)), "5m", 9000).seconds == pytest.approx(10.0)
