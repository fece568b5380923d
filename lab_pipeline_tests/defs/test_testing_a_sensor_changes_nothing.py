"""Any sensor, from any cursor: a test of it changes nothing, and no cursor stops its ticks."""

import hashlib
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.scheduler.instigation import TickStatus
from dagster._daemon.asset_daemon import asset_daemon_cursor_to_instigator_serialized_cursor

from lab_pipeline.dagster_ext.daemon_cursors import FAILED_RUNS_CURSOR, clear_unreadable
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.lake import Lake
from lab_pipeline.operations import recovery
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon, queued
from lab_pipeline_tests.support.fake_webhook import SECRET, receiving
from lab_pipeline_tests.support.markets import MINUTE, START, calls, candles

TIME = pl.Datetime("ms", "UTC")
FOREIGN = {
    "empty": "",
    "text": "foreign",
    "nested": "[" * 50_000,
    "no times": '{"key": NaN}',
    "a number": "1",
    "far ahead": "999999999999",
    "a state that is not kept": "0123456789abcdef",
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A lab that has told of nothing yet, with something for every sensor to do."""
    with receiving() as receiver:
        settings = {
            "LAB_HOME": tmp_path,
            "DAGSTER_HOME": tmp_path / "dagster",
            "LAB_WEBHOOK_URL": receiver.url,
            "LAB_WEBHOOK_SECRET": SECRET,
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(recovery, "QUEUED_WITHIN", timedelta())
        lake = Lake(tmp_path / "lake")
        lake.write_candles(candles().with_columns(pl.col("timestamp").cast(TIME)), "1m")
        lake.write_calls(calls().with_columns(pl.col("called_at").cast(TIME)))
        Lab(load_settings()).strategies.describe("ladder", tags=["watched"])
        yield receiver


def five_calls():
    rows = [(f"new{number}", "dan", "AAA", START + (30 + number) * MINUTE) for number in range(5)]
    frame = pl.DataFrame(rows, schema=["call_id", "caller", "mint", "called_at"], orient="row")
    Lab(load_settings()).lake.write_calls(frame.with_columns(pl.col("called_at").cast(TIME)))


def fail(instance, lab):
    run = lab.launched(strategy="ladder", timeframe="1m")
    instance.report_run_failed(run, message="the disk is full")
    return run.run_id


def fail_a_check(instance):
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=dg.AssetKey(["lake", "candles"]), check_name="coverage", passed=False)
    )


def state_of(instance, home):
    """Everything that is stored: the content of files, and the rows of Dagster's stores."""
    files = {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file() and ((home / "dagster") not in path.parents or "seen_calls" in path.parts)
    }
    runs = {run.run_id: (run.status, run.tags, len(instance.all_logs(run.run_id))) for run in instance.get_runs()}
    sensors = {state.instigator_name: state.instigator_data for state in instance.all_instigator_state()}
    cursors = instance.daemon_cursor_storage.get_cursor_values({"lab/failing_checks", FAILED_RUNS_CURSOR})
    return files, runs, sensors, cursors


@contextmanager
def with_work(instance, inbox):
    """Let every sensor begin, then give each of them something to do."""
    with daemon(instance) as lab:
        for name in lab.ticking():
            lab.run_sensor(name)
        five_calls()
        fail_a_check(instance)
        fail(instance, lab)
        lab.launched(strategy="ladder", timeframe="1m")
        inbox.mkdir(exist_ok=True)
        (inbox / "calls.csv").write_text("call_id,caller,mint,called_at\nc9,eve,AAA,2018-01-10T00:45:00Z\n")
        yield lab


def test_a_test_of_any_sensor_from_any_cursor_changes_nothing_and_the_next_ticks_lose_nothing(home, tmp_path):
    with open_instance(load_settings()) as instance, with_work(instance, tmp_path / "inbox") as lab:
        before = state_of(instance, tmp_path)
        stored = {name: lab.cursor_of(name) for name in lab.sensors()}
        others = (stored["watch_inbox"], FOREIGN["text"], FOREIGN["a number"])
        for name in lab.sensors():
            for cursor in (None, stored[name], *others):
                lab.test_sensor(name, cursor)
        files, *rows = state_of(instance, tmp_path)
        assert {path: files.get(path) for path in before[0]} == before[0]
        assert all("seen_calls" in path for path in files.keys() - before[0].keys())
        assert rows == list(before[1:])
        assert home.asked == 0

        ticks = {name: lab.run_sensor(name) for name in lab.ticking()}
        runs = queued(instance)
        assert [tick.skip_reason for name, tick in ticks.items() if tick.status is TickStatus.FAILURE] == []
        assert [run.tags["lab/window"] for run in runs if "lab/window" in run.tags] == [
            "2018-01-10T00:30:00.000Z/2018-01-10T00:34:00.001Z"
        ]
        assert all(run.status is not dg.DagsterRunStatus.NOT_STARTED for run in runs)
        assert sorted(told["type"] for _, told in home.taken) == ["data_quality.failed", "run.failed"]


def test_no_cursor_stops_a_sensor_and_the_tick_says_that_it_begins_anew(home, tmp_path):
    words = {
        "watch_calls": "calls before this are not run by themselves",
        "watch_inbox": "the cursor was none of this sensor",
        "notify_failures": "runs that fail from now on are reported",
    }
    with open_instance(load_settings()) as instance, with_work(instance, tmp_path / "inbox") as lab:
        own = {"watch_inbox": {"empty"}, "notify_failures": {"a number"}}
        for name in (name for name in lab.ticking() if name in words):
            for what, cursor in FOREIGN.items():
                lab.set_cursor(name, cursor)
                tick = lab.run_sensor(name)
                assert tick.status is not TickStatus.FAILURE, (name, what, tick.error)
                if what not in own.get(name, set()):
                    assert words[name] in tick.skip_reason, (name, what)
        home.taken.clear()
        run_id = fail(instance, lab)
        Lab(load_settings()).lake.write_calls(calls().with_columns(pl.col("called_at").cast(TIME), mint=pl.lit("BBB")))
        for name in lab.ticking():
            lab.run_sensor(name)
        assert [told["data"]["runId"] for _, told in home.taken if told["type"] == "run.failed"] == [run_id]
        assert [run.tags["lab/window"] for run in queued(instance) if "lab/window" in run.tags] != []


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("damage", ["deleted", "empty", "cut", "other columns"])
def test_calls_that_were_seen_and_are_damaged_are_begun_anew_aloud_and_once(tmp_path, damage):
    with open_instance(load_settings()) as instance, daemon(instance) as lab:
        lab.run_sensor("watch_calls")
        (path,) = (tmp_path / "dagster" / "seen_calls").iterdir()
        match damage:
            case "deleted":
                path.unlink()
            case "empty":
                path.write_bytes(b"")
            case "cut":
                path.write_bytes(path.read_bytes()[:-20])
            case "other columns":
                pl.DataFrame({"id": [1]}).write_parquet(path)
        five_calls()
        assert f"of the cursor '{path.stem}' nothing is kept" in lab.run_sensor("watch_calls").skip_reason
        assert lab.run_sensor("watch_calls").skip_reason == "no calls have come since"
        Lab(load_settings()).lake.write_calls(calls().with_columns(pl.col("called_at").cast(TIME), mint=pl.lit("BBB")))
        assert len(lab.run_sensor("watch_calls").run_ids) == 1


@pytest.mark.usefixtures("home")
def test_a_cursor_that_stops_automation_is_cleared_and_its_own_is_not():
    own = asset_daemon_cursor_to_instigator_serialized_cursor(AssetDaemonCursor.empty(3))
    with open_instance(load_settings()) as instance, daemon(instance) as lab:
        for cursor in filter(None, FOREIGN.values()):  # Dagster itself takes an empty one
            lab.set_cursor("statistics_after_backtests", cursor)
            assert clear_unreadable(instance) == ["statistics_after_backtests"]
            assert lab.cursor_of("statistics_after_backtests") is None
        lab.set_cursor("statistics_after_backtests", own)
        lab.set_cursor("watch_inbox", "foreign")
        assert clear_unreadable(instance) == []
        assert lab.cursor_of("statistics_after_backtests") == own
