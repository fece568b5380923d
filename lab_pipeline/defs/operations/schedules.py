"""When old runs are deleted."""

import dagster as dg

from lab_pipeline.defs.operations.jobs import retention_job
from lab_pipeline.settings import load_settings

retention_schedule = dg.ScheduleDefinition(
    name="retention_schedule",
    job=retention_job,
    cron_schedule=load_settings().retention_cron,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Deletes what LAB_KEEP_DAYS and LAB_KEEP_RUNS_PER_STRATEGY do not keep, at the times of "
    "LAB_RETENTION_CRON.",
)
