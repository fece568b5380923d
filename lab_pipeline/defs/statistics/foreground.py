"""Compute the statistics in this process, on the lab's instance: a run like any other in the UI."""

import dagster as dg

from lab_pipeline.defs.backtest.foreground import LOCATION_TAG
from lab_pipeline.defs.operations.reasons import failure_reason


def statistics_job() -> dg.JobDefinition:
    """Load the job as the code location does."""
    from lab_pipeline.definitions import defs  # noqa: PLC0415 - it loads this folder

    return defs().resolve_job_def("statistics")


def run_statistics_job(instance: dg.DagsterInstance) -> str | None:
    """Execute the job and wait for its end; return why it failed, if it did."""
    with dg.execute_job(dg.reconstructable(statistics_job), instance, tags=LOCATION_TAG) as result:
        return None if result.success else failure_reason(instance, result.run_id)
