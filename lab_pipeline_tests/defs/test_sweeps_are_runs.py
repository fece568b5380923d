"""A sweep as a job of Dagster: one run, its tables assets, its promises checks."""

import dagster as dg
import pytest

from lab_pipeline.cli.jobs import run_sweep_job, sweep_job
from lab_pipeline.lake import Lake
from lab_pipeline.operations.launch import Launcher
from lab_pipeline.operations.runs import Runs
from lab_pipeline.operations.sweep_config import to_spec
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.idempotency import IdempotencyKeys
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps import replays
from lab_pipeline.sweeps.proofs import RefutedError
from lab_pipeline.sweeps.running import run_sweep
from lab_pipeline_tests.support import swept_lab
from lab_pipeline_tests.support.sweeps import sweeps_of
from lab_pipeline_tests.support.swept_lab import SPEC

lab = swept_lab.lab


@pytest.fixture(scope="module")
def run(lab):
    _, instance = lab
    return run_sweep_job(instance, SPEC)


def materialization(instance, name):
    return instance.get_latest_materialization_event(dg.AssetKey(["sweep", name])).asset_materialization


def checked(instance, run):
    events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [event.dagster_event.event_specific_data for event in events]
    return {one.check_name: one for one in found}


def test_the_run_is_the_sweep(lab, run):
    settings, instance = lab
    assert run.error is None
    manifest = sweeps_of(settings.home).manifest(run.run_id)
    assert manifest.sets == 24
    assert [one.job_name for one in instance.get_runs()] == ["sweep"]
    tags = instance.get_run_by_id(run.run_id).tags
    assert (tags["lab/strategy"], tags["lab/strategy_version"], tags["lab/timeframe"]) == ("mine", "1", "1m")
    assert tags["lab/fingerprint"] == manifest.fingerprint


def test_its_bytes_are_those_of_the_command_line(lab, run, tmp_path):
    settings, _ = lab
    lake, strategies = Lake(settings.lake_dir), StrategyStore.of(settings)
    manifest, _ = run_sweep(SPEC, lake=lake, strategies=strategies, store=sweeps_of(tmp_path))
    published = sweeps_of(settings.home).manifest(run.run_id)
    assert published.files == manifest.files
    assert published.fingerprint == manifest.fingerprint


def test_its_tables_are_assets_that_say_what_is_in_them(lab, run):
    settings, instance = lab
    manifest = sweeps_of(settings.home).manifest(run.run_id)
    sets, selection = materialization(instance, "sets"), materialization(instance, "selection")
    assert sets.tags["dagster/data_version"] == manifest.fingerprint
    assert sets.metadata["dagster/row_count"].value == 24
    assert sets.metadata["url"].value.endswith(f"/sweeps/{run.run_id}/artifacts/sets.parquet")
    best = [record.data for record in sets.metadata["best sets"].records]
    assert len(best) == 10
    assert best == sorted(best, key=lambda one: -one["expectancy_lower"])
    assert selection.metadata["verdict"].value == manifest.verdict
    assert set(selection.metadata["winner"].value) == set(SPEC.space)
    page = materialization(instance, "report").metadata["url"].value
    assert page.endswith(f"/sweeps/{run.run_id}/artifacts/report.html")
    for name in ("report", "sets", "selection"):
        leads_back = materialization(instance, name).metadata["page"].value
        assert leads_back == f"http://127.0.0.1:8000/lab/sweeps/{run.run_id}"


def test_tries_are_counted_by_strategy(lab, run):  # noqa: ARG001 - it has counted
    _, instance = lab
    event = instance.get_latest_materialization_event(dg.AssetKey(["statistics", "trials"]))
    records = event.asset_materialization.metadata["tries"].records
    assert [record.data for record in records] == [{"strategy": "mine", "sets": 24}]


def test_a_sound_sweep_passes_but_for_its_verdict(lab, run):
    _, instance = lab
    results = checked(instance, run)
    assert {name: one.passed for name, one in results.items()} == {
        "top_equals_backtest": True,
        "cells_equal_trades": True,
        "no_lookahead": True,
        "overfit": False,
        "holdout_untouched": True,
        "rows_equal_artifacts": True,
    }
    assert results["overfit"].severity is dg.AssetCheckSeverity.WARN
    assert "dsr" in results["overfit"].metadata["failed"].value
    assert {one.metadata["strategy"].value for one in results.values() if "strategy" in one.metadata} == {"mine"}


@pytest.mark.parametrize("check", ["top_equals_backtest", "cells_equal_trades"])
def test_a_sweep_that_its_backtest_refutes_is_not_published(lab, monkeypatch, check):
    settings, instance = lab

    def differs(*_, **__):
        raise RefutedError(check, "set 7 made 1 in the sweep, but 2 in a backtest")

    monkeypatch.setattr(replays, "hold_to", differs)
    run = run_sweep_job(instance, SPEC)
    assert "set 7 made 1" in run.error
    assert {name: one.passed for name, one in checked(instance, run).items()} == {check: False}
    assert run.run_id not in sweeps_of(settings.home).sweep_ids()


def test_what_is_wrong_is_named_by_its_path_and_nothing_is_made(lab):
    settings, instance = lab
    before = sweeps_of(settings.home).sweep_ids()
    run = run_sweep_job(instance, SPEC.model_copy(update={"space": {"exit.stopLos": [0.1]}}))
    assert "nearest is exit.stopLoss" in run.error
    assert sweeps_of(settings.home).sweep_ids() == before


def test_a_sweep_is_queued_once_a_key_and_found_by_what_it_is_about(lab):
    settings, instance = lab
    launched = []

    class Webserver:
        def launch(self, job, run_config, tags, *, parent):
            launched.append((job, run_config, tags, parent))
            return "new"

    runs = Runs(instance, ArtifactStore.of(settings))
    launcher = Launcher(runs, Webserver(), IdempotencyKeys(settings.catalog_path), max_queued=10)
    assert [launcher.sweep(SPEC, key="mine", request=b"it") for _ in range(2)] == ["new", "new"]
    ((job, run_config, tags, parent),) = launched
    assert (job, parent) == ("sweep", None)
    assert to_spec(run_config["ops"]["search"]["config"]) == SPEC
    assert (tags["lab/strategy"], tags["lab/timeframe"], tags["lab/idempotency_key"]) == ("mine", "1m", "mine")
    assert dg.validate_run_config(sweep_job(), run_config)
