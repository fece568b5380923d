"""Polls of a store that nobody writes read no file, and whatever is written is seen at once."""

import os
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest
from dagster import DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._daemon.types import DaemonHeartbeat

from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.storage.run_storage import DuckDBRunStorage
from lab_pipeline.storage.schedule_storage import AnyPathScheduleStorage

RUNNING = RunsFilter(statuses=[DagsterRunStatus.STARTED])
ANOTHER = """
import sys
from dagster import DagsterRun, DagsterRunStatus
from lab_pipeline.storage.run_storage import DuckDBRunStorage
DuckDBRunStorage(sys.argv[1]).add_run(DagsterRun("backtest", run_id=sys.argv[2], status=DagsterRunStatus.STARTED))
"""


@pytest.fixture
def runs(tmp_path):
    return DuckDBRunStorage(tmp_path / "runs.duckdb")


@pytest.fixture
def schedules(tmp_path):
    storage = AnyPathScheduleStorage.from_config_value(None, {"base_dir": str(tmp_path / "schedules")})
    yield storage
    storage.dispose()


@pytest.fixture
def attached():
    """Count how often the file is opened."""
    attach = DuckFile.__dict__["_attach_locked"]
    with patch.object(DuckFile, "_attach_locked", autospec=True, side_effect=attach) as counted:
        yield counted


def running(run_id):
    return DagsterRun("backtest", run_id=run_id, status=DagsterRunStatus.STARTED)


def test_schedules_are_opened_without_reading_how_their_file_came_about(schedules, tmp_path, monkeypatch):
    def fail(*_args):
        raise AssertionError

    schedules.dispose()
    monkeypatch.setattr(sqlite_schedule_storage, "check_alembic_revision", fail)
    again = AnyPathScheduleStorage.from_config_value(None, {"base_dir": str(tmp_path / "schedules")})
    assert again.all_instigator_state() == []
    again.dispose()


def test_the_same_question_opens_the_file_once(runs, attached):
    runs.add_run(running("first"))
    time.sleep(0.1)  # the lease of the writer is over
    assert [run.run_id for run in runs.get_runs(RUNNING)] == ["first"]
    time.sleep(0.1)
    opened = attached.call_count
    for _ in range(5):
        assert [run.run_id for run in runs.get_runs(RUNNING)] == ["first"]
        time.sleep(0.05)
    assert attached.call_count == opened


def test_what_another_process_writes_is_seen_at_once(runs, tmp_path):
    for number in range(3):
        assert len(runs.get_runs(RUNNING)) == number
        subprocess.run([sys.executable, "-c", ANOTHER, tmp_path / "runs.duckdb", f"run {number}"], check=True)
        assert len(runs.get_runs(RUNNING)) == number + 1


def test_what_this_process_writes_is_seen_at_once_also_within_its_transaction(runs):
    for number in range(50):
        assert len(runs.get_runs(RUNNING)) == number
        with runs.connect():
            runs.add_run(running(f"run {number}"))
            assert len(runs.get_runs(RUNNING)) == number + 1
        assert len(runs.get_runs(RUNNING)) == number + 1
        assert len(runs.get_runs(RunsFilter(run_ids=[f"run {number}"]))) == 1


def test_what_is_not_committed_is_not_remembered(runs):
    def interrupted():
        with runs.connect():
            runs.add_run(running("first"))
            assert len(runs.get_runs(RUNNING)) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert runs.get_runs(RUNNING) == []


def test_questions_that_differ_in_a_value_alone_have_answers_of_their_own(runs):
    runs.add_run(running("first"))
    for _ in range(2):
        assert len(runs.get_runs(RunsFilter(job_name="backtest"))) == 1
        assert runs.get_runs(RunsFilter(job_name="inbox")) == []
        assert [run.run_id for run in runs.get_runs(RunsFilter(run_ids=["first", "second"]))] == ["first"]
        assert runs.get_runs(RunsFilter(run_ids=["second", "third"])) == []


def test_cursors_and_signs_of_life_that_tell_nothing_new_leave_the_file_alone(runs):
    runs.set_cursor_values({"a": "1", "b": "2"})
    before = DuckFile.at(runs.path).state()
    runs.set_cursor_values({"a": "1", "b": "2"})
    runs.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "one", []))
    assert DuckFile.at(runs.path).state() == before
    runs.set_cursor_values({"a": "1", "b": "3"})
    assert DuckFile.at(runs.path).state() != before
    assert runs.get_cursor_values({"a", "b"}) == {"a": "1", "b": "3"}


def test_a_torn_sign_of_life_is_none(runs, tmp_path):
    for part in ("SENSOR", "ASSET"):
        runs.add_daemon_heartbeat(DaemonHeartbeat(5.0, part, "one", []))
    (tmp_path / "runs.duckdb.heartbeats" / "ASSET").write_text("")
    assert set(runs.get_daemon_heartbeats()) == {"SENSOR"}
    runs.wipe_daemon_heartbeats()
    assert runs.get_daemon_heartbeats() == {}


def tick(at):
    return TickData("origin", "watch", InstigatorType.SENSOR, TickStatus.STARTED, at, selector_id="selector")


def test_schedules_are_read_over_a_kept_connection(schedules, tmp_path):
    schedules.create_tick(tick(1.0))
    database = tmp_path / "schedules" / "schedules.db"

    def opened():
        return sum(one.exists() and one.resolve() == database for one in Path("/proc/self/fd").iterdir())

    assert len(schedules.get_ticks("origin", "selector")) == 1
    before = opened()
    assert before == 1
    for _ in range(5):
        assert len(schedules.get_ticks("origin", "selector")) == 1
    assert opened() == before
    schedules.dispose()
    assert opened() == 0
    assert sorted(path.name for path in database.parent.iterdir()) == ["schedules.db"]


def test_schedules_that_were_replaced_are_read_anew(schedules, tmp_path):
    schedules.create_tick(tick(1.0))
    database = tmp_path / "schedules" / "schedules.db"
    schedules.dispose()
    content = database.read_bytes()
    schedules.create_tick(tick(2.0))
    database.with_name("other").write_bytes(content)
    for path in database.parent.glob("schedules.db-*"):
        path.unlink()
    database.with_name("other").rename(database)
    assert [one.timestamp for one in schedules.get_ticks("origin", "selector")] == [1.0]


def test_a_child_process_has_schedules_of_its_own(schedules):
    schedules.create_tick(tick(1.0))
    child = os.fork()
    if child == 0:
        os._exit(0 if len(schedules.get_ticks("origin", "selector")) == 1 else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    schedules.create_tick(tick(2.0))
    assert len(schedules.get_ticks("origin", "selector")) == 2
