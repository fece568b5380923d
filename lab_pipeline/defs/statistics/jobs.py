"""The job that computes the statistics."""

import dagster as dg

from lab_pipeline.defs.statistics.assets import statistics_assets

statistics = dg.define_asset_job(
    "statistics",
    selection=dg.AssetSelection.assets(statistics_assets),
    description="Bring statistics and leaderboards up to date with the runs that have completed.",
)
