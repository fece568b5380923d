"""Fixtures of a home with a small market, and of a run on it."""

import polars as pl
import pytest

from lab_pipeline.cli.jobs import run_backtest_job
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.lake import Lake
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.markets import calls, candles


@pytest.fixture(scope="module")
def lab(tmp_path_factory, clickhouse_url):
    """A home with a small market and the instance on it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        patch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
        settings = load_settings()
        lake = Lake(settings.lake_dir)
        lake.write_candles(candles().with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC"))), "1m")
        lake.write_calls(calls().with_columns(pl.col("called_at").cast(pl.Datetime("ms", "UTC"))))
        with open_instance(settings) as instance:
            yield settings, instance


@pytest.fixture(scope="module")
def run(lab):
    _, instance = lab
    return run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m"))
