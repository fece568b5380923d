import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.launcher.base import WorkerStatus

from lab_pipeline.cli.jobs import backtest_job, run_backtest_job
from lab_pipeline.clickhouse import upload
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.logs import list_lines
from lab_pipeline.clickhouse.series import metric_series, visible_rows
from lab_pipeline.clickhouse.upload import count_rows, upload_run
from lab_pipeline.dagster_ext import worker_locks
from lab_pipeline.dagster_ext.reconcile import reconcile_dead, reconcile_lost
from lab_pipeline.defs.backtest.clickhouse import COUNTS, FILLS, METRICS
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.log_shipper import ship_runs
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.tags import run_config
from lab_pipeline.settings import load_settings

NOWHERE = "http://user:secret@127.0.0.1:9/lab"
BACKTEST = BacktestConfig(strategy="ladder", timeframe="1m")


@pytest.fixture
def clickhouse(lab):
    with ClickHouse(clickhouse_config(lab[0])) as clickhouse:
        yield clickhouse


@pytest.fixture
def store(lab):
    return ArtifactStore.of(lab[0])


@pytest.fixture
def away(monkeypatch):
    """ClickHouse does not answer while this is open."""
    with monkeypatch.context() as patch:
        patch.setenv("LAB_CLICKHOUSE_URL", NOWHERE)
        patch.setenv("LAB_CLICKHOUSE_WAIT_SECONDS", "0.3")
        yield patch


def evaluations(instance, run_id):
    return [
        entry.asset_check_evaluation
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    ]


def test_the_assets_say_where_the_rows_are_and_the_check_counts_them(lab, run, clickhouse, store):
    _, instance = lab
    counts = count_rows(clickhouse, store, run.run_id)
    assert counts.equal
    assert counts.clickhouse["fills"] > 3
    assert counts.clickhouse["equity"] == metric_series(clickhouse, run.run_id).height > 3
    metrics = sum(rows for name, rows in counts.artifacts.items() if name != "fills")
    for key, table, rows in ((METRICS, "run_metrics", metrics), (FILLS, "run_fills", counts.artifacts["fills"])):
        seen = instance.get_latest_materialization_event(key).asset_materialization.metadata
        assert seen["dagster/table_name"].value == f"{clickhouse.config.database}.{table}"
        assert seen["dagster/row_count"].value == rows
        assert seen["run"].value == run.run_id
        shown = [(column.name, column.type) for column in seen["dagster/column_schema"].value.columns]
        query = "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        assert shown == clickhouse.query(f"{query} ORDER BY position", {"table": table}).rows()
    checks = {check.asset_key: check for check in evaluations(instance, run.run_id) if check.check_name == COUNTS}
    assert set(checks) == {METRICS, FILLS}
    assert all(check.passed and check.blocking for check in checks.values())
    assert checks[METRICS].metadata["rows in ClickHouse"].value == metrics
    assumed = store.manifest(run.run_id).fill_assumptions
    query = "SELECT DISTINCT fills, fill_assumptions FROM run_commits WHERE run_id = {run_id:String}"
    assert clickhouse.query(query, {"run_id": run.run_id}).rows() == [(assumed.id, assumed.text)]


def test_a_run_waits_for_clickhouse_then_fails_in_one_line_and_its_retry_completes_it(lab, away, clickhouse, store):
    settings, instance = lab
    ended = run_backtest_job(instance, BACKTEST)
    assert ended.error.startswith("ClickHouse at 127.0.0.1:9 does not answer (check LAB_CLICKHOUSE_URL")
    assert "secret" not in ended.error
    assert store.manifest(ended.run_id).summary.trades >= 3
    assert visible_rows(clickhouse, ended.run_id) == {}

    away.undo()
    options = dg.ReexecutionOptions.from_failure(ended.run_id, instance)
    with dg.execute_job(dg.reconstructable(backtest_job), instance, reexecution_options=options) as retried:
        assert retried.success
        assert {event.step_key for event in retried.all_events if event.is_step_start} == {"upload"}
    assert retried.run_id != ended.run_id
    assert count_rows(clickhouse, store, retried.run_id).equal
    again, failed = (store.manifest(run_id) for run_id in (retried.run_id, ended.run_id))
    assert (again.run_id, again.files, again.fingerprint) == (retried.run_id, failed.files, failed.fingerprint)
    for file in again.files:
        assert (settings.artifacts_dir / retried.run_id / file.name).stat().st_size == file.bytes

    upload_run(clickhouse, store, ended.run_id)  # what `lab clickhouse rebuild` does
    assert count_rows(clickhouse, store, ended.run_id).equal


def test_rows_that_differ_from_the_files_fail_the_run_and_are_not_seen(lab, monkeypatch, clickhouse):
    _, instance = lab
    publish_run = upload.publish_run

    def publish_less(store, run_id, equity, fills, *more):
        assert ship_runs(instance, store, [run_id])
        return publish_run(store, run_id, equity, fills.head(1), *more)

    monkeypatch.setattr(upload, "publish_run", publish_less)
    ended = run_backtest_job(instance, BACKTEST)
    assert "fills: 1 of " in ended.error
    assert f"`lab clickhouse rebuild {ended.run_id}`" in ended.error
    counted = [check.passed for check in evaluations(instance, ended.run_id) if check.check_name == COUNTS]
    assert counted == [True, False]
    assert visible_rows(clickhouse, ended.run_id) == {}
    assert list_lines(clickhouse, ended.run_id).lines.height, "what its log says had arrived stays"


@pytest.mark.parametrize("names", [["fills"], ["equity", "run_metrics"]])
def test_some_assets_of_a_backtest_are_materialized_alone_and_its_files_are_whole(lab, clickhouse, store, names):
    _, instance = lab
    keys = [dg.AssetKey(["backtest", name]) for name in names]
    with dg.execute_job(
        dg.reconstructable(backtest_job), instance, run_config=run_config(BACKTEST.fields()), asset_selection=keys
    ) as result:
        assert result.success
        assert {event.asset_key for event in result.get_asset_materialization_events()} == set(keys)
    assert store.damage(result.run_id) == []
    assert ("run_metrics" in names) == bool(visible_rows(clickhouse, result.run_id))


def killed_at_its_very_end(instance):
    """A run all of whose rows are visible, but whose process ended before it could say that it was done."""
    with dg.execute_job(dg.reconstructable(backtest_job), instance, run_config=run_config(BACKTEST.fields())) as result:
        run_id = result.run_id
    instance.add_run_tags(run_id, {worker_locks.WORKER_TAG: run_id})
    late = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name="backtest")
    instance.report_dagster_event(late, run_id=run_id)
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTED
    directory = worker_locks.workers_dir(load_settings().dagster_home)
    directory.mkdir(exist_ok=True)
    (directory / f"{run_id}.lock").touch()
    return run_id


def done(settings, instance, now):
    return [(action.do, action.run_id) for action in reconcile_lost(instance, settings, now)]


def ended_in_a_pod(instance, reason):
    """A run all of whose rows are visible, and which another launcher's process did not bring to its end."""
    run = instance.get_run_by_id(run_backtest_job(instance, BACKTEST).run_id)
    late = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name="backtest")
    instance.report_dagster_event(late, run_id=run.run_id)
    if reason is None:
        instance.report_run_canceled(run)
    else:
        instance.report_run_failed(run, message="gone", job_failure_data=JobFailureData(None, reason))
    return run.run_id


@pytest.mark.parametrize("reason", [None, RunFailureReason.UNKNOWN])
def test_what_other_launchers_leave_of_a_run_is_unpublished(lab, clickhouse, store, reason):
    settings, instance = lab
    run_id = ended_in_a_pod(instance, reason)
    moment = datetime.now(UTC)
    assert done(settings, instance, moment) == []  # its own launcher may be at it
    later = moment + timedelta(seconds=90)
    workers = worker_locks.workers_dir(settings.dagster_home)
    lock = worker_locks.take(workers, run_id)
    assert done(settings, instance, later) == [("stopped", run_id)]
    worker_locks.give_up(workers, run_id, lock)
    assert visible_rows(clickhouse, run_id)
    assert done(settings, instance, later) == [("unpublished", run_id)]
    assert visible_rows(clickhouse, run_id) == {}
    assert not store.has(run_id)
    assert done(settings, instance, later) == []


def test_what_a_run_published_whose_op_failed_stays(lab, store):
    settings, instance = lab
    run_id = ended_in_a_pod(instance, RunFailureReason.STEP_FAILURE)
    assert done(settings, instance, datetime.now(UTC) + timedelta(seconds=90)) == []
    assert store.has(run_id)


def test_a_run_that_was_killed_with_the_daemon_is_unpublished(lab, clickhouse, store):
    settings, instance = lab
    run_id = killed_at_its_very_end(instance)
    assert visible_rows(clickhouse, run_id)
    reconcile_dead(instance, settings)
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE
    assert visible_rows(clickhouse, run_id) == {}
    assert not store.has(run_id)
    assert worker_locks.living(worker_locks.workers_dir(settings.dagster_home)) == []


def test_a_killed_run_ends_at_once_and_is_unpublished_when_clickhouse_is_there_again(lab, clickhouse, store):
    _, instance = lab
    run_id = killed_at_its_very_end(instance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CLICKHOUSE_URL", NOWHERE)
        reconcile_dead(instance, load_settings())
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE
    assert store.has(run_id)
    reconcile_dead(instance, load_settings())
    assert visible_rows(clickhouse, run_id) == {}
    assert not store.has(run_id)


def test_a_run_that_outlived_its_daemon_is_unpublished_once_the_monitor_has_failed_it(lab, clickhouse, store):
    _, instance = lab
    run_id = killed_at_its_very_end(instance)
    run = instance.get_run_by_id(run_id)
    assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.FAILED
    assert store.has(run_id)
    instance.report_run_failed(run, message="as the monitor does")
    reconcile_dead(instance, load_settings())
    assert not store.has(run_id)
    assert visible_rows(clickhouse, run_id) == {}
    assert len(instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)) == 1


def test_a_run_that_is_cancelled_during_the_upload_has_no_rows(lab, monkeypatch, clickhouse):
    _, instance = lab
    insert = ClickHouse.insert

    def cancelled(self, table, rows, token):
        insert(self, table, rows, token)
        if table == "run_fills":
            raise DagsterExecutionInterruptedError

    monkeypatch.setattr(ClickHouse, "insert", cancelled)
    ended = run_backtest_job(instance, BACKTEST)
    assert ended.error == "the run was interrupted before it was done"
    assert visible_rows(clickhouse, ended.run_id) == {}


def test_a_run_by_hand_that_is_interrupted_after_it_has_published_is_unpublished(lab, monkeypatch, clickhouse, store):
    _, instance = lab
    insert = ClickHouse.insert

    def interrupted(self, table, rows, token):
        insert(self, table, rows, token)
        if table == "run_fills":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ClickHouse, "insert", interrupted)
    with suppress(KeyboardInterrupt):
        run_backtest_job(instance, BACKTEST)
    (run,) = instance.get_runs(limit=1)
    assert run.is_finished
    assert run.status is not dg.DagsterRunStatus.SUCCESS
    assert not store.has(run.run_id)
    assert visible_rows(clickhouse, run.run_id) == {}


def test_without_any_clickhouse_nothing_is_simulated(lab, monkeypatch, tmp_path):
    settings, instance = lab
    monkeypatch.delenv("LAB_CLICKHOUSE_URL")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    ended = run_backtest_job(instance, BACKTEST)
    assert "pip install 'lab-pipeline[embedded]'" in ended.error
    assert not (settings.artifacts_dir / ended.run_id).exists()
    assert not list(tmp_path.iterdir())


def test_the_upload_alone_says_that_there_is_nothing_to_upload(lab):
    _, instance = lab
    job = dg.reconstructable(backtest_job)
    with dg.execute_job(job, instance, asset_selection=[METRICS, FILLS]) as result:
        assert not result.success
        (failure,) = result.get_step_failure_events()
    assert "run the whole job `backtest`" in failure.step_failure_data.user_failure_data.description
