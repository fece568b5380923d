import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.declarative_automation.automation_condition_tester import (
    evaluate_automation_conditions,
)

from lab_pipeline.cli.jobs import run_backtest_job, run_statistics_job
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.definitions import defs
from lab_pipeline.defs.statistics.checks import evaluate
from lab_pipeline.defs.statistics.specs import keys
from lab_pipeline.lake import Lake
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.settings import load_settings
from lab_pipeline.statistics import Statistics, overview
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline_tests.support.markets import calls, candles


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A home with a small market and the instance on it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        settings = load_settings()
        lake, time = Lake(settings.lake_dir), pl.Datetime("ms", "UTC")
        lake.write_candles(candles().with_columns(pl.col("timestamp").cast(time)), "1m")
        lake.write_calls(calls().with_columns(pl.col("called_at").cast(time)))
        with open_instance(settings) as instance:
            yield settings, instance


def metadata(instance, key):
    return instance.get_latest_materialization_event(key).asset_materialization.metadata


@pytest.mark.slow
def test_the_job_counts_completed_backtests_and_shows_what_it_found(lab):
    settings, instance = lab
    assert run_backtest_job(instance, BacktestConfig(strategy="nothing", timeframe="1m")).error
    assert run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m")).error is None
    assert run_statistics_job(instance) is None
    body = overview(Statistics.of(settings)).body
    assert body["runsByStatus"] == {"completed": 1, "failed": 1}
    assert body["totalTrades"] >= 3
    for key in keys():
        seen = metadata(instance, key)
        assert seen["dagster/row_count"].value >= 1
        assert seen["changed"].value is True
        assert next(iter(seen)) == "page"
        of_the_lab = {"run_no", "directory", "signature", "manifest_sha256", "manifest_trades", "manifest_paths"}
        described = seen["dagster/column_schema"].value.columns
        assert {column.name for column in described if not column.description} <= of_the_lab
    seen = metadata(instance, dg.AssetKey(["statistics", "overview"]))
    assert seen["totalTrades"].value == body["totalTrades"]
    assert isinstance(seen["winRate"], dg.FloatMetadataValue)
    shown = metadata(instance, dg.AssetKey(["statistics", "distribution"]))["picture"].value
    assert shown.startswith("![Trades by net return](<data:image/svg+xml,")
    (record,) = instance.get_run_records(dg.RunsFilter(job_name="statistics"))
    events = instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    results = [event.dagster_event.asset_check_evaluation_data for event in events]
    assert {result.check_name for result in results} == {
        "totals_agree",
        "win_rates_are_shares",
        "counts_equal_the_manifests",
    }
    assert all(result.passed for result in results)

    assert run_statistics_job(instance) is None
    assert metadata(instance, keys()[0])["changed"].value is False


@pytest.mark.slow
def test_checks_fail_where_the_numbers_disagree(lab):
    settings, instance = lab
    assert run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m", seed=1)).error is None
    assert run_statistics_job(instance) is None
    catalog = Statistics.of(settings).catalog
    assert all(result.passed for result in evaluate(catalog))
    with DuckFile.at(catalog.path).transaction(write=True) as connection:
        connection.execute("UPDATE statistics_pnl SET trades = trades + 1 WHERE group_by = 'token'")
        connection.execute("UPDATE leaderboard_callers SET win_rate = 1.5")
        connection.execute("UPDATE leaderboard_runs SET manifest_paths = manifest_paths + 1")
    results = {result.check_name: result for result in evaluate(catalog)}
    assert not any(result.passed for result in results.values())
    assert results["totals_agree"].metadata["wrong"].value == 1
    assert results["win_rates_are_shares"].metadata["wrong"].value == 2
    counted = results["counts_equal_the_manifests"].metadata
    assert counted["wrong"].value == counted["runs"].value >= 1


def test_they_are_asked_for_at_the_first_look_and_when_a_backtest_has_been_published_and_only_then():
    instance = dg.DagsterInstance.ephemeral()
    definitions, wanted = defs(), dg.AssetSelection.assets(*keys())

    def asked(cursor=None):
        return evaluate_automation_conditions(definitions, instance, wanted, cursor=cursor)

    instance.report_runless_asset_event(dg.AssetMaterialization(["backtest", "trades"]))  # before there was a daemon
    first = asked()
    assert first.get_num_requested(dg.AssetKey(["statistics", "overview"])) == 1
    for key in keys():
        instance.report_runless_asset_event(dg.AssetMaterialization(key))
    idle = asked(first.cursor)
    assert idle.total_requested == 0
    instance.report_runless_asset_event(dg.AssetMaterialization(["backtest", "trades"]))
    second = asked(idle.cursor)
    assert second.total_requested >= 1
    assert second.get_num_requested(dg.AssetKey(["statistics", "overview"])) == 1
    for key in keys():
        instance.report_runless_asset_event(dg.AssetMaterialization(key))
    assert asked(second.cursor).total_requested == 0
