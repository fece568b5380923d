"""Whatever the clock says while a run is logged: each line arrives once, in its order, and the log is sealed."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.logs import Order, list_lines, sealed_runs
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations import log_shipper
from lab_pipeline.operations.log_shipper import Shipper, backlog, ship_runs
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.operations.event_logs import start_run, stored
from lab_pipeline_tests.support.logbook import walk

MOMENT = datetime(2026, 5, 1, 0, 0, 30, tzinfo=UTC)
YEAR = timedelta(days=365)


class Clock:
    """The time that this process goes by, and how long it has been counting."""

    def __init__(self):
        self.at, self.count = MOMENT, 1_000.0

    def go_on(self, seconds):
        self.at += timedelta(seconds=seconds)
        self.count += seconds

    def seconds(self):
        return self.at.timestamp()

    @property
    def frozen(self):
        return freeze_time(self.at)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(log_shipper, "datetime", SimpleNamespace(now=lambda _zone: clock.at))
    monkeypatch.setattr(log_shipper, "time", SimpleNamespace(time=clock.seconds, monotonic=lambda: clock.count))
    return clock


@pytest.fixture
def home(tmp_path, monkeypatch, clickhouse_url):
    """An empty home; its settings."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    return load_settings()


@pytest.fixture
def instance(home):
    with open_instance(home) as instance:
        yield instance


@pytest.fixture
def clickhouse(home):
    with ClickHouse(clickhouse_config(home)) as clickhouse:
        yield clickhouse


def say(instance, clock, run_id, message):
    entry = dg.EventLogEntry(None, 20, message, run_id, clock.seconds())
    instance.event_log_storage.store_event(entry)


@pytest.mark.parametrize("step", [timedelta(seconds=-1), timedelta(days=-20), timedelta(days=400)])
def test_lines_are_read_in_the_order_in_which_they_were_written(instance, clickhouse, clock, step):
    run_id = start_run(instance)
    tail, followed, after = Shipper(clickhouse), [], None
    for number in range(24):
        say(instance, clock, run_id, f"line {number}")
        clock.at += step if number % 3 else -step / 2  # there and back, so that times lie among earlier ones
        if number % 5 == 0:
            tail.ship(instance)
            page = list_lines(clickhouse, run_id, cursor=after)
            followed += page.lines["message"].to_list()
            after = page.lines["seq"].to_list()[-1]
    ship_runs(instance, clickhouse, [run_id])
    followed += list_lines(clickhouse, run_id, cursor=after).lines["message"].to_list()
    written = [f"line {number}" for number in range(24)]
    for limit in (1, 7, 100):
        assert walk(clickhouse, run_id, "message", limit=limit) == written
        assert walk(clickhouse, run_id, "message", limit=limit, order=Order.NEWEST_FIRST) == written[::-1]
    assert followed == written
    assert list(list_lines(clickhouse, run_id).lines["seq"]) == stored(instance, run_id)


def test_a_run_that_begins_and_ends_while_the_clock_is_put_back_is_found(instance, clickhouse, clock):
    tail = Shipper(clickhouse)
    tail.ship(instance)
    clock.at -= YEAR
    clock.go_on(1)
    with clock.frozen:
        run_id = start_run(instance)
        say(instance, clock, run_id, "short")
        instance.report_run_canceled(instance.get_run_by_id(run_id))
    clock.go_on(1)
    tail.ship(instance)
    assert list(list_lines(clickhouse, run_id).lines["seq"]) == stored(instance, run_id)


def test_runs_of_a_time_that_is_yet_to_come_are_sealed_and_left_alone(instance, clickhouse, clock, monkeypatch):
    tail = Shipper(clickhouse)
    tail.ship(instance)
    clock.at += YEAR
    with clock.frozen:
        run_id = start_run(instance)
        say(instance, clock, run_id, "short")
        instance.report_run_canceled(instance.get_run_by_id(run_id))
    tail.ship(instance)
    clock.at -= YEAR
    for _ in range(3):
        clock.go_on(log_shipper.GRACE_SECONDS + 1)
        tail.ship(instance)
    assert run_id in sealed_runs(clickhouse)
    assert backlog(instance, clickhouse) == log_shipper.Backlog(0, 0)
    monkeypatch.setattr(instance, "get_records_for_run", lambda *_a, **_k: pytest.fail("it was looked at again"))
    clock.go_on(1)
    tail.ship(instance)
