"""The job that runs a backtest."""

import dagster as dg

from lab_pipeline.defs.backtest.assets import backtest_assets

backtest = dg.define_asset_job(
    "backtest",
    selection=dg.AssetSelection.assets(backtest_assets),
    description="Simulate a strategy on calls and candles, and publish fills, trades, paths, equity and a tear sheet.",
)
