"""The job `sweep` ends in ClickHouse: exactly once, as in its files, and gone with its run."""

import dagster as dg
import polars as pl
import pytest

from lab_pipeline.cli.jobs import run_sweep_job, sweep_job
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.sweeps import visible_rows
from lab_pipeline.clickhouse.writer import delete_run
from lab_pipeline.defs.sweep.clickhouse import COUNTS, DAYS, SETS
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.rebuild_clickhouse import rebuild_rows
from lab_pipeline.sweeps import upload
from lab_pipeline.sweeps.upload import count_rows
from lab_pipeline_tests.support import swept_lab

lab = swept_lab.lab
SPEC = swept_lab.SPEC.model_copy(update={"space": {"exit.stopLoss": [0.1, 0.2, 0.3]}})


@pytest.fixture(scope="module")
def run(lab):
    _, instance = lab
    ended = run_sweep_job(instance, SPEC)
    assert ended.error is None
    return ended


@pytest.fixture
def clickhouse(lab):
    with ClickHouse(clickhouse_config(lab[0])) as clickhouse:
        yield clickhouse


@pytest.fixture
def store(lab):
    return Lab(lab[0]).sweeps


def evaluations(instance, run_id):
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [event.asset_check_evaluation for event in events]
    return {one.asset_key: one for one in found if one.check_name == COUNTS}


def test_the_assets_say_where_the_rows_are_and_the_check_counts_them(lab, run, clickhouse, store):
    _, instance = lab
    counts = count_rows(clickhouse, store, run.run_id)
    assert counts.equal
    sets, days = (pl.read_parquet(store.path(run.run_id, name)) for name in ("sets", "days"))
    able = sets.filter("eligible")["set_id"]
    assert counts.clickhouse == {
        "sweep_sets": 3,
        "sweep_days": days.filter(pl.col("set_id").is_in(able.to_list())).height,
    }
    checks = evaluations(instance, run.run_id)
    assert set(checks) == {SETS, DAYS}
    assert all(check.passed and check.blocking for check in checks.values())
    for key in (SETS, DAYS):
        seen = instance.get_latest_materialization_event(key).asset_materialization.metadata
        table = key.path[-1]
        assert seen["dagster/table_name"].value == f"{clickhouse.config.database}.{table}"
        shown = [(column.name, column.type) for column in seen["dagster/column_schema"].value.columns]
        query = "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        written = "default_kind != 'EPHEMERAL' ORDER BY position"
        assert shown == clickhouse.query(f"{query} AND {written}", {"table": table}).rows()
        assert seen["dagster/row_count"].value == counts.clickhouse[table]
        assert f"/sweeps/{run.run_id}/" in seen["url"].value
        assert seen["page"].value.endswith(f"/lab/sweeps/{run.run_id}")


def test_rows_that_differ_from_the_files_fail_the_run_and_are_not_seen(lab, monkeypatch, clickhouse):
    _, instance = lab
    publish = upload.publish_sweep
    monkeypatch.setattr(upload, "publish_sweep", lambda to, run_id, sets, days: publish(to, run_id, sets.head(1), days))
    ended = run_sweep_job(instance, SPEC)
    assert "sweep_sets: 1 of 3" in ended.error
    assert f"`lab clickhouse rebuild {ended.run_id}`" in ended.error
    assert visible_rows(clickhouse, ended.run_id) == {}
    assert {check.passed for check in evaluations(instance, ended.run_id).values()} == {False}


def test_what_is_lost_is_rebuilt_and_a_rebuild_changes_nothing(lab, run, clickhouse, store):
    settings, instance = lab
    before = visible_rows(clickhouse, run.run_id)
    with Lab(settings, instance) as whole:
        rebuilt = rebuild_rows(whole, [run.run_id])
        assert (rebuilt.runs, rebuilt.sweeps, rebuilt.sets) == (0, 1, sum(before.values()))
        assert visible_rows(clickhouse, run.run_id) == before
        delete_run(clickhouse, run.run_id, logs=False)
        assert visible_rows(clickhouse, run.run_id) == {}
        assert rebuild_rows(whole).sweeps == len(store.sweep_ids())
    assert visible_rows(clickhouse, run.run_id) == before


def test_the_upload_alone_says_that_there_is_nothing_to_upload(lab):
    _, instance = lab
    with dg.execute_job(dg.reconstructable(sweep_job), instance, asset_selection=[SETS, DAYS]) as result:
        assert not result.success
        (failure,) = result.get_step_failure_events()
    assert "run the whole job `sweep`" in failure.step_failure_data.user_failure_data.description
