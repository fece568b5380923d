"""The same job in one process, in several and on Dask: the same bytes."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest

from lab_pipeline.cli.jobs import run_backtest_job
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.series import visible_rows
from lab_pipeline.dagster_ext import executor, io_manager
from lab_pipeline.dagster_ext.reconcile import unpublish_late
from lab_pipeline.domain.errors import LabError
from lab_pipeline.lake import Lake
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.launch import Launcher
from lab_pipeline.operations.runs import Runs
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline_tests.support.markets import calls, candles

pytestmark = pytest.mark.usefixtures("own_forkserver")
MANY = [f"mint{number}" for number in range(12)]
PROCESSES = {"max_concurrent": 2, "start_method": {"forkserver": {}}}
EXECUTORS = {
    "in_process": {"in_process": {}},
    "multiprocess": {"multiprocess": PROCESSES},
    "dask": {"dask": {"cluster": {"local": {"n_workers": 2}}}},
}


@pytest.fixture(scope="module")
def market(lab):
    settings, _ = lab
    lake = Lake(settings.lake_dir)
    lake.write_candles(candles(MANY).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC"))), "1m")
    more = pl.concat([calls().with_columns(call_id=pl.col("call_id") + mint, mint=pl.lit(mint)) for mint in MANY])
    lake.write_calls(more.with_columns(pl.col("called_at").cast(pl.Datetime("ms", "UTC"))))


def result_of(settings, run):
    assert run.error is None
    manifest = ArtifactStore.of(settings).manifest(run.run_id)
    return manifest.fingerprint, manifest.summary, [(file.name, file.sha256) for file in manifest.files]


def steps_of(instance, run):
    ended = instance.all_logs(run.run_id, of_type={dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_SKIPPED})
    return {entry.step_key: entry.dagster_event.event_type_value for entry in ended}


@pytest.fixture(scope="module")
def plain(lab, market):  # noqa: ARG001 - the market has to be there
    settings, instance = lab
    run = run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m"))
    assert steps_of(instance, run)["run.merge"] == "STEP_SKIPPED"
    return result_of(settings, run)


@pytest.mark.parametrize(
    "kind",
    ["in_process", pytest.param("multiprocess", marks=pytest.mark.slow), pytest.param("dask", marks=pytest.mark.long)],
)
def test_every_executor_publishes_the_bytes_of_the_plain_run(lab, plain, kind):
    if kind == "dask" and importlib.util.find_spec("dagster_dask") is None:
        pytest.skip("dagster-dask is not installed: pip install 'lab-pipeline[dask]'")
    settings, instance = lab
    config = BacktestConfig(strategy="ladder", timeframe="1m", candles_per_part=900)
    run = run_backtest_job(instance, config, executor=EXECUTORS[kind])
    assert result_of(settings, run) == plain
    steps = steps_of(instance, run)
    assert steps["run.simulate"] == "STEP_SKIPPED"
    assert steps["run.simulate_part[01]"] == steps["run.merge"] == steps["upload"] == "STEP_SUCCESS"
    assert list(settings.scratch_dir.glob("*")) == []


def test_a_run_that_fails_leaves_nothing_to_hand_over(lab, market, monkeypatch):  # noqa: ARG001 - as above
    settings, instance = lab

    def broken(*_args, **_kwargs):
        raise RuntimeError("no ink")

    monkeypatch.setattr("lab_pipeline.reports.equity_picture", broken)
    config = BacktestConfig(strategy="ladder", timeframe="1m", candles_per_part=500)
    run = run_backtest_job(instance, config)
    assert run.error == "RuntimeError: no ink"
    assert list(settings.scratch_dir.glob("*")) == []


def test_what_dead_runs_left_is_swept_and_what_living_ones_need_stays(lab):
    settings, instance = lab
    living = instance.add_run(dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.STARTED)).run_id
    dead = instance.add_run(dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.FAILURE)).run_id
    for run_id in (living, dead, "unknown"):
        io_manager.run_directory(settings, run_id).mkdir(parents=True)
    io_manager.sweep(settings, instance)
    assert [path.name for path in settings.scratch_dir.iterdir()] == [living]
    io_manager.discard(settings, living)
    instance.delete_run(living)


def test_a_retry_runs_where_the_first_did(lab):
    settings, instance = lab
    asked = {"ops": {"run": {"config": {"strategy": "ladder", "timeframe": "1m", "candles_per_part": 7}}}}
    execution = {"execution": {"config": EXECUTORS["multiprocess"]}}
    run = dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.FAILURE, run_config={**asked, **execution})
    instance.add_run(run)
    launched = []

    class Webserver:
        def launch(self, _job, run_config, _tags, *, parent):
            launched.append((run_config, parent[0]))
            return "new"

    runs = Runs(instance, ArtifactStore.of(settings))
    assert Launcher(runs, Webserver(), keys=None, max_queued=10).retry(run.run_id) == "new"
    assert launched == [({**asked, **execution}, run.run_id)]
    instance.delete_run(run.run_id)


def op_of(instance, run):
    return SimpleNamespace(instance=instance, run=run, get_step_execution_context=lambda: None)


def test_what_an_op_publishes_after_the_end_of_its_run_is_unpublished(lab, plain, monkeypatch):  # noqa: ARG001 - the market
    settings, instance = lab
    run = run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m"))
    ended = instance.get_run_by_id(run.run_id)
    monkeypatch.setattr(io_manager, "crosses_processes", lambda _: True)
    with ClickHouse(clickhouse_config(settings)) as clickhouse:
        assert visible_rows(clickhouse, run.run_id)
        with pytest.raises(dg.Failure, match="unpublished"):
            unpublish_late(op_of(instance, ended), settings)
        assert not visible_rows(clickhouse, run.run_id)
    assert not ArtifactStore.of(settings).has(run.run_id)


def test_what_an_op_of_a_living_run_publishes_stays(lab, monkeypatch):
    settings, instance = lab
    monkeypatch.setattr(io_manager, "crosses_processes", lambda _: True)
    run = instance.add_run(dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.STARTED))
    unpublish_late(op_of(instance, run), settings)
    instance.delete_run(run.run_id)


def test_a_missing_dask_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LabError, match=r"pip install 'lab-pipeline\[dask\]'"):
        executor.require_installed("dask")
    executor.require_installed("multiprocess")


PARENT = """
import multiprocessing, time
from lab_pipeline.dagster_ext.worker_locks import end_with_parent

def op():
    end_with_parent()
    time.sleep(60)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=op)
    child.start()
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_the_process_of_an_op_ends_with_the_one_of_its_run(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    time.sleep(2.0)  # its imports; killed before, it would not have begun to watch
    os.kill(child, 0)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the process of the op lives on")
