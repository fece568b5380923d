"""The jobs that run backtests."""

import dagster as dg

from lab_pipeline.defs.backtest.assets import backtest_assets
from lab_pipeline.defs.backtest.clickhouse import clickhouse_assets
from lab_pipeline.defs.backtest.partitions import nightly_assets
from lab_pipeline.runs.tags import NIGHTLY_JOB

EXAMPLE = {"ops": {"run": {"config": {"strategy": "ladder", "timeframe": "5m"}}}}
"""What the launchpad opens with: a strategy that ships with the lab, on the candles of `lab demo`."""

backtest = dg.define_asset_job(
    "backtest",
    config=EXAMPLE,
    tags={"dagster/retry_strategy": "ALL_STEPS"},  # values between ops live in memory: a retry begins at the beginning
    selection=dg.AssetSelection.assets(backtest_assets, clickhouse_assets),
    description="Simulate a strategy on calls and candles; publish files with a tear sheet, and rows in ClickHouse.",
)

nightly = dg.define_asset_job(
    NIGHTLY_JOB,
    tags={"dagster/retry_strategy": "ALL_STEPS"},
    selection=dg.AssetSelection.assets(nightly_assets),
    description="Simulate strategies over windows of calls, a partition each; a backfill runs those that are missing.",
)
