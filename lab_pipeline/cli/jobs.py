"""Run jobs of the lab in this process, on the lab's instance: runs like any other in the UI."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from lab_pipeline.dagster_ext.foreground import FinishedRun, execute_here
from lab_pipeline.definitions import defs
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.runs.tags import run_config


def backtest_job() -> dg.JobDefinition:
    """Load the job as the code location does."""
    return defs().resolve_job_def("backtest")


def statistics_job() -> dg.JobDefinition:
    """Load the job as the code location does."""
    return defs().resolve_job_def("statistics")


def run_backtest_job(
    instance: dg.DagsterInstance,
    config: BacktestConfig,
    tags: Mapping[str, str] | None = None,
    executor: Mapping[str, Any] | None = None,
) -> FinishedRun:
    """Execute the job and wait for its end.

    Args:
        instance: of the lab.
        config: what to simulate.
        tags: of the run.
        executor: the configuration of `lab_executor`; by default, that all ops are executed in this process.
    """
    return execute_here(instance, backtest_job, run_config(config.fields(), executor), tags)


def run_statistics_job(instance: dg.DagsterInstance, tags: Mapping[str, str] | None = None) -> str | None:
    """Execute the job and wait for its end; return why it failed, if it did."""
    return execute_here(instance, statistics_job, tags=tags).error
