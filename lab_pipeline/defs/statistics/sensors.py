"""What computes statistics soon after backtests have run."""

import dagster as dg

from lab_pipeline.dagster_ext.sensor_causes import RUNS, WAITS_FOR
from lab_pipeline.defs.statistics.specs import MINIMUM_SECONDS_BETWEEN, keys

statistics_after_backtests = dg.AutomationConditionSensorDefinition(
    "statistics_after_backtests",
    target=dg.AssetSelection.assets(*keys()),
    minimum_interval_seconds=int(MINIMUM_SECONDS_BETWEEN.total_seconds()),
    tags={WAITS_FOR: RUNS},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Computes statistics and leaderboards when backtests have been published since.",
)
