"""Runs through the fork server, started as the daemon starts them: by the run launcher of the lab."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.launcher.base import LaunchRunContext

from lab_pipeline.cli.jobs import backtest_job
from lab_pipeline.dagster_ext import worker_locks
from lab_pipeline.dagster_ext.reconcile import reconcile_dead
from lab_pipeline.dagster_ext.run_worker import NICENESS
from lab_pipeline.forkserver.client import SOCKET
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.tags import run_config

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs handles of processes")]
LADDER = BacktestConfig(strategy="ladder", timeframe="1m")
IN_PARTS = {"multiprocess": {"max_concurrent": 2}}
"""How a run takes seconds: each of its ops in a process that loads everything."""
DONE_SECONDS = 120
LAB = Path(sys.executable).parent / "lab"


@contextmanager
def fork_server(settings):
    """Run one, instead of another that may be at work and is again afterwards."""
    place, aside = settings.dagster_home / SOCKET, settings.dagster_home / f"{SOCKET}.aside"
    if place.exists():
        place.rename(aside)
    command = [sys.executable, "-m", "lab_pipeline.cli.fork_server"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        until(place.exists)
        until(lambda: not server_children(process))  # the one that tells it which machine code to load
        yield process
    finally:
        process.kill()
        process.communicate()
        if aside.exists():
            aside.rename(place)


@pytest.fixture(scope="module")
def server(lab):
    with fork_server(lab[0]) as process:
        yield process


def until(condition, seconds=DONE_SECONDS):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.05)
    return found


def launched(instance, executor=None, config=LADDER):
    """Record a run and start it; return its id."""
    job = dg.reconstructable(backtest_job)
    run = instance.create_run_for_job(
        job.get_definition(), run_config=run_config(config.fields(), executor), job_code_origin=job.get_python_origin()
    )
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    return run.run_id


def ended(instance, run_id):
    return until(lambda: (run := instance.get_run_by_id(run_id)).is_finished and run.status.value)


def files_of(settings, run_id):
    manifest = ArtifactStore.of(settings).manifest(run_id)
    return manifest.fingerprint, {file.name: file.sha256 for file in manifest.files}


def forked(lab, server, run_id):
    """Return the process of a run, which the server must have forked."""
    directory = worker_locks.workers_dir(lab[0].dagster_home)
    process = psutil.Process(int((directory / f"{run_id}.lock").read_text().split()[1]))
    assert process.ppid() == server.pid
    return process


def server_children(server):
    return psutil.Process(server.pid).children()


def test_a_forked_run_has_the_name_of_any_run_and_publishes_the_bytes_of_one_in_the_foreground(lab, run, server):
    settings, instance = lab
    server_nice = psutil.Process(server.pid).nice()
    run_id = launched(instance)
    process = forked(lab, server, run_id)
    until(lambda: f"lab_pipeline.dagster_ext.run_worker {run_id}" in " ".join(process.cmdline()))
    until(lambda: process.nice() == server_nice + NICENESS)
    assert ended(instance, run_id) == "SUCCESS"
    assert files_of(settings, run_id) == files_of(settings, run.run_id)
    until(lambda: not server_children(server))


@pytest.mark.long
@pytest.mark.parametrize("executor", [IN_PARTS, {"dask": {"cluster": {"local": {}}}}])
def test_its_ops_may_run_in_other_processes(lab, run, server, executor):
    if "dask" in executor:
        pytest.importorskip("dagster_dask", reason="dagster-dask is not installed: pip install 'lab-pipeline[dask]'")
    settings, instance = lab
    run_id = launched(instance, executor)
    forked(lab, server, run_id)
    assert ended(instance, run_id) == "SUCCESS"
    assert files_of(settings, run_id) == files_of(settings, run.run_id)


def test_one_that_starts_itself_publishes_the_same(lab, run, server):
    settings, instance = lab
    os.kill(server.pid, signal.SIGSTOP)  # it answers nobody
    try:
        run_id = launched(instance)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert ended(instance, run_id) == "SUCCESS"
    assert files_of(settings, run_id) == files_of(settings, run.run_id)
    until(lambda: not server_children(server))  # the one that was asked for in vain does nothing


def test_a_run_outlives_the_server_that_is_killed(lab, run):
    settings, instance = lab
    with fork_server(settings) as server:
        run_id = launched(instance)
        forked(lab, server, run_id)
        server.kill()
        assert ended(instance, run_id) == "SUCCESS"
    assert files_of(settings, run_id) == files_of(settings, run.run_id)


def test_one_that_is_killed_has_failed_and_says_by_what(lab, server):
    _, instance = lab
    run_id = launched(instance, IN_PARTS)
    forked(lab, server, run_id).kill()
    assert ended(instance, run_id) == "FAILURE"
    (failure,) = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "was killed by signal 9" in failure.message


def test_one_that_is_to_stop_is_canceled(lab, server):
    _, instance = lab
    run_id = launched(instance, IN_PARTS)
    forked(lab, server, run_id)
    assert instance.run_launcher.terminate(run_id)
    assert ended(instance, run_id) == "CANCELED"
    until(lambda: not worker_locks.is_alive(worker_locks.workers_dir(lab[0].dagster_home), run_id))


def test_a_killed_run_and_a_killed_server_leave_a_run_that_has_failed(lab):
    settings, instance = lab
    with fork_server(settings) as server:
        run_id = launched(instance, IN_PARTS)
        process = forked(lab, server, run_id)
        server.kill()
        server.wait()
        process.kill()
        assert ended(instance, run_id) == "FAILURE"


def test_a_command_looks_as_if_it_were_carried_out_where_it_was_typed(lab, server, tmp_path):
    _, instance = lab
    ladder = resources.files("lab_pipeline.runs").joinpath("examples", "ladder.json").read_text()
    (tmp_path / "mine.json").write_text(ladder.replace('"ladder"', '"mine"'))
    command = [LAB, "backtest", "--strategy", "mine.json", "--timeframe", "1m", "--json"]
    typed = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: server_children(server))
    out, err = typed.communicate(timeout=DONE_SECONDS)
    assert (typed.returncode, err.strip()) == (0, "")
    published = json.loads(out)
    assert published["status"] == "completed"
    assert instance.get_run_by_id(published["runId"]).status is dg.DagsterRunStatus.SUCCESS
    wrong = subprocess.run([*command[:-1], "--from", "soon"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "error:" in wrong.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_command_ends_with_the_one_that_it_was_typed_to(lab, server, how):
    settings, instance = lab
    typed = subprocess.Popen(
        [LAB, "backtest", "--strategy", "ladder", "--timeframe", "1m", "--executor", "multiprocess"]
    )
    until(lambda: any(run.status is dg.DagsterRunStatus.STARTED for run in instance.get_runs(limit=1)))
    typed.send_signal(how)
    typed.wait(timeout=DONE_SECONDS)
    assert typed.returncode != 0
    until(lambda: not server_children(server))
    reconcile_dead(instance, settings)  # as the next command does: one that took longer than its grace was killed
    (newest,) = instance.get_runs(limit=1)
    assert newest.is_failure_or_canceled


@pytest.mark.long
def test_the_server_does_not_grow(lab, server):
    _, instance = lab
    for _ in range(5):
        ended(instance, launched(instance))
    before = psutil.Process(server.pid).memory_info().rss
    for _ in range(60):
        ended(instance, launched(instance))
    assert psutil.Process(server.pid).memory_info().rss < before + 3 * 2**20


@pytest.mark.long
def test_of_many_runs_none_is_lost_or_run_twice_while_the_server_is_killed_again_and_again(lab):
    settings, instance = lab
    waiting = []
    for kill_after in (0.0, 0.02, 0.05, 0.1, 0.3, 0.6, 1.0, 1.5):
        with fork_server(settings) as server:
            killer = threading.Timer(kill_after, server.kill)
            killer.start()
            waiting += [launched(instance) for _ in range(4)]
            killer.join()
    assert {ended(instance, run_id) for run_id in waiting} == {"SUCCESS"}
    for run_id in waiting:
        starts = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_START)
        assert len(starts) == 1
