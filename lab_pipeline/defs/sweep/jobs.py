"""The job that sweeps."""

import dagster as dg

from lab_pipeline.defs.sweep.assets import sweep_assets
from lab_pipeline.defs.sweep.clickhouse import clickhouse_assets
from lab_pipeline.defs.sweep.drift import winners_hold
from lab_pipeline.defs.sweep.partitions import walk as walk_asset
from lab_pipeline.defs.sweep.trials import trials
from lab_pipeline.operations.sweep_config import to_spec
from lab_pipeline.runs.tags import SWEEP_JOB, SWEEP_OP, WALK_JOB, run_config

EXAMPLE = to_spec(
    {
        "strategy": "ladder",
        "timeframe": "5m",
        "space": {
            "exit.stopLoss": {"from": 0.1, "to": 0.5, "n": 9},
            "exit.trailing": {"choice": [None, {"activation": 1.2, "distance": 0.15}]},
            "entry.delayMinutes": [0, 5, 10],
        },
    }
)
"""What the launchpad opens with, defaults filled in: a strategy that ships with the lab, on candles of `lab demo`."""

sweep = dg.define_asset_job(
    SWEEP_JOB,
    config=run_config(EXAMPLE.model_dump(mode="json", exclude_none=True), op=SWEEP_OP),
    tags={"dagster/retry_strategy": "ALL_STEPS"},  # values between ops live in memory: a retry begins at the beginning
    selection=dg.AssetSelection.assets(sweep_assets, clickhouse_assets, trials)
    - dg.AssetSelection.checks(winners_hold),
    description="Sweep the parameters of a strategy over calls and candles, and say how far the best can be believed.",
)

walk = dg.define_asset_job(
    WALK_JOB,
    tags={"dagster/retry_strategy": "ALL_STEPS"},
    selection=dg.AssetSelection.assets(walk_asset),
    description="Walk sweeps forward, a window and strategy each; a backfill of the windows is the walk.",
)

drift = dg.define_asset_job(
    "drift",
    selection=dg.AssetSelection.checks(winners_hold),
    description="Look at the latest winners of active strategies on calls that they knew nothing of.",
)
