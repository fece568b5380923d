"""When statistics are computed whatever has run."""

import dagster as dg

from lab_pipeline.defs.statistics.jobs import statistics
from lab_pipeline.settings import load_settings

statistics_schedule = dg.ScheduleDefinition(
    name="statistics_schedule",
    job=statistics,
    cron_schedule=load_settings().statistics_cron,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Computes statistics and leaderboards at the times of LAB_STATISTICS_CRON.",
)
