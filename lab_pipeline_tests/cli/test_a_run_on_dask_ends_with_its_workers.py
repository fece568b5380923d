"""A backtest on a local Dask cluster is canceled, and killed -9, while a worker simulates: nothing of it stays."""

import importlib.util
import os
import signal
from pathlib import Path

import pytest

from lab_pipeline_tests.support.processes import cpu_seconds, processes
from lab_pipeline_tests.support.running_lab import RunningLab, backtests, cancel, left_over
from lab_pipeline_tests.support.waiting import until

DASK = {"dask": {"cluster": {"local": {"n_workers": 2}}}}


@pytest.fixture
def lab(tmp_path, monkeypatch, clickhouse_url, stock_endless):
    if importlib.util.find_spec("dagster_dask") is None:
        pytest.skip("dagster-dask is not installed: pip install 'lab-pipeline[dask]'")
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setenv("LAB_RUN_RETRIES", "0")
    stock_endless(tmp_path)
    lab = RunningLab(tmp_path)
    yield lab
    lab.stop()


@pytest.mark.long
def test_a_canceled_and_a_killed_run_leave_no_worker_no_handover_and_no_artifact(lab):
    run_id, run = simulating(lab)
    assert list((lab.home / "scratch").iterdir())
    cancel(lab, run_id)
    assert lab.wait(run_id, 60) == "CANCELED"
    assert_nothing_left(lab.home, run)

    run_id, run = simulating(lab)
    os.kill(run, signal.SIGKILL)
    assert lab.wait(run_id, 60) == "FAILURE"
    assert_nothing_left(lab.home, run)
    assert len(backtests(lab)) == 2


def simulating(lab):
    """Start a run and wait until a Dask worker can only be in the kernel; return the run's id and its process."""
    asked = {"strategy": "endless", "timeframe": "1m", "callers": ["slow"], "candles_per_part": 1000}
    run_id = lab.launch(DASK, **asked)["run"]["runId"]
    (run,) = until(lambda: processes(lab.home, "dagster_ext.run_worker", run_id))
    until(lambda: any(cpu_seconds(pid) > 8 for pid in session_of(run) if pid != run), 180)
    return run_id, run


def session_of(run):
    """Find a run's process and those that it has started; these outlive it if nobody ends them.

    By their session, since Dask's workers write their titles over the variables that name their home.
    """
    found = [int(directory.name) for directory in Path("/proc").glob("[0-9]*")]
    return [pid for pid in found if session(pid) == run]


def session(pid):
    """Tell the session of a process that lives."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(fields[2])


def assert_nothing_left(home, run):
    until(lambda: not session_of(run))
    # A killed run is failed first, and cleared away then.
    until(lambda: not list((home / "scratch").iterdir()), 15)
    assert left_over(home) == []
