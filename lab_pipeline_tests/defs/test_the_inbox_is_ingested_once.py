import errno
import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lab_pipeline.dagster_ext.failure_reason import failure_reason
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.definitions import defs
from lab_pipeline.defs.lake import sensors
from lab_pipeline.defs.lake.jobs import MOST_ATTEMPTS, _Batch
from lab_pipeline.defs.lake.metadata import CALLS_KEY, CANDLES_KEY
from lab_pipeline.defs.operations.resources import LabResource
from lab_pipeline.lake import Inbox, LakeUnwritableError
from lab_pipeline.lake import inbox as inbox_module
from lab_pipeline.lake import lake as lake_module
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon, dying_at, queued
from lab_pipeline_tests.support.markets import calls, candles


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
        with dg.build_sensor_context(self.instance, self.cursor, resources={"lab": LabResource()}) as context:
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


def forbidding(patch, what, name, number):
    """Let the system refuse to open or to rename the files of a name."""
    for place in (os, Path):
        allowed = getattr(place, what)

        def refuse(path, *rest, allowed=allowed, **more):
            if Path(path).name == name:
                raise OSError(number, os.strerror(number), str(path))
            return allowed(path, *rest, **more)

        patch.setattr(place, what, refuse)


MINT = "7GCihgDB8fe6KNjn2MYtkzZcRjQy3t9GHdC8uHYmW2hr"
MESSAGE = {"id": 7, "type": "message", "date_unixtime": "1735689600", "from": "M.", "from_id": "user5", "text": MINT}
CHAT = {"name": "Gems", "type": "public_channel", "id": 1, "messages": [MESSAGE, {**MESSAGE, "id": 8, "text": "gm"}]}


def test_a_chat_and_signals_are_taken_by_the_same_rules_as_from_a_terminal(home, watcher):
    (home / "callers.yaml").write_text("callers: {Marta: [5]}\n")
    (home / "inbox" / "result.json").write_text(json.dumps(CHAT))
    (home / "inbox" / "caller=Ann").mkdir()
    (home / "inbox" / "caller=Ann" / "signals.csv").write_text("date,pair\n2025-03-01,BTC/USDT\n")
    assert watcher.run(watcher.look_twice()).success
    found = Lab(load_settings()).lake.calls()
    assert found.select("caller", "mint").rows() == [("Marta", MINT), ("Ann", "BTC/USDT")]
    event = watcher.instance.get_latest_materialization_event(CALLS_KEY)
    assert event.asset_materialization.metadata["no calls"].value == {"result.json": "1 no token address"}


def test_files_that_rest_are_ingested_and_put_away(home, watcher):
    candles().write_csv(home / "inbox" / "candles-1m.csv")
    calls().write_parquet(home / "inbox" / "calls.parquet")
    assert watcher.look() == "2 files are new or being written"
    watcher.clock.wait(sensors.REST_SECONDS)
    request = watcher.look()
    assert watcher.look().run_key == request.run_key
    assert watcher.run(request).success
    assert tree(home) == ["done/calls.parquet", "done/candles-1m.csv"]
    lake = Lab(load_settings()).lake
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
    assert Lab(load_settings()).lake.candles_count("1m") == 240
    assert watcher.instance.get_latest_materialization_event(CANDLES_KEY) is not None
    assert failure_reason(watcher.instance, done.run_id).startswith("2 of 3 files were rejected, the first is bad-1m")
    assert watcher.look_twice() == f"{home}/inbox is empty"


def test_ignored_columns_are_named_in_the_log_the_metadata_and_the_receipt(home, watcher, monkeypatch):
    candles().with_columns(note=pl.lit("x"), source=pl.lit("y")).write_csv(home / "inbox" / "candles-1m.csv")
    receipts = []
    monkeypatch.setattr(
        lake_module.Lake,
        "forget_receipt",
        lambda lake, receipt: receipts.append((lake.root / "receipts" / f"{receipt}.json").read_text()),
    )
    done = watcher.run(watcher.look_twice())
    assert done.success
    seen = watcher.instance.get_latest_materialization_event(CANDLES_KEY).asset_materialization.metadata
    assert seen["ignored columns"].value == {"candles-1m.csv": "note, source"}
    assert '["note","source"]' in receipts[-1]
    log = [event.user_message for event in watcher.instance.all_logs(done.run_id)]
    assert "candles-1m.csv: ignored columns: note, source" in log


def test_files_of_one_token_and_of_another_length(home, watcher):
    one = candles().filter(pl.col("mint") == "AAA").drop("mint")
    for place in ("mint=So111/candles-1m.csv", "candles-1m.csv"):
        (home / "inbox" / place).parent.mkdir(exist_ok=True)
        one.write_csv(home / "inbox" / place)
    candles().with_columns(interval=pl.lit("1h")).write_csv(home / "inbox" / "hours-1m.csv")
    assert not watcher.run(watcher.look_twice()).success
    assert Lab(load_settings()).lake.mints("1m") == ["So111"]
    rejected = home / "inbox" / "rejected"
    assert "has no column mint" in (rejected / "candles-1m.csv.error.txt").read_text()
    assert "is said to be of 1h" in (rejected / "hours-1m.csv.error.txt").read_text()


def test_a_file_at_which_every_reader_dies_comes_last_and_is_rejected_in_the_end(home, watcher):
    calls().write_csv(home / "inbox" / "deadly.csv")
    os.utime(home / "inbox" / "deadly.csv", (1e9, 1e9))
    code = (
        "import os, sys; from pathlib import Path; from lab_pipeline.lake import Inbox\n"
        "inbox = Inbox(Path(sys.argv[1])); (drop,) = inbox.drops(); inbox.take(drop)\n"
        "with inbox.attempt(drop): os._exit(9)"
    )
    for _ in range(MOST_ATTEMPTS - 1):
        assert subprocess.run([sys.executable, "-c", code, home / "inbox"], check=False).returncode == 9
    inbox = Inbox(home / "inbox")
    (deadly,) = inbox.drops()
    assert inbox.attempts(deadly) == MOST_ATTEMPTS - 1
    assert subprocess.run([sys.executable, "-c", code, home / "inbox"], check=False).returncode == 9
    candles().write_csv(home / "inbox" / "good-1m.csv")
    done = watcher.run(watcher.look_twice())
    assert tree(home) == ["done/good-1m.csv", "rejected/deadly.csv", "rejected/deadly.csv.error.txt"]
    steps = [event.user_message for event in watcher.instance.all_logs(done.run_id) if ".csv" in event.user_message]
    assert steps[0].startswith("good-1m.csv: 240 candles")
    assert (
        (home / "inbox/rejected/deadly.csv.error.txt").read_text().startswith("5 times the process that read it died")
    )


def test_an_error_that_nobody_foresaw_stops_no_other_file(home, watcher, monkeypatch):
    candles().write_csv(home / "inbox" / "a-1m.csv")
    os.utime(home / "inbox" / "a-1m.csv", (1e9, 1e9))
    calls().write_csv(home / "inbox" / "calls.csv")

    def fail(*_, **__):
        raise RuntimeError("a part of the lake is damaged")

    with monkeypatch.context() as patch:
        patch.setattr(lake_module.Lake, "ingest_candles", fail)
        done = watcher.run(watcher.look_twice())
    assert "done/calls.csv" in tree(home)
    assert "a-1m.csv: RuntimeError('a part of the lake is damaged')" in failure_reason(watcher.instance, done.run_id)
    watcher.clock.wait(61)
    assert watcher.run(watcher.look_twice()).success
    assert tree(home) == ["done/a-1m.csv", "done/calls.csv"]


def test_a_file_whose_name_is_not_text_is_ingested_like_those_beside_it(home, watcher):
    misnamed = home / "inbox" / os.fsdecode(b"M\xfcnchen-1m.csv")
    misnamed.write_text(candles().write_csv())
    (home / "inbox" / os.fsdecode(b"\xfc-calls.csv")).write_text("nonsense")
    calls().write_csv(home / "inbox" / "calls.csv")
    request = watcher.look_twice()
    done = watcher.run(request)
    assert tree(home) == [
        "done/M_nchen-1m.csv",
        "done/calls.csv",
        "rejected/_-calls.csv",
        "rejected/_-calls.csv.error.txt",
    ]
    assert (home / "inbox" / "rejected" / "_-calls.csv.error.txt").read_text().startswith("_-calls.csv has no column")
    assert failure_reason(watcher.instance, done.run_id).startswith(
        "1 of 3 files were rejected, the first is _-calls.csv: _-calls.csv has no column"
    )
    lake = Lab(load_settings()).lake
    assert (lake.candles_count("1m"), lake.calls().height, lake.receipts()) == (240, 3, [])


def test_a_daemon_hands_over_a_file_whose_name_is_not_text(home, monkeypatch):
    monkeypatch.setattr(sensors, "REST_SECONDS", 0.0)
    (home / "inbox" / os.fsdecode(b"\xfc.csv")).write_text(calls().write_csv())
    with open_instance(load_settings()) as instance, daemon(instance) as running:
        running.run_sensor("watch_inbox")
        (run,) = queued(instance, "inbox")
    (file,) = run.run_config["ops"]["ingest_inbox"]["config"]["files"]
    assert file["name"] == "_.csv"


def test_a_file_whose_name_is_as_long_as_can_be_is_rejected_and_stops_no_other(home, watcher):
    name = "x" * 248 + "-1m.csv"
    (home / "inbox" / name).write_text("nonsense")
    os.utime(home / "inbox" / name, (1e9, 1e9))
    candles().write_csv(home / "inbox" / "good-1m.csv")
    assert not watcher.run(watcher.look_twice()).success
    assert tree(home)[0] == "done/good-1m.csv"
    assert (home / "inbox" / "rejected" / name).read_text() == "nonsense"
    (error,) = (home / "inbox" / "rejected").glob("*.error.txt")
    assert error.read_text().startswith(f"{name} has no column")


def test_a_file_that_may_not_be_read_is_rejected_and_stops_no_other(home, watcher, monkeypatch):
    (home / "inbox" / "theirs-1m.csv").write_text("secret")
    candles().write_csv(home / "inbox" / "good-1m.csv")
    forbidding(monkeypatch, "open", "theirs-1m.csv", errno.EACCES)
    done = watcher.run(watcher.look_twice())
    assert tree(home) == ["done/good-1m.csv", "rejected/theirs-1m.csv", "rejected/theirs-1m.csv.error.txt"]
    assert failure_reason(watcher.instance, done.run_id) == (
        "1 of 2 files were rejected, the first is theirs-1m.csv: theirs-1m.csv cannot be read: Permission denied"
    )


def test_a_file_that_cannot_be_moved_is_named_and_stops_no_other(home, watcher, monkeypatch):
    candles().write_csv(home / "inbox" / "mounted-1m.csv")
    os.utime(home / "inbox" / "mounted-1m.csv", (1e9, 1e9))
    calls().write_csv(home / "inbox" / "calls.csv")
    with monkeypatch.context() as patch:
        forbidding(patch, "rename", "mounted-1m.csv", errno.EXDEV)
        done = watcher.run(watcher.look_twice())
    assert tree(home) == ["done/calls.csv", "mounted-1m.csv"]
    assert failure_reason(watcher.instance, done.run_id).startswith(
        "1 of 2 files could not be brought in or put away and are tried again, the first is mounted-1m.csv: "
    )
    assert watcher.run(watcher.look()).success
    assert tree(home) == ["done/calls.csv", "done/mounted-1m.csv"]


def test_a_file_that_cannot_be_put_away_keeps_no_other_from_it(home, watcher, monkeypatch):
    candles().write_csv(home / "inbox" / "a-1m.csv")
    calls().write_csv(home / "inbox" / "calls.csv")
    request = watcher.look_twice()
    put_away = Inbox.finish

    def refuse(inbox, drop):
        if drop.name == "a-1m.csv":
            raise PermissionError(errno.EACCES, "Permission denied", "done")
        return put_away(inbox, drop)

    with monkeypatch.context() as patch:
        patch.setattr(Inbox, "finish", refuse)
        assert not watcher.run(request).success
    assert [name.rpartition("/")[2] for name in tree(home)] == ["a-1m.csv", "calls.csv"]
    assert tree(home)[1] == "done/calls.csv"
    again = watcher.run(watcher.look_twice())
    assert again.success
    assert tree(home) == ["done/a-1m.csv", "done/calls.csv"]
    assert Lab(load_settings()).lake.receipts() == []


def test_what_cannot_be_taken_is_named_whatever_else_there_is(home, watcher, monkeypatch):
    obstacle = "it cannot be moved: this user may not write in its directory"
    monkeypatch.setattr(inbox_module, "_obstacle", lambda path: obstacle if path.name.startswith("theirs") else None)
    for number in range(4):
        (home / "inbox" / f"theirs-{number}.csv").write_text("x")
    left_alone = ", ".join(f"theirs-{number}.csv ({obstacle})" for number in range(3)) + " and 1 more"
    assert watcher.look_twice() == f"{home}/inbox has nothing to ingest; left alone: {left_alone}"
    calls().write_csv(home / "inbox" / "calls.csv")
    assert watcher.look() == f"1 files are new or being written; left alone: {left_alone}"
    watcher.clock.wait(sensors.REST_SECONDS)
    assert watcher.run(watcher.look()).success
    assert tree(home)[0] == "done/calls.csv"
    by_hand = watcher.run(dg.RunRequest(run_config={}))
    assert failure_reason(watcher.instance, by_hand.run_id).startswith("4 of 4 files could not be brought in")


@pytest.mark.parametrize("place", ["take", "reject", "finish"])
def test_a_full_disk_under_the_inbox_fails_the_run_and_stops_it(home, watcher, monkeypatch, place):
    (home / "inbox" / "bad-1m.csv").write_text("nonsense")
    os.utime(home / "inbox" / "bad-1m.csv", (1e9, 1e9))
    candles().write_csv(home / "inbox" / "good-1m.csv")
    request = watcher.look_twice()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(home / "inbox"))

    with monkeypatch.context() as patch:
        patch.setattr(Inbox, place, full)
        done = watcher.run(request)
    reason = failure_reason(watcher.instance, done.run_id)
    assert reason.startswith(f"cannot write to the inbox at {home}/inbox: the disk of {home}/inbox is full")
    assert Lab(load_settings()).lake.timeframes() == (["1m"] if place == "finish" else [])
    watcher.clock.wait(61)
    watcher.run(watcher.look_twice())
    assert tree(home) == ["done/good-1m.csv", "rejected/bad-1m.csv", "rejected/bad-1m.csv.error.txt"]


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
    Lab(load_settings()).lake.write_candles(corrected, "1m")
    watcher.clock.wait(120)
    again = watcher.look()
    assert again.run_key != request.run_key
    assert watcher.run(again).success
    assert tree(home) == ["done/candles-1m.csv"]
    with Lab(load_settings()).lake.slice("1m", ["AAA"], 0, 10**14) as rows:
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
    waiting = watcher.look()
    assert waiting.startswith("1 files are tried again in 0:00:")
    assert waiting.endswith(": candles-1m.csv")
    watcher.clock.wait(61)
    second = watcher.look()
    assert (first.run_key[-2:], second.run_key[-37:]) == ("/0", f"/{done.run_id}")
    assert watcher.run(second).success
    assert tree(home) == ["done/candles-1m.csv"]


@pytest.mark.parametrize("deleted", [[0], [1], [0, 1]])
def test_runs_that_are_deleted_keep_no_file_from_being_tried_again(home, watcher, monkeypatch, deleted):
    candles().write_csv(home / "inbox" / "candles-1m.csv")
    keys, runs = {}, []

    def full(*_, **__):
        raise LakeUnwritableError("cannot write to the lake: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(lake_module.Lake, "ingest_candles", full)
        for _ in range(2):
            request = watcher.look_twice()
            runs.append(watcher.run(request).run_id)
            keys[runs[-1]] = request.run_key
            watcher.clock.wait(3600)
    for number in deleted:
        watcher.instance.delete_run(runs[number])
        del keys[runs[number]]
    request = watcher.look()
    assert request.run_key not in keys.values()
    assert watcher.look().run_key == request.run_key
    assert watcher.run(request).success


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
        done = watcher.run(first)
    watcher.clock.time = datetime.now(UTC) - timedelta(hours=7)  # the run ended hours from now
    assert watcher.look_twice().run_key.endswith(f"/{done.run_id}")


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


def test_files_as_people_have_them(home, watcher):
    one = candles().filter(pl.col("mint") == "AAA").drop("mint")
    places = [home / "inbox" / place for place in ("binance/ADA_BTC-1m.feather", "mint-from-name/So111-1m.csv.gz")]
    for place in places:
        place.parent.mkdir()
    one.rename({"timestamp": "date"}).write_ipc(places[0])
    places[1].write_bytes(gzip.compress(one.write_csv().encode()))
    lines = "M,1735689600,1m,1,2,0.5,1.5,10\nM,1735689600,1h,1,2,0.5,1.5,10\n"
    (home / "inbox" / "both.csv").write_text("mint,timestamp,interval,open,high,low,close,volume\n" + lines)
    done = watcher.run(watcher.look_twice())
    assert done.success
    lake = Lab(load_settings()).lake
    assert {length: lake.mints(length) for length in lake.timeframes()} == {
        "1m": ["ADA_BTC", "M", "So111"],
        "1h": ["M"],
    }
    log = [event.user_message for event in watcher.instance.all_logs(done.run_id)]
    note = "binance/ADA_BTC-1m.feather: the mint ADA_BTC is taken from the name, as freqtrade names files"
    assert note in log
