from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from lab_pipeline.definitions import defs
from lab_pipeline.defs.lake import sensors
from lab_pipeline.defs.lake.jobs import _Batch
from lab_pipeline.defs.lake.metadata import CALLS_KEY, CANDLES_KEY
from lab_pipeline.defs.operations.instance import open_instance
from lab_pipeline.defs.operations.reasons import failure_reason
from lab_pipeline.defs.operations.resources import Lab
from lab_pipeline.lake import LakeUnwritableError
from lab_pipeline.lake import lake as lake_module
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.defs.daemon import daemon, dying_at, queued
from lab_pipeline_tests.markets import calls, candles


class Clock:
    def __init__(self):
        self.time = datetime.now(UTC)

    def __call__(self):
        return self.time

    def wait(self, seconds):
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sensors, "now", clock)
    return clock


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    (tmp_path / "inbox").mkdir()
    return tmp_path


class Watcher:
    """The sensor with its cursor, and the job that it asks for."""

    def __init__(self, instance, clock):
        self.instance, self.clock, self.cursor = instance, clock, None

    def look(self):
        """Evaluate the sensor; return what it asks for, or why it does not."""
        with dg.build_sensor_context(self.instance, self.cursor, resources={"lab": Lab()}) as context:
            answer = sensors.watch_inbox.evaluate_tick(context)
        self.cursor = answer.cursor
        return answer.run_requests[0] if answer.run_requests else answer.skip_message

    def look_twice(self):
        self.look()
        self.clock.wait(sensors.REST_SECONDS)
        return self.look()

    def run(self, request):
        job = defs().resolve_job_def("inbox")
        return job.execute_in_process(
            run_config=request.run_config, instance=self.instance, tags=request.tags, raise_on_error=False
        )


@pytest.fixture
def watcher(home, clock):  # noqa: ARG001 - where the lab is
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watcher(instance, clock)


def tree(home):
    return sorted(str(path.relative_to(home / "inbox")) for path in (home / "inbox").rglob("*") if path.is_file())


def test_files_that_rest_are_ingested_and_put_away(home, watcher):
    candles().write_csv(home / "inbox" / "candles-1m.csv")
    calls().write_parquet(home / "inbox" / "calls.parquet")
    assert watcher.look() == "2 files are new or being written"
    watcher.clock.wait(sensors.REST_SECONDS)
    request = watcher.look()
    assert watcher.look().run_key == request.run_key
    assert watcher.run(request).success
    assert tree(home) == ["done/calls.parquet", "done/candles-1m.csv"]
    lake = Lab().lake
    assert (lake.candles_count("1m"), lake.calls().height, lake.receipts()) == (240, 3, [])
    seen = watcher.instance.get_latest_materialization_event(CANDLES_KEY).asset_materialization.metadata
    assert (seen["added"].value, seen["dagster/row_count"].value) == (240, 240)
    assert (
        watcher.instance.get_latest_materialization_event(CALLS_KEY).asset_materialization.metadata["added"].value == 3
    )
    checks = watcher.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(CANDLES_KEY, name) for name in ("coverage", "gaps", "duplicates")]
    )
    assert len(checks) == 3
    assert watcher.look_twice() == f"{home}/inbox is empty"


def test_a_file_that_grows_is_left_alone_until_it_rests(home, watcher):
    path = home / "inbox" / "candles-1m.csv"
    text = candles().write_csv()
    path.write_text(text[:2000])
    watcher.look()
    watcher.clock.wait(60)
    path.write_text(text)
    assert watcher.look() == "1 files are new or being written"
    with path.open("a"):
        watcher.clock.wait(60)
        assert watcher.look() == "1 files are new or being written"
    assert isinstance(watcher.look(), dg.RunRequest)


def test_a_bad_file_is_rejected_with_its_error_and_stops_no_other(home, watcher):
    candles().with_columns(low=pl.lit(99.0)).write_csv(home / "inbox" / "bad-1m.csv")
    candles().write_csv(home / "inbox" / "good-1m.csv")
    (home / "inbox" / "calls.csv").write_bytes(b"\x00\x01nonsense")
    done = watcher.run(watcher.look_twice())
    assert not done.success
    assert tree(home) == [
        "done/good-1m.csv",
        "rejected/bad-1m.csv",
        "rejected/bad-1m.csv.error.txt",
        "rejected/calls.csv",
        "rejected/calls.csv.error.txt",
    ]
    error = (home / "inbox" / "rejected" / "bad-1m.csv.error.txt").read_text()
    assert error.startswith("nothing was ingested: 240 problems")
    assert "bad-1m.csv, line 2, low: " in error
    assert ".taken" not in error
    assert Lab().lake.candles_count("1m") == 240
    assert watcher.instance.get_latest_materialization_event(CANDLES_KEY) is not None
    assert failure_reason(watcher.instance, done.run_id).startswith("2 of 3 files were rejected, the first is bad-1m")
    assert watcher.look_twice() == f"{home}/inbox is empty"


def test_a_file_whose_run_was_killed_before_it_was_put_away_is_not_ingested_again(home, watcher, monkeypatch):
    candles().write_csv(home / "inbox" / "candles-1m.csv")
    request = watcher.look_twice()

    def die(_batch):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_Batch, "finish", die)
        assert not watcher.run(request).success
    assert tree(home)[0].startswith(".taken/")
    corrected = candles().with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")), volume=pl.lit(7.0))
    Lab().lake.write_candles(corrected, "1m")
    watcher.clock.wait(120)
    again = watcher.look()
    assert again.run_key != request.run_key
    assert watcher.run(again).success
    assert tree(home) == ["done/candles-1m.csv"]
    with Lab().lake.slice("1m", ["AAA"], 0, 10**14) as rows:
        assert {volume for shard in rows for volume in shard.volume} == {7.0}


def test_a_lake_that_cannot_be_written_leaves_the_files_and_they_are_tried_again(home, watcher, monkeypatch):
    candles().write_csv(home / "inbox" / "candles-1m.csv")
    first = watcher.look_twice()

    def full(*_, **__):
        raise LakeUnwritableError("cannot write to the lake: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(lake_module.Lake, "ingest_candles", full)
        done = watcher.run(first)
    assert failure_reason(watcher.instance, done.run_id) == "cannot write to the lake: no space left"
    assert watcher.look().startswith("1 files are tried again in 0:00:")
    watcher.clock.wait(61)
    second = watcher.look()
    assert (first.run_key[-2:], second.run_key[-2:]) == ("/0", "/1")
    assert watcher.run(second).success
    assert tree(home) == ["done/candles-1m.csv"]


def test_one_run_at_a_time_is_asked_for(home, watcher):
    candles().write_csv(home / "inbox" / "candles-1m.csv")
    request = watcher.look_twice()
    run = watcher.instance.add_run(
        dg.DagsterRun(job_name="inbox", tags=request.tags, status=dg.DagsterRunStatus.STARTED)
    )
    calls().write_csv(home / "inbox" / "calls.csv")
    assert watcher.look_twice() == "a run is ingesting files"
    watcher.instance.report_run_canceled(run)
    assert watcher.look().run_key != request.run_key


def test_an_inbox_of_ones_own_is_watched(home, watcher, monkeypatch):
    monkeypatch.setenv("LAB_INBOX", str(home / "elsewhere"))
    assert watcher.look() == f"{home}/elsewhere is empty"
    assert not (home / "elsewhere").exists()
    (home / "elsewhere").mkdir()
    calls().write_csv(home / "elsewhere" / "calls.csv")
    assert watcher.run(watcher.look_twice()).success
    assert (home / "elsewhere" / "done" / "calls.csv").exists()


@pytest.mark.parametrize("point", ["TICK_CREATED", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED"])
def test_a_daemon_that_dies_at_a_tick_asks_for_one_run_when_it_is_back(home, monkeypatch, point):
    monkeypatch.setattr(sensors, "REST_SECONDS", 0.0)
    calls().write_csv(home / "inbox" / "calls.csv")
    with open_instance(load_settings()) as instance, daemon(instance) as running:
        with dying_at(point):
            running.run_sensor("watch_inbox")
        for _ in range(3):
            tick = running.run_sensor("watch_inbox")
        assert tick.skip_reason == "a run is ingesting files"
        (run,) = queued(instance, "inbox")
        assert run.status is dg.DagsterRunStatus.QUEUED


def test_a_clock_that_is_put_back_keeps_no_file_waiting(home, watcher, monkeypatch):
    hours = timedelta(hours=7).total_seconds()
    watcher.clock.wait(hours)
    calls().write_csv(home / "inbox" / "calls.csv")
    watcher.look()
    watcher.clock.wait(-hours)
    first = watcher.look_twice()  # rests by the clock as it is now
    assert first.run_key.endswith("/0")

    def full(*_, **__):
        raise LakeUnwritableError("cannot write to the lake: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(lake_module.Lake, "ingest_calls", full)
        watcher.run(first)
    watcher.clock.time = datetime.now(UTC) - timedelta(hours=7)  # the run ended hours from now
    assert watcher.look_twice().run_key.endswith("/1")


def test_a_clock_that_leaps_forward_asks_for_nothing_twice(home, watcher):
    calls().write_csv(home / "inbox" / "calls.csv")
    request = watcher.look_twice()
    run = watcher.instance.add_run(
        dg.DagsterRun(job_name="inbox", tags=request.tags, status=dg.DagsterRunStatus.STARTED)
    )
    watcher.clock.wait(timedelta(days=400).total_seconds())
    assert watcher.look() == "a run is ingesting files"
    watcher.instance.report_run_canceled(run)
    assert watcher.run(watcher.look()).success
    assert watcher.look() == f"{home}/inbox is empty"
