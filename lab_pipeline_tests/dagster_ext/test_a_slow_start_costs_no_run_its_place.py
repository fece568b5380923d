"""No run is failed, and no place in the queue is given away, while the process of a run lives."""

import logging
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.test_utils import freeze_time
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from lab_pipeline.dagster_ext import run_launcher as launching
from lab_pipeline.dagster_ext import worker_locks
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.dagster_ext.reconcile import Do, reconcile_lost
from lab_pipeline.settings import Settings, load_settings
from lab_pipeline_tests.dagster_ext.queueing import origin_of

STARTING, CANCELING = dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@pytest.fixture
def instance(tmp_path, monkeypatch):
    for name in ("LAB_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "set so that it is restored")
    monkeypatch.setattr(worker_locks, "GRACE_SECONDS", 0.3)
    monkeypatch.setattr(launching, "KILLED_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(launching, "ENDED_WITHIN_SECONDS", 2.0)
    with open_instance(Settings(home=tmp_path)) as opened:
        yield opened


@pytest.fixture
def directory(instance):
    return worker_locks.workers_dir(Path(instance.root_directory))


@pytest.fixture
def process(directory):
    """Start a process that has the lock of a run and does not come to look at it, as while it is being loaded."""
    started = []

    def process(run_id):
        lock = worker_locks.take(directory, run_id)
        command = [sys.executable, "-c", "import time; time.sleep(60)", run_id]
        started.append(subprocess.Popen(command, pass_fds=[lock], start_new_session=True))
        worker_locks.sign(lock, started[-1].pid)
        os.close(lock)
        return started[-1]

    yield process
    for one in started:
        one.kill()
        one.wait()


def run_of(instance, status):
    run = dg.DagsterRun(job_name="backtest", status=status, remote_job_origin=origin_of("backtest"))
    return instance.add_run(run).run_id


def reported(instance, status):
    """Record a run that leaves the queue or is asked to stop, with the event of it that the monitor looks at."""
    run_id = run_of(instance, dg.DagsterRunStatus.QUEUED)
    instance.add_run_tags(run_id, {worker_locks.WORKER_TAG: run_id})
    event = "PIPELINE_STARTING" if status is STARTING else "PIPELINE_CANCELING"
    instance.report_dagster_event(dg.DagsterEvent(event_type_value=event, job_name="backtest"), run_id)
    return run_id


def done(instance, now):
    return [(action.do, action.run_id) for action in reconcile_lost(instance, load_settings(), now)]


def status(instance, run_id):
    return instance.get_run_by_id(run_id).status


def launch(instance, run_id):
    instance.run_launcher.launch_run(LaunchRunContext(instance.get_run_by_id(run_id), workspace=None))


@pytest.fixture
def launched(monkeypatch):
    """Which runs were given a process."""
    found = []

    def start(_launcher, run_id, lock):
        found.append(run_id)
        process = subprocess.Popen([sys.executable, "-c", "pass"], pass_fds=[lock], start_new_session=True)
        return launching.Spawned(process)

    monkeypatch.setattr(launching.LabRunLauncher, "_start", start)
    return found


@pytest.mark.parametrize("state", [STARTING, CANCELING])
@pytest.mark.parametrize("put", [timedelta(minutes=10), timedelta(days=365 * 30), -timedelta(days=365 * 30)])
def test_a_run_whose_process_lives_is_not_ended_by_the_clock(instance, process, state, put):
    run_id = reported(instance, state)
    process(run_id)
    workspace = SimpleNamespace(instance=instance, create_request_context=lambda: None)
    now = datetime.now(UTC) + put
    with freeze_time(now):
        errors = [error for error in execute_run_monitoring_iteration(workspace, logging.getLogger("test")) if error]
    assert errors == []
    assert done(instance, now) == []
    assert status(instance, run_id) is state


@pytest.mark.parametrize(("state", "due", "end"), [(STARTING, Do.FAIL, "FAILURE"), (CANCELING, Do.CANCEL, "CANCELED")])
def test_one_whose_process_died_while_nobody_looked_is_brought_to_its_end(instance, process, state, due, end):
    run_id = reported(instance, state)
    dead = process(run_id)
    dead.kill()
    dead.wait()
    assert done(instance, datetime.now(UTC)) == []
    assert done(instance, datetime.now(UTC) + timedelta(minutes=1)) == [(due, run_id)]
    assert status(instance, run_id).value == end


def test_a_process_has_its_lock_before_it_begins_and_to_its_end(instance, directory, monkeypatch):
    monkeypatch.setattr(launching.sys, "executable", "/bin/cat")  # what reads nothing that it knows, and ends
    run_id = reported(instance, STARTING)
    seen = []
    monkeypatch.setattr(
        worker_locks, "sign", lambda _, pid: seen.append((pid, worker_locks.is_alive(directory, run_id)))
    )
    launch(instance, run_id)
    (mine, before), (its, _) = seen
    assert (mine, before) == (os.getpid(), True)
    assert its != mine
    deadline = time.monotonic() + 30
    while status(instance, run_id) is STARTING or list(directory.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("ended", [*FINISHED, None])
def test_nothing_starts_while_the_process_of_a_run_lives_that_has_ended(instance, process, launched, ended):
    """Failed by a monitor, canceled by force, deleted (None), or slow to leave: it is killed first."""
    over = run_of(instance, ended or dg.DagsterRunStatus.STARTED)
    lingering = process(over)
    if ended is None:
        instance.delete_run(over)
    running = process(run_of(instance, dg.DagsterRunStatus.STARTED))
    waiting = reported(instance, STARTING)
    launch(instance, waiting)
    assert launched == [waiting]
    assert lingering.wait(timeout=0) == -signal.SIGKILL
    assert running.poll() is None


def test_a_run_goes_back_into_the_queue_if_what_should_be_gone_is_not(
    instance, directory, process, launched, monkeypatch
):
    process(over := run_of(instance, dg.DagsterRunStatus.FAILURE))
    monkeypatch.setattr(worker_locks, "kill", lambda *_: None)
    waiting = reported(instance, STARTING)
    launch(instance, waiting)
    assert launched == []
    assert status(instance, waiting) is dg.DagsterRunStatus.QUEUED
    messages = [event.message for event in instance.all_logs(waiting)]
    assert any(over in message and "Back into the queue" in message for message in messages)
    assert worker_locks.living(directory) == [over]


def test_a_run_that_is_canceled_while_it_waits_for_a_place_never_starts(instance, process, launched, monkeypatch):
    process(run_of(instance, dg.DagsterRunStatus.FAILURE))
    waiting = reported(instance, STARTING)
    monkeypatch.setattr(worker_locks, "kill", lambda *_: instance.run_launcher.terminate(waiting))
    launch(instance, waiting)
    assert launched == []
    assert status(instance, waiting) is dg.DagsterRunStatus.CANCELED


def test_a_process_that_does_not_hear_that_it_is_to_stop_is_killed_by_its_launcher(instance, process):
    run_id = reported(instance, STARTING)
    deaf = process(run_id)
    os.kill(deaf.pid, signal.SIGSTOP)
    instance.run_launcher.terminate(run_id)
    instance.run_launcher._await(instance, run_id, launching.Spawned(deaf))  # noqa: SLF001 - which its thread does
    assert deaf.returncode == -signal.SIGKILL
    assert status(instance, run_id) is dg.DagsterRunStatus.CANCELED


@pytest.mark.parametrize("ended", [*FINISHED, None])
def test_a_process_that_goes_on_after_its_run_is_found_though_nothing_is_launched(instance, directory, process, ended):
    run_id = run_of(instance, ended or dg.DagsterRunStatus.STARTED)
    goes_on = process(run_id)
    process(other := run_of(instance, dg.DagsterRunStatus.STARTED))
    if ended is None:
        instance.delete_run(run_id)
    else:
        assert done(instance, datetime.now(UTC)) == []  # it may be about to leave
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert done(instance, later) == [(Do.STOP, run_id)]
    assert worker_locks.stop_requested_at(directory, run_id)
    assert done(instance, later) == [(Do.KILL, run_id)]
    assert goes_on.wait(timeout=10) == -signal.SIGKILL
    assert worker_locks.living(directory) == [other]


def test_no_other_process_is_killed_that_has_the_number_by_now(directory, process):
    process("one")
    lock = (directory / "one.lock").read_text()
    (directory / "one.lock").write_text(f"process {os.getpid()} works\n")
    worker_locks.kill(directory, "one")
    assert worker_locks.is_alive(directory, "one")
    (directory / "one.lock").write_text(lock)
    worker_locks.kill(directory, "two")
