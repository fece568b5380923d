"""Processes are killed under real backtests; every run ends, and nothing is left or doubled."""

import os
import signal
import subprocess
import time

import pytest

from lab_pipeline.dagster_ext import worker_locks
from lab_pipeline.settings import Settings
from lab_pipeline_tests.support.processes import processes
from lab_pipeline_tests.support.running_lab import FINAL, LAB, RunningLab, backtests, cancel, in_the_kernel, left_over
from lab_pipeline_tests.support.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture
def lab_on(tmp_path, monkeypatch, stock_endless):
    monkeypatch.setenv("LAB_MAX_CONCURRENT_RUNS", "1")
    stock_endless(tmp_path)
    started = []

    def start():
        started.append(RunningLab(tmp_path))
        return started[-1]

    yield start
    if started[-1].process.poll() is None:
        started[-1].stop()
    environment = {**os.environ, "LAB_HOME": str(tmp_path)}
    subprocess.run([LAB, "clickhouse", "stop"], env=environment, check=True, capture_output=True)


def endless(lab):
    return lab.launch(strategy="endless", timeframe="1m", callers=["slow"])["run"]["runId"]


def small(lab):
    return lab.launch(strategy="ladder", timeframe="1m", callers=["ann"])["run"]["runId"]


def test_a_run_is_canceled_in_the_queue_and_in_the_kernel(lab_on):
    lab = lab_on()
    running, waiting = endless(lab), small(lab)
    in_the_kernel(lab, running)
    cancel(lab, waiting)
    assert lab.wait(waiting, 5) == "CANCELED"
    cancel(lab, running)
    assert lab.wait(running, 12) == "CANCELED"
    until(lambda: not processes(lab.home, "dagster_ext.run_worker"), 10)
    assert left_over(lab.home) == []
    after = small(lab)
    assert lab.wait(after, 60) == "SUCCESS"  # the one slot is free
    assert left_over(lab.home) == [after]
    assert len(backtests(lab)) == 3  # nothing is run again that was canceled


def test_services_may_die_under_a_run_and_a_dead_run_is_run_again(lab_on):
    lab = lab_on()
    running = endless(lab)
    worker = in_the_kernel(lab, running)
    for words in (
        ("lab_pipeline.dagster_ext.code_server",),
        ("/lab webserver ",),
        ("lab_pipeline.dagster_ext.daemon",),
    ):
        for pid in processes(lab.home, *words):
            os.kill(pid, signal.SIGKILL)
    until(
        lambda: (
            len(processes(lab.home, "lab_pipeline.dagster_ext.daemon")) > 0
            and len(processes(lab.home, "/lab webserver ")) > 0
        )
    )
    until(lambda: answers(lab), 60)
    assert backtests(lab)[running]["status"] == "STARTED"
    assert processes(lab.home, "dagster_ext.run_worker", running) == [worker]

    os.kill(worker, signal.SIGKILL)  # its parent, the daemon, is another one now: the monitor finds it
    assert lab.wait(running, 60) == "FAILURE"
    again = until(lambda: [run for run in backtests(lab).values() if run["parentRunId"] == running])
    assert [run["runId"] for run in again] == [again[0]["runId"]]
    second = again[0]["runId"]
    os.kill(in_the_kernel(lab, second), signal.SIGKILL)  # a child of this daemon, which notices at once
    assert lab.wait(second, 10) == "FAILURE"
    until(lambda: len(backtests(lab)) == 3)
    third = next(run["runId"] for run in backtests(lab).values() if run["runId"] not in {running, second})
    cancel(lab, third)
    assert lab.wait(third, 30) == "CANCELED"
    assert left_over(lab.home) == []


@pytest.mark.parametrize("everything", [True, False])
def test_after_a_crash_of_the_lab_or_the_machine_everything_goes_on(lab_on, everything):
    lab = lab_on()
    running, waiting = endless(lab), [small(lab) for _ in range(2)]
    in_the_kernel(lab, running)
    victims = processes(lab.home) if everything else [lab.process.pid]
    for pid in {*victims, lab.process.pid}:
        os.kill(pid, signal.SIGKILL)
    lab.process.wait()
    until(lambda: not processes(lab.home), 60)

    lab = lab_on()
    began = time.monotonic()
    assert lab.wait(running, 120) == "FAILURE"
    again = until(lambda: [run["runId"] for run in backtests(lab).values() if run["parentRunId"] == running])
    cancel(lab, again[0])
    assert [lab.wait(run_id, 120) for run_id in (again[0], *waiting)] == ["CANCELED", "SUCCESS", "SUCCESS"]
    assert time.monotonic() - began < 120
    assert len(backtests(lab)) == 4
    assert {run["status"] for run in backtests(lab).values()} <= FINAL
    assert sorted(left_over(lab.home)) == sorted(waiting)
    directory = worker_locks.workers_dir(Settings(home=lab.home).dagster_home)
    until(
        lambda: worker_locks.living(directory) == [], 30
    )  # a process has its lock to its very end, after that of its run


def answers(lab):
    try:
        return bool(backtests(lab))
    except OSError:
        return False
