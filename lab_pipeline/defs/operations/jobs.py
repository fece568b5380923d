"""The job that deletes what need not be kept."""

import dagster as dg

from lab_pipeline.defs.operations.assets import RETENTION_KEY

retention_job = dg.define_asset_job(
    "retention",
    selection=dg.AssetSelection.assets(RETENTION_KEY),
    description="Delete old runs with everything they left, as `lab gc` does, and measure the home.",
)
