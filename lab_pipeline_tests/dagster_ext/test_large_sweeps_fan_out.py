"""A sweep in parts, in one process, in several and on Dask, killed or not: the same bytes."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from lab_pipeline.cli.jobs import run_sweep_job
from lab_pipeline.dagster_ext.reconcile import reconcile_dead
from lab_pipeline.domain.errors import LabError
from lab_pipeline.lake import Lake
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.retention import leftovers
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps import partial
from lab_pipeline.sweeps.running import resolve, run_sweep
from lab_pipeline_tests.support import swept_lab
from lab_pipeline_tests.support.sweeps import sweeps_of
from lab_pipeline_tests.support.swept_lab import SPEC

lab = swept_lab.lab
pytestmark = pytest.mark.usefixtures("own_forkserver")

IN_PARTS = SPEC.model_copy(update={"calls_per_part": 80})
EXECUTORS = {
    "in_process": {"in_process": {}},
    "multiprocess": {"multiprocess": {"max_concurrent": 2, "start_method": {"forkserver": {}}}},
    "dask": {"dask": {"cluster": {"local": {"n_workers": 2}}}},
}


@pytest.fixture(scope="module")
def plain(lab, tmp_path_factory):
    """The hashes of the files of a sweep without Dagster, and its fingerprint."""
    settings, _ = lab
    store = sweeps_of(tmp_path_factory.mktemp("plain"))
    manifest, _ = run_sweep(SPEC, lake=Lake(settings.lake_dir), strategies=StrategyStore.of(settings), store=store)
    return manifest.fingerprint, manifest.files


@pytest.fixture(autouse=True)
def untried(lab):
    """Forget what tests before this one have tried, which counts."""
    yield
    settings, _ = lab
    store = sweeps_of(settings.home)
    for sweep_id in store.sweep_ids():
        (settings.sweeps_dir / sweep_id).rename(settings.home / f"done-{sweep_id}")


def result_of(settings, run):
    assert run.error is None
    manifest = sweeps_of(settings.home).manifest(run.run_id)
    return manifest.fingerprint, manifest.files


def steps_of(instance, run):
    ended = instance.all_logs(run.run_id, of_type={dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_SKIPPED})
    return {entry.step_key: entry.dagster_event.event_type_value for entry in ended}


def kept(settings):
    return sorted((settings.sweeps_dir / partial.PARTIAL).glob("*/cells-*.parquet"))


@pytest.mark.parametrize(
    "kind",
    ["in_process", pytest.param("multiprocess", marks=pytest.mark.slow), pytest.param("dask", marks=pytest.mark.long)],
)
def test_every_executor_publishes_the_bytes_of_the_plain_sweep(lab, plain, kind):
    if kind == "dask" and importlib.util.find_spec("dagster_dask") is None:
        pytest.skip("dagster-dask is not installed: pip install 'lab-pipeline[dask]'")
    settings, instance = lab
    run = run_sweep_job(instance, IN_PARTS, executor=EXECUTORS[kind])
    assert result_of(settings, run) == plain
    steps = steps_of(instance, run)
    assert steps["search.sweep_whole"] == "STEP_SKIPPED"
    assert steps["search.sweep_part[01]"] == steps["search.merge_cells"] == "STEP_SUCCESS"
    assert list(settings.scratch_dir.glob("*")) == []
    assert kept(settings) == []


ENDED = """
import os, signal
from lab_pipeline.cli.jobs import run_sweep_job
from lab_pipeline.dagster_ext.foreground import alive
from lab_pipeline.engine.sweep import Sweeper
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.dagster_ext.test_large_sweeps_fan_out import IN_PARTS

begun, add = 0, Sweeper.add

def dies(self, candles):
    global begun
    begun += 1
    if begun == 3:
        if {cancel}:
            instance.report_run_canceling(instance.get_runs(limit=1)[0])
        os.kill(os.getpid(), signal.{signal})
    return add(self, candles)

Sweeper.add = dies
with open_instance(load_settings()) as instance, alive(load_settings(), instance) as tags:
    run_sweep_job(instance, IN_PARTS, tags)
"""


def ended_by(name, *, cancel=False):
    """Run a sweep in a process of its own that gets a signal in its third part, where it was canceled, if it was."""
    program = [sys.executable, "-c", ENDED.format(signal=name, cancel=cancel)]
    return subprocess.run(program, capture_output=True, text=True, check=False, env=os.environ)


def test_a_sweep_that_is_canceled_stops_and_leaves_nothing_that_can_be_seen(lab):
    settings, instance = lab
    ended_by("SIGTERM", cancel=True)
    (run,) = instance.get_runs(limit=1)
    assert (run.job_name, run.status) == ("sweep", dg.DagsterRunStatus.CANCELED)
    assert list(settings.scratch_dir.glob("*")) == []
    assert sweeps_of(settings.home).sweep_ids() == []
    assert len(kept(settings)) == 2
    shutil.rmtree(settings.sweeps_dir / partial.PARTIAL)


def test_a_sweep_that_is_killed_in_a_part_goes_on_from_there(lab, plain):
    settings, instance = lab
    done = ended_by("SIGKILL")
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = {path: path.stat().st_ino for path in kept(settings)}
    assert len(left) == 2
    assert sweeps_of(settings.home).sweep_ids() == []
    reconcile_dead(instance, settings)
    (killed,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=1)
    assert killed.job_name == "sweep"
    assert list(settings.scratch_dir.glob("*")) == []
    assert {path: path.stat().st_ino for path in kept(settings)} == left
    run = run_sweep_job(instance, IN_PARTS)
    assert result_of(settings, run) == plain
    lines = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert sum("found, as a sweep has left it" in line for line in lines) == 2
    assert kept(settings) == []


def test_what_nobody_went_on_with_goes_after_a_week(lab):
    settings, instance = lab
    old, new = (settings.sweeps_dir / partial.PARTIAL / name for name in ("old", "new"))
    for directory in (old, new):
        directory.mkdir(parents=True)
        (directory / "cells-1.parquet").write_bytes(b"12345")
    before = (datetime.now(UTC) - timedelta(days=8)).timestamp()
    for path in (old, old / "cells-1.parquet"):
        os.utime(path, (before, before))
    with Lab(settings, instance) as opened:
        assert leftovers(opened, remove=False)["sweeps"] == 5
        assert leftovers(opened, remove=True)["sweeps"] == 5
    assert (old.exists(), new.exists()) == (False, True)


def test_other_sets_or_calls_find_nothing_of_it_and_another_objective_does(lab):
    settings, _ = lab
    lake, strategies = Lake(settings.lake_dir), StrategyStore.of(settings)
    changes = [
        {},
        {"objective": SPEC.objective.model_copy(update={"name": "expectancy"}), "seed": 7},
        {"space": {"exit.stopLoss": [0.1]}},
        {"callers": ("caller0", "caller1")},
    ]
    found = [partial.fingerprint(resolve(SPEC.model_copy(update=one), strategies, lake)) for one in changes]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_damaged_cells_are_named(lab, tmp_path):
    settings, _ = lab
    resolved = resolve(SPEC, StrategyStore.of(settings), Lake(settings.lake_dir))
    path = tmp_path / "cells-1.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(LabError, match=r"cells-1\.parquet is damaged"):
        partial.read_part(resolved, path)
