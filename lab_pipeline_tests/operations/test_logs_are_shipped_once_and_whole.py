import json
import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from sqlalchemy import text

from lab_pipeline.clickhouse import logs
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.errors import ClickHouseAwayError
from lab_pipeline.clickhouse.logs import append_lines, list_lines, sealed_runs
from lab_pipeline.dagster_ext.event_lines import level_of, plain
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations import log_shipper
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.log_shipper import Shipper, backlog, run_shipper, ship_runs, shipping
from lab_pipeline.settings import Settings, load_settings
from lab_pipeline_tests.operations.event_logs import start_run, stored
from lab_pipeline_tests.support.logbook import lines_of

STARTED, SUCCESS = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS


@pytest.fixture
def home(tmp_path, monkeypatch, clickhouse_url):
    """Settings and instance of an empty home."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    settings = load_settings()
    with open_instance(settings) as instance:
        yield settings, instance


@pytest.fixture
def instance(home):
    return home[1]


@pytest.fixture
def clickhouse(home):
    with ClickHouse(clickhouse_config(home[0])) as clickhouse:
        yield clickhouse


def hurry(monkeypatch):
    """Let a log be sealed right after its run, and believe all clocks."""
    monkeypatch.setattr(log_shipper, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(log_shipper, "OVERLAP", timedelta())


def say(instance, run_id, message, level=logging.INFO):
    entry = dg.EventLogEntry(
        error_info=None, level=level, user_message=message, run_id=run_id, timestamp=time.time(), step_key="simulate"
    )
    instance.event_log_storage.store_event(entry)
    return entry


def say_much(instance, run_id, count):
    """Put lines into the event log faster than Dagster does."""
    body = say(instance, run_id, "one of many").to_json()
    row = {"run": run_id, "event": body, "at": datetime.now(UTC).replace(tzinfo=None).isoformat(" ")}
    with instance.event_log_storage.run_connection(run_id) as connection:
        statement = text("INSERT INTO event_logs (run_id, event, timestamp) VALUES (:run, :event, :at)")
        connection.execute(statement, [row] * (count - 1))


def shipped(clickhouse, run_id):
    return list(read(clickhouse, run_id)["seq"])


def read(clickhouse, run_id):
    return list_lines(clickhouse, run_id, limit=100_000).lines


@dg.asset
def priced():
    return dg.MaterializeResult(
        metadata={"rows": 3, "picture": dg.MetadataValue.md("x" * 20_000), "where": dg.MetadataValue.path("/x")}
    )


@dg.op
def divide(context):
    context.log.warning("about to divide")
    try:
        return 1 / 0
    except ZeroDivisionError as error:
        raise ValueError("no quotient") from error


@dg.job
def dividing():
    divide()


def test_every_event_of_any_job_is_a_line_with_its_level_step_stack_and_data(instance, clickhouse):
    failed = dividing.execute_in_process(instance=instance, raise_on_error=False).run_id
    materialised = dg.materialize([priced], instance=instance).run_id
    sent = Shipper(clickhouse).ship(instance)
    assert sent == len(stored(instance, failed)) + len(stored(instance, materialised))
    for run_id in (failed, materialised):
        assert shipped(clickhouse, run_id) == stored(instance, run_id)
    lines = read(clickhouse, failed)
    user = lines.filter(message="about to divide").row(0, named=True)
    assert (user["level"], user["step_key"], user["event_type"], user["stack"]) == ("WARNING", "divide", "", "")
    assert abs(user["timestamp"].timestamp() - time.time()) < 60
    failure = lines.filter(event_type="STEP_FAILURE").row(0, named=True)
    assert failure["level"] == "ERROR"
    assert "ZeroDivisionError: division by zero" in failure["stack"]
    assert "ValueError: no quotient" in failure["stack"]
    assert lines.filter(event_type="PIPELINE_FAILURE").height == 1
    line = read(clickhouse, materialised).filter(event_type="ASSET_MATERIALIZATION").row(0, named=True)
    facts = json.loads(line["data"])["materialization"]
    assert facts["asset_key"] == "priced"
    assert (facts["metadata"]["rows"], facts["metadata"]["where"]) == (3, "/x")
    assert facts["metadata"]["picture"].endswith("… (20,000 characters)")


def test_lines_of_a_running_run_arrive_as_they_come_whoever_ships(instance, clickhouse):
    run_id = start_run(instance)
    tail = Shipper(clickhouse)
    for number in range(4):
        say(instance, run_id, f"line {number}")
        (written,) = [record.timestamp for record in instance.get_records_for_run(run_id).records][number:]
        assert backlog(instance, clickhouse) == log_shipper.Backlog(1, 1, written)
        assert (tail if number % 2 else Shipper(clickhouse)).ship(instance) >= 1
        assert backlog(instance, clickhouse) == log_shipper.Backlog(1, 0)
        assert shipped(clickhouse, run_id) == stored(instance, run_id)
    assert ship_runs(instance, clickhouse, [run_id]) == 0


def test_lines_that_clickhouse_would_drop_at_once_for_their_age_do_not_wait(instance, clickhouse, monkeypatch):
    class InThreeDays(log_shipper.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + timedelta(days=3)

    say(instance, start_run(instance, SUCCESS), "a line")
    monkeypatch.setattr(log_shipper, "datetime", InThreeDays)
    assert backlog(instance, clickhouse).lines == 1
    monkeypatch.setattr(clickhouse, "config", replace(clickhouse.config, retention_days=1))
    assert backlog(instance, clickhouse) == log_shipper.Backlog(0, 0)
    assert Shipper(clickhouse).ship(instance) == 0


def test_logs_are_shipped_where_the_home_has_no_directory_of_dagster_yet(tmp_path):
    with shipping(Settings(home=tmp_path / "new")) as mine:
        assert mine


def test_many_shippers_at_once_double_nothing(home, instance, clickhouse):
    runs = [start_run(instance) for _ in range(3)]
    for run_id in runs:
        say_much(instance, run_id, 1_500)

    def ship():
        with ClickHouse(clickhouse_config(home[0])) as own:
            ship_runs(instance, own, runs)

    threads = [threading.Thread(target=ship) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run_id in runs:
        assert shipped(clickhouse, run_id) == list(range(1, 1_501))


def test_a_long_log_keeps_no_other_run_waiting(instance, clickhouse):
    long, short = start_run(instance), start_run(instance)
    say_much(instance, long, 30_000)
    tail = Shipper(clickhouse)
    tail.ship(instance, seconds=0.0)
    for number in range(3):
        say(instance, short, f"line {number}")
        tail.ship(instance, seconds=0.0)
        assert shipped(clickhouse, short) == stored(instance, short)
        assert tail.behind
    assert len(shipped(clickhouse, long)) < 30_000
    while tail.behind:
        tail.ship(instance)
    assert shipped(clickhouse, long) == list(range(1, 30_001))


def test_a_log_is_sealed_some_time_after_its_run_and_then_left_alone(instance, clickhouse, monkeypatch):
    run_id = start_run(instance)
    say(instance, run_id, "working")
    tail = Shipper(clickhouse)
    tail.ship(instance)
    instance.report_run_failed(instance.get_run_by_id(run_id), "enough")
    tail.ship(instance)
    assert run_id not in sealed_runs(clickhouse)
    say(instance, run_id, "a last word")
    hurry(monkeypatch)
    tail = Shipper(clickhouse)
    tail.ship(instance)
    assert run_id in sealed_runs(clickhouse)
    assert shipped(clickhouse, run_id) == stored(instance, run_id)
    assert backlog(instance, clickhouse) == log_shipper.Backlog(0, 0)

    monkeypatch.setattr(instance, "get_records_for_run", lambda *_a, **_k: pytest.fail("it was looked at again"))
    Shipper(clickhouse).ship(instance)
    monkeypatch.undo()
    say(instance, run_id, "the very last")
    assert ship_runs(instance, clickhouse, [run_id]) == 1


def test_what_a_log_gets_after_its_shipper_sealed_it_and_died_is_shipped_by_the_next(instance, clickhouse, monkeypatch):
    hurry(monkeypatch)
    repeated, quiet = start_run(instance), start_run(instance)
    for run_id in (repeated, quiet):
        instance.report_run_failed(instance.get_run_by_id(run_id), "killed")
    Shipper(clickhouse).ship(instance)
    assert {repeated, quiet} <= sealed_runs(clickhouse).keys()

    instance.add_run_tags(repeated, {"dagster/auto_retry_run_id": "another"})
    instance.report_engine_event("Retrying the run", instance.get_run_by_id(repeated))
    waiting = backlog(instance, clickhouse)
    assert (waiting.runs, waiting.lines) == (1, 1)
    assert Shipper(clickhouse).ship(instance) == 1
    assert shipped(clickhouse, repeated) == stored(instance, repeated)
    assert backlog(instance, clickhouse) == log_shipper.Backlog(0, 0)


def test_a_run_that_is_deleted_while_it_is_shipped_leaves_nothing(instance, clickhouse, monkeypatch):
    monkeypatch.setattr(log_shipper, "GRACE_SECONDS", 0.0)
    run_id = start_run(instance, SUCCESS)
    say(instance, run_id, "short")
    get_run_records = type(instance).get_run_records

    def deleting(self, filters):
        if filters.run_ids and self.has_run(run_id):  # it is about to be sealed
            self.delete_run(run_id)
        return get_run_records(self, filters)

    monkeypatch.setattr(type(instance), "get_run_records", deleting)
    assert Shipper(clickhouse).ship(instance) == 1
    assert shipped(clickhouse, run_id) == []


def test_a_damaged_event_log_does_not_keep_others_from_being_shipped(instance, clickhouse, caplog):
    bad, good = start_run(instance), start_run(instance)
    for run_id in (bad, good):
        say(instance, run_id, "fine")
    with instance.event_log_storage.run_connection(bad) as connection:
        connection.execute(text("UPDATE event_logs SET event = '{'"))
    Shipper(clickhouse).ship(instance)
    assert shipped(clickhouse, good) == [1]
    assert f"cannot read the event log of run {bad}" in caplog.text


def test_while_clickhouse_is_away_lines_wait(home, instance, monkeypatch, caplog):
    monkeypatch.setattr(log_shipper, "TICK_SECONDS", 0.05)
    run_id = start_run(instance)
    failures = []

    def away(*arguments):
        if len(failures) < 3:
            failures.append(arguments)
            raise ClickHouseAwayError("nobody there")
        append_lines(*arguments)

    monkeypatch.setattr(log_shipper, "append_lines", away)
    say(instance, run_id, "first")
    stop = threading.Event()
    thread = threading.Thread(target=run_shipper, args=(Lab(*home), stop))
    thread.start()
    deadline = time.monotonic() + 30
    while len(failures) < 3:
        assert time.monotonic() < deadline
        say(instance, run_id, "more")
    with ClickHouse(clickhouse_config(home[0])) as reader:
        while shipped(reader, run_id) != stored(instance, run_id):
            assert time.monotonic() < deadline
    stop.set()
    thread.join()
    assert caplog.text.count("cannot ship now") == 1
    assert "shipping again" in caplog.text


def test_a_batch_over_the_end_of_a_month_is_inserted_in_order(clickhouse, monkeypatch):
    inserted = []
    monkeypatch.setattr(clickhouse, "insert", lambda _table, rows, _token: inserted.append(rows["seq"].to_list()))
    moments = [datetime(2026, month, 28, tzinfo=UTC) for month in (1, 1, 2, 1, 1)]
    append_lines(clickhouse, lines_of("run", range(1, 6), timestamp=moments))
    assert inserted == [[1, 2], [3], [4, 5]]


def test_levels_and_data_are_plain():
    assert [level_of(number) for number in (5, 10, 15, 20, 35, 40, 55)] == [
        *("DEBUG", "DEBUG", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    ]
    odd = {"__class__": "X", "error": {"message": "m"}, "a": None, "b": [{"__enum__": "E.ONE"}], "c": {"k": {}}}
    assert plain(odd) == {"b": ["ONE"]}
    assert logs.LEVELS[0] == "DEBUG"
