"""`lab runs list` reads the record without Dagster; what it finds is what Dagster's own reading finds."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations.runs import Runs
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.listing import newest
from lab_pipeline.runs.tags import ASSET_JOB, STATUSES, STRATEGY_TAG
from lab_pipeline.settings import load_settings
from lab_pipeline.storage.duck_file import DuckFile


def asked(**config):
    return {"ops": {"run": {"config": config}}}


def recorded(settings):
    with open_instance(settings) as instance:
        runs, _ = Runs(instance, ArtifactStore.of(settings)).page(limit=1000)
        return [
            (
                run.run_id,
                run.status,
                run.strategy_id,
                run.strategy_version,
                run.timeframe,
                run.created_at,
                run.published.summary.model_dump() if run.published else None,
            )
            for run in runs
        ]


def listed(settings, limit=1000):
    return [tuple(vars(run).values()) for run in newest(settings, limit)]


def test_runs_of_every_kind_are_found_alike(stocked):
    done = stocked("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json").json["runId"]
    settings = load_settings()
    assets = [dg.AssetKey(["backtest", "trades"]), dg.AssetKey(["backtest", "equity"])]
    with open_instance(settings) as instance:
        statuses = set(dg.DagsterRunStatus) - {dg.DagsterRunStatus.QUEUED}  # which needs a code location
        for status in statuses:
            instance.add_run(dg.DagsterRun("backtest", run_config=asked(strategy="a", timeframe="5m"), status=status))
        for run in (
            dg.DagsterRun("backtest", run_config={"ops": "nonsense"}),
            dg.DagsterRun("backtest", run_config=asked(strategy=7), tags={STRATEGY_TAG: "tagged"}),
            dg.DagsterRun(ASSET_JOB, asset_selection=frozenset(assets)),
            dg.DagsterRun(ASSET_JOB, asset_selection=frozenset([dg.AssetKey(["lake", "backtest"])])),
            dg.DagsterRun(ASSET_JOB),
            dg.DagsterRun("statistics"),
        ):
            instance.add_run(run)
    expected = recorded(settings)
    assert len(expected) == 1 + len(statuses) + 3
    assert {status for _, status, *_ in expected} >= {status.value for status in STATUSES.values()}
    assert listed(settings) == expected
    assert expected[-1][0] == done
    assert listed(settings, limit=3) == expected[:3]


def test_more_runs_than_are_read_at_once_are_all_found(stocked, monkeypatch):
    monkeypatch.setattr("lab_pipeline.storage.run_rows.ROWS_AT_ONCE", 4)
    settings = load_settings()
    with open_instance(settings) as instance:
        for _ in range(9):
            instance.add_run(dg.DagsterRun("backtest"))
    assert stocked.home == settings.home
    assert listed(settings) == recorded(settings)
    assert all(run.created_at.tzinfo is UTC and run.created_at < datetime.now(UTC) for run in newest(settings, 9))


@pytest.mark.parametrize(
    "config", [None, "a: [", "run_storage: 7", "run_storage: {class: PostgresRunStorage, config: {}}"]
)
def test_what_only_dagster_can_read_is_left_to_it(stocked, config):
    settings = load_settings()
    with open_instance(settings) as instance:
        instance.add_run(dg.DagsterRun("backtest"))
    assert stocked.home == settings.home
    path = settings.dagster_home / "dagster.yaml"
    path.unlink()
    if config is not None:
        path.write_text(config)
    assert newest(settings, 5) is None


def test_a_record_of_a_later_layout_is_left_to_dagster(stocked):
    settings = load_settings()
    with open_instance(settings) as instance:
        instance.add_run(dg.DagsterRun("backtest"))
    assert len(newest(settings, 5)) == 1
    with DuckFile.at(settings.dagster_home / "runs.duckdb").transaction(write=True) as connection:
        connection.execute("UPDATE run_storage_layout SET version = 99")
    assert newest(settings, 5) is None
    assert stocked.home == settings.home
