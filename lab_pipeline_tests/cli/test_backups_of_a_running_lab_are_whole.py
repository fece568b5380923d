"""Backups are taken while runs are launched, executed and deleted; each of them is a lab in which everything fits."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lab_pipeline.backup import Repository
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations.backup import take_backup
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.restore import restore_home
from lab_pipeline.operations.run_actions import erase
from lab_pipeline.operations.run_records import run_records
from lab_pipeline.operations.runs import Runs
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import load_settings
from lab_pipeline.statistics import Statistics, refresh
from lab_pipeline.statistics.run_record import KNOWN
from lab_pipeline_tests.support.markets import stock
from lab_pipeline_tests.support.running_lab import FINAL, RunningLab

pytestmark = pytest.mark.long
RUNS = 24
PAUSE_SECONDS = 0.5
LOOKED_AT = 6
CALM_SECONDS = 25.0


@pytest.fixture
def settings(tmp_path, monkeypatch, clickhouse_url):
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    monkeypatch.setenv("LAB_MAX_CONCURRENT_RUNS", "2")
    (tmp_path / "home").mkdir()
    stock(tmp_path / "home")
    return load_settings()


def delete_one(settings):
    """Delete the oldest run that is done."""
    with Lab(settings) as lab:
        done = [run for run in lab.runs.all() if run.finished]
        if done:
            erase(lab, done[-1].run_id)


@contextmanager
def backing_up(settings, directory):
    """Take backups until the block ends; refresh statistics and delete runs in between."""
    taken, done = [], threading.Event()

    def back_up():
        while not done.is_set():
            taken.append(take_backup(settings, directory))
            with open_instance(settings) as instance:
                runs = Runs(instance, ArtifactStore.of(settings))
                refresh(Statistics.of(settings), run_records(runs, KNOWN.to_frame()))
            if len(taken) % 3 == 0:
                delete_one(settings)
            done.wait(PAUSE_SECONDS)

    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(back_up)
        try:
            yield taken
        finally:
            done.set()
        ended.result(120)


def test_every_snapshot_fits_and_a_lab_goes_on_from_it(settings, tmp_path, monkeypatch):
    directory = tmp_path / "backup"
    lab = RunningLab(settings.home)
    try:
        with backing_up(settings, directory) as taken:
            launched = [lab.launch(strategy="ladder", timeframe="1m", callers=["ann"]) for _ in range(RUNS)]
            lab.wait(launched[-1]["run"]["runId"], 400)
    finally:
        lab.stop()
    assert len(taken) > 2
    assert not any(one.without_artifacts for one in taken)
    assert Repository(directory).damage() == []

    busiest, seen = (0, ""), set()
    for one in taken[:: -(-len(taken) // LOOKED_AT)]:
        home = tmp_path / one.name
        monkeypatch.setenv("LAB_HOME", str(home))
        restored = restore_home(load_settings(), directory, snapshot=one.name)
        seen |= statuses_if_all_fits(home)
        busiest = max(busiest, (len(restored.interrupted), str(home)))
    assert "SUCCESS" in seen
    assert busiest[0], "no backup met a run that was being executed"

    home = Path(busiest[1])
    monkeypatch.setenv("LAB_HOME", str(home))
    lab = RunningLab(home)
    try:
        with open_instance(load_settings()) as instance:
            wait_until_calm(instance, 300)
    finally:
        lab.stop()
    assert statuses_if_all_fits(home) <= FINAL


def wait_until_calm(instance, seconds):
    """Wait until all runs have ended, and for so long that those which failed would have been repeated."""
    deadline, calm_since = time.monotonic() + seconds, None
    while calm_since is None or time.monotonic() < calm_since + CALM_SECONDS:
        unfinished = [run.run_id for run in instance.get_runs() if not run.is_finished]
        assert time.monotonic() < deadline, unfinished
        calm_since = None if unfinished else calm_since or time.monotonic()
        time.sleep(0.5)


def statuses_if_all_fits(home):
    """Hold the stores of a restored home, at which nobody is at work, against one another; return its statuses."""
    settings = load_settings()
    assert settings.home == home
    artifacts = ArtifactStore.of(settings)
    strategies = StrategyStore(settings.catalog_path)
    versions = {(one, stored.version) for one in strategies.ids() for stored in strategies.versions(one)}
    with open_instance(settings) as instance:
        runs = instance.get_runs()
        succeeded = {run.run_id for run in runs if run.job_name == "backtest" and run.is_success}
        for run_id in succeeded:
            assert artifacts.damage(run_id) == []
            kinds = [entry.dagster_event.event_type for entry in instance.all_logs(run_id) if entry.dagster_event]
            assert dg.DagsterEventType.RUN_SUCCESS in kinds
            spec = artifacts.manifest(run_id).spec
            assert (spec.strategy_id, spec.strategy_version) in versions
            published = kinds.count(dg.DagsterEventType.ASSET_MATERIALIZATION)
            with closing(sqlite3.connect(home / "dagster" / "history" / "runs" / "index.db")) as index:
                query = (
                    "SELECT count(*) FROM event_logs WHERE run_id = ? AND dagster_event_type = 'ASSET_MATERIALIZATION'"
                )
                assert index.execute(query, [run_id]).fetchone() == (published,)
                assert published > 6
        assert set(artifacts.run_ids()) <= {run.run_id for run in runs}
        counted = Statistics.of(settings).catalog.run_records()  # a deleted run is, until statistics are next refreshed
        completed = set(counted.filter(pl.col("status") == "completed")["run_id"])
        assert completed & {run.run_id for run in runs} <= succeeded
        return {run.status.value for run in runs}
