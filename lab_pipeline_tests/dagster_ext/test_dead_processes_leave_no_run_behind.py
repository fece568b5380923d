import errno
import fcntl
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time

import dagster as dg
import pytest
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG
from sqlalchemy.exc import OperationalError

from lab_pipeline.dagster_ext import reconcile, worker_locks
from lab_pipeline.dagster_ext import run_launcher as launching
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.dagster_ext.reconcile import reconcile_dead
from lab_pipeline.dagster_ext.worker_locks import WORKER_TAG
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.settings import Settings, load_settings

HOLD = """
import sys, time
from pathlib import Path
from lab_pipeline.dagster_ext import worker_locks
worker_locks.GRACE_SECONDS = 0.5
with worker_locks.working(Path(sys.argv[1]), sys.argv[2]):
    print("working", flush=True)
    exec(sys.argv[3])
"""


@pytest.fixture
def instance(tmp_path, monkeypatch):
    for name in ("LAB_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "set so that it is restored")
    with open_instance(Settings(home=tmp_path)) as opened:
        yield opened


@pytest.fixture
def directory(tmp_path):
    return worker_locks.workers_dir(Settings(home=tmp_path).dagster_home)


@pytest.fixture
def start(directory):
    started = []

    def start(name="one", code="time.sleep(60)", **options):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, directory, name, code], stdout=subprocess.PIPE, text=True, **options
        )
        started.append(process)
        assert process.stdout.readline() == "working\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def run_of(instance, name, status=dg.DagsterRunStatus.STARTED):
    return instance.add_run(dg.DagsterRun(job_name="backtest", status=status, tags={WORKER_TAG: name})).run_id


def status(instance, run_id):
    return instance.get_run_by_id(run_id).status


def test_a_process_lives_until_it_ends_however_it_ends(directory, start):
    assert not worker_locks.is_alive(directory, "one")
    process = start()
    assert worker_locks.is_alive(directory, "one")
    assert worker_locks.living(directory) == ["one"]
    process.kill()
    process.wait()
    assert not worker_locks.is_alive(directory, "one")
    again = start(code="pass")
    again.wait()
    assert list(directory.iterdir()) == []


def test_a_request_stops_a_process(directory, start):
    process = start()
    assert worker_locks.request_stop(directory, "one")
    assert process.wait(timeout=5) == -signal.SIGTERM
    assert not worker_locks.request_stop(directory, "one")


def test_a_process_that_hears_nothing_is_killed(directory, start):
    process = start(code="import signal; signal.signal(signal.SIGTERM, lambda *_: None)\nwhile True: time.sleep(1)")
    time.sleep(0.2)
    worker_locks.request_stop(directory, "one")
    assert process.wait(timeout=10) == -signal.SIGKILL


def test_a_process_ends_with_the_lab_that_started_it(start):
    parent_pipe, end = os.pipe()
    process = start(pass_fds=[parent_pipe], env={**os.environ, worker_locks.PARENT_PIPE: str(parent_pipe)})
    os.close(parent_pipe)
    time.sleep(1)
    assert process.poll() is None
    os.close(end)
    assert process.wait(timeout=5) == -signal.SIGTERM


def test_a_descriptor_of_any_number_tells_the_end_of_the_lab(start):
    low, end = os.pipe()
    number = 1500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number + 1), hard))
    try:
        parent_pipe = fcntl.fcntl(low, fcntl.F_DUPFD, number)
        process = start(pass_fds=[parent_pipe], env={**os.environ, worker_locks.PARENT_PIPE: str(parent_pipe)})
        os.close(parent_pipe)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.close(low)
    os.close(end)
    assert process.wait(timeout=10) == -signal.SIGTERM


def test_runs_of_dead_processes_end_and_others_left_alone(instance, directory, start):
    dead, recorded, canceled, done, starting = (
        run_of(instance, "dead", a)
        for a in (
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.NOT_STARTED,
            dg.DagsterRunStatus.CANCELING,
            dg.DagsterRunStatus.SUCCESS,
            dg.DagsterRunStatus.STARTING,
        )
    )
    living = run_of(instance, "living")
    process = start("dead")
    start("living")
    process.kill()
    process.wait()
    for _ in range(2):
        reconcile_dead(instance, load_settings())
        assert status(instance, dead) is dg.DagsterRunStatus.FAILURE
        assert status(instance, recorded) is dg.DagsterRunStatus.FAILURE
        assert status(instance, canceled) is dg.DagsterRunStatus.CANCELED
        assert status(instance, done) is dg.DagsterRunStatus.SUCCESS
        assert status(instance, starting) is dg.DagsterRunStatus.STARTING
        assert status(instance, living) is dg.DagsterRunStatus.STARTED
    assert len(instance.all_logs(dead, of_type=dg.DagsterEventType.RUN_FAILURE)) == 1
    assert worker_locks.living(directory) == ["living"]


def test_the_monitor_learns_which_processes_are_gone(instance, start):
    launcher = instance.run_launcher

    def health(run_id):
        return launcher.check_run_worker_health(instance.get_run_by_id(run_id)).status

    start("living")
    foreign = instance.add_run(dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.STARTED)).run_id
    assert health(run_of(instance, "living")) is WorkerStatus.RUNNING
    assert health(run_of(instance, "gone")) is WorkerStatus.FAILED
    assert health(foreign) is WorkerStatus.RUNNING


def test_canceling_a_run_without_a_process_is_done_at_once(instance):
    run_id = run_of(instance, "gone")
    assert instance.run_launcher.terminate(run_id)
    assert status(instance, run_id) is dg.DagsterRunStatus.CANCELED
    assert not instance.run_launcher.terminate(run_id)


def test_a_run_that_others_started_is_not_said_to_be_canceled_while_it_goes_on(instance):
    run = instance.add_run(dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.STARTED))
    assert not instance.run_launcher.terminate(run.run_id)
    assert status(instance, run.run_id) is dg.DagsterRunStatus.STARTED
    (event,) = instance.all_logs(run.run_id)
    assert event.message.startswith("Not canceled: ")


def re_execution_of(instance, parent):
    """Record a re-execution as Dagster does, with all tags of the run that it repeats."""
    tags = instance.get_run_by_id(parent).tags | {PARENT_RUN_ID_TAG: parent, ROOT_RUN_ID_TAG: parent}
    run = dg.DagsterRun(
        job_name="backtest",
        status=dg.DagsterRunStatus.NOT_STARTED,
        tags=tags,
        parent_run_id=parent,
        root_run_id=parent,
    )
    return instance.add_run(run)


def test_a_repetition_that_waits_is_not_taken_for_the_dead_run_that_it_repeats(instance, start):
    process = start("first")
    first = run_of(instance, "first")
    process.kill()
    process.wait()
    again = re_execution_of(instance, first)
    reconcile_dead(instance, load_settings())
    assert status(instance, first) is dg.DagsterRunStatus.FAILURE
    assert status(instance, again.run_id) is dg.DagsterRunStatus.NOT_STARTED
    launcher = instance.run_launcher
    assert launcher.check_run_worker_health(again).status is WorkerStatus.RUNNING  # which says nothing bad of it
    assert launcher.terminate(again.run_id)
    assert status(instance, again.run_id) is dg.DagsterRunStatus.CANCELED


def test_a_repetition_that_has_its_own_process_dies_with_it(instance, start):
    first = run_of(instance, "first", dg.DagsterRunStatus.FAILURE)
    again = re_execution_of(instance, first)
    process = start(again.run_id)
    instance.add_run_tags(again.run_id, {WORKER_TAG: again.run_id})
    process.kill()
    process.wait()
    reconcile_dead(instance, load_settings())
    assert status(instance, again.run_id) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_was_canceled_while_it_left_the_queue_never_starts(instance):
    run = instance.add_run(dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.STARTING))
    instance.report_run_canceling(run)
    instance.report_run_canceled(run)
    late = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_STARTING.value, job_name="backtest")
    instance.report_dagster_event(late, run_id=run.run_id)  # the queue had looked before, and writes after
    run = instance.get_run_by_id(run.run_id)
    assert run.status is dg.DagsterRunStatus.STARTING
    instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    assert status(instance, run.run_id) is dg.DagsterRunStatus.CANCELED


def test_a_run_whose_end_could_not_be_recorded_ends_when_the_disk_has_room_again(instance, monkeypatch):
    run_id = run_of(instance, "gone")
    launcher = instance.run_launcher
    monkeypatch.setattr(launching, "RECONCILE_AGAIN_SECONDS", 0.0)
    tries = []

    def at_the_third_try(*arguments):
        tries.append(status(instance, run_id))
        if len(tries) < 3:
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
        return reconcile_dead(*arguments)

    monkeypatch.setattr(launching, "reconcile_dead", at_the_third_try)
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], start_new_session=True)
    launcher._await(instance, run_id, launching.Spawned(process))  # noqa: SLF001
    assert tries == [dg.DagsterRunStatus.STARTED] * 3
    assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE
    (failure,) = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "ended with status 3" in failure.message


def test_a_full_disk_keeps_no_process_from_showing_that_it_lives(directory, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(worker_locks.os, "write", full)
        with worker_locks.working(directory, "one"):
            assert worker_locks.is_alive(directory, "one")
    assert not worker_locks.is_alive(directory, "one")


def published(monkeypatch):
    monkeypatch.setattr(ArtifactStore, "has", lambda *_: True)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_run_that_cannot_be_unpublished_by_its_own_process_is_found_again(instance, directory, monkeypatch):
    run_id = run_of(instance, "own", dg.DagsterRunStatus.CANCELED)
    unpublished = []
    lock = worker_locks.take(directory, "own")
    with pytest.raises(OSError, match="No space left"), worker_locks.working(directory, "own", inherited=lock):
        full_disk()
    os.close(lock)  # which the end of a process does
    assert worker_locks.killed(directory) == ["own"]
    published(monkeypatch)
    monkeypatch.setattr(reconcile, "unpublish", lambda _, run_id: unpublished.append(run_id))
    reconcile_dead(instance, load_settings())
    assert unpublished == [run_id]
    assert not list(directory.iterdir())


def test_a_run_that_cannot_be_unpublished_keeps_no_other_from_its_end(instance, directory, start, monkeypatch):
    names = ("a", "b", "c")
    runs = {name: run_of(instance, name) for name in names}
    for name in names:
        process = start(name)
        process.kill()
        process.wait()
    published(monkeypatch)
    monkeypatch.setattr(reconcile, "unpublish", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(reconcile, "unpublish", lambda _, run_id: full_disk() if run_id == runs["b"] else None)
        with pytest.raises(OSError, match="No space left"):
            reconcile_dead(instance, load_settings())
    assert {status(instance, run_id) for run_id in runs.values()} == {dg.DagsterRunStatus.FAILURE}
    assert [path.name for path in directory.iterdir()] == ["b.lock"]
    reconcile_dead(instance, load_settings())
    assert not list(directory.iterdir())
