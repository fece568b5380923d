"""Compute the statistics in this process, on the lab's instance: a run like any other in the UI."""

from collections.abc import Mapping

import dagster as dg

from lab_pipeline.dagster_ext.foreground import execute_here


def statistics_job() -> dg.JobDefinition:
    """Load the job as the code location does."""
    from lab_pipeline.definitions import defs  # noqa: PLC0415 - it loads this folder

    return defs().resolve_job_def("statistics")


def run_statistics_job(instance: dg.DagsterInstance, tags: Mapping[str, str] | None = None) -> str | None:
    """Execute the job and wait for its end; return why it failed, if it did."""
    return execute_here(instance, statistics_job, tags=tags).error
