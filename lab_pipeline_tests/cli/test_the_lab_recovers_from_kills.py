"""Processes are killed under real backtests; whatever it was, every run ends, and nothing is left or doubled."""

import os
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lab_pipeline.defs.operations import workers
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import Settings
from lab_pipeline_tests.cli.test_lab_up_runs_what_the_launchpad_starts import FINAL, LAB, RunningLab, stock
from lab_pipeline_tests.processes import of_home

pytestmark = pytest.mark.long
MINUTES, CALLS = 600_000, 400_000
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
# Backtests only: the lab computes statistics after them, at a moment of its own.
RUNS = """{
  runsOrError(filter: {pipelineName: "backtest"}) {
    ... on Runs { results { runId status parentRunId tags { key value } } }
  }
}"""


def stock_endless(home):
    """Add a market on which a backtest stays in the kernel for minutes: every call watches every candle."""
    stock(home)
    start = int(datetime(2019, 1, 1, tzinfo=UTC).timestamp() * 1000)
    times = pl.Series(start + np.arange(MINUTES, dtype=np.int64) * 60_000).cast(pl.Datetime("ms", "UTC"))
    price = 1 + 1e-6 * np.arange(MINUTES)  # ever higher: the trailing stop moves with every candle
    columns = {"mint": "SLOW", "timestamp": times, "open": price, "high": price, "low": price, "close": price}
    lake = Lake(home / "lake")
    lake.write_candles(pl.DataFrame({**columns, "volume": np.ones(MINUTES)}), "1m")
    ids = [f"slow{number}" for number in range(CALLS)]
    lake.write_calls(pl.DataFrame({"call_id": ids, "caller": "slow", "mint": "SLOW", "called_at": times.head(CALLS)}))
    document = {
        "id": "endless",
        "horizonMinutes": MINUTES,
        "exit": {"trailing": {"activation": 1.0001, "distance": 0.9}},
    }
    StrategyStore(Settings(home=home).catalog_path).add(Strategy.parse(document))


@pytest.fixture
def lab_on(tmp_path, monkeypatch):
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


def statuses(lab):
    return {run["runId"]: run for run in lab.graphql(RUNS)["runsOrError"]["results"]}


def cancel(lab, run_id):
    """Cancel a run; Dagster refuses for the moments in which it is not in the queue yet, or is starting."""
    until(lambda: lab.graphql(TERMINATE, id=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess", 30)


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.2)
    return answer


def processes(home, *words):
    return [
        pid
        for pid, command in of_home(home).items()
        if all(word in command for word in words) and "gateway" not in command
    ]


def in_the_kernel(lab, run_id):
    """Wait until a run's process has used so much time that it can only be simulating."""

    def busy():
        for pid in processes(lab.home, "operations.worker", run_id):
            if statuses(lab)[run_id]["status"] == "STARTED":
                return cpu_seconds(pid) > 6 and pid
        return None

    return until(busy, 120)


def cpu_seconds(pid):
    """Return what a process has used; nothing if it has ended: a child of it bears its name until it is a program."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def left_over(home):
    artifacts = home / "artifacts"
    return [path.name for path in artifacts.glob("[!.]*")] + [path.name for path in artifacts.glob(".staging/*-*")]


def test_a_run_is_canceled_in_the_queue_and_in_the_kernel(lab_on):
    lab = lab_on()
    running, waiting = endless(lab), small(lab)
    in_the_kernel(lab, running)
    cancel(lab, waiting)
    assert lab.wait(waiting, 5) == "CANCELED"
    cancel(lab, running)
    assert lab.wait(running, 12) == "CANCELED"
    until(lambda: not processes(lab.home, "operations.worker"), 10)
    assert left_over(lab.home) == []
    after = small(lab)
    assert lab.wait(after, 60) == "SUCCESS"  # the one slot is free
    assert left_over(lab.home) == [after]
    assert len(statuses(lab)) == 3  # nothing is run again that was canceled


def test_services_may_die_under_a_run_and_a_dead_run_is_run_again(lab_on):
    lab = lab_on()
    running = endless(lab)
    worker = in_the_kernel(lab, running)
    for words in (("dagster api grpc",), ("/lab webserver ",), ("lab_pipeline.daemon",)):
        for pid in processes(lab.home, *words):
            os.kill(pid, signal.SIGKILL)
    until(
        lambda: len(processes(lab.home, "lab_pipeline.daemon")) > 0 and len(processes(lab.home, "/lab webserver ")) > 0
    )
    until(lambda: answers(lab), 60)
    assert statuses(lab)[running]["status"] == "STARTED"
    assert processes(lab.home, "operations.worker", running) == [worker]

    os.kill(worker, signal.SIGKILL)  # its parent, the daemon, is another one now: the monitor finds it
    assert lab.wait(running, 60) == "FAILURE"
    again = until(lambda: [run for run in statuses(lab).values() if run["parentRunId"] == running])
    assert [run["runId"] for run in again] == [again[0]["runId"]]
    second = again[0]["runId"]
    os.kill(in_the_kernel(lab, second), signal.SIGKILL)  # a child of this daemon: it is told at once
    assert lab.wait(second, 10) == "FAILURE"
    until(lambda: len(statuses(lab)) == 3)
    third = next(run["runId"] for run in statuses(lab).values() if run["runId"] not in {running, second})
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
    again = until(lambda: [run["runId"] for run in statuses(lab).values() if run["parentRunId"] == running])
    cancel(lab, again[0])
    assert [lab.wait(run_id, 120) for run_id in (again[0], *waiting)] == ["CANCELED", "SUCCESS", "SUCCESS"]
    assert time.monotonic() - began < 120
    assert len(statuses(lab)) == 4
    assert {run["status"] for run in statuses(lab).values()} <= FINAL
    assert sorted(left_over(lab.home)) == sorted(waiting)
    directory = workers.workers_dir(Settings(home=lab.home).dagster_home)
    until(lambda: workers.living(directory) == [], 30)  # a process has its lock to its very end, after that of its run


def answers(lab):
    try:
        return bool(statuses(lab))
    except OSError:
        return False
