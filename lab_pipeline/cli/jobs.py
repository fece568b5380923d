"""Run jobs of the lab in this process, on the lab's instance: runs like any other in the UI."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from lab_pipeline.dagster_ext.foreground import FinishedRun, execute_here
from lab_pipeline.definitions import defs
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.sweep_config import fields_of
from lab_pipeline.runs.tags import SWEEP_JOB, SWEEP_OP, run_config
from lab_pipeline.sweeps.spec import SweepSpec


def backtest_job() -> dg.JobDefinition:
    """Load the job as the code location does."""
    return defs().resolve_job_def("backtest")


def sweep_job() -> dg.JobDefinition:
    """Load the job as the code location does."""
    return defs().resolve_job_def(SWEEP_JOB)


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


def run_sweep_job(
    instance: dg.DagsterInstance,
    spec: SweepSpec,
    tags: Mapping[str, str] | None = None,
    executor: Mapping[str, Any] | None = None,
) -> FinishedRun:
    """Execute the job and wait for its end; arguments as of `run_backtest_job`."""
    return execute_here(instance, sweep_job, run_config(fields_of(spec), executor, op=SWEEP_OP), tags)


def run_statistics_job(instance: dg.DagsterInstance, tags: Mapping[str, str] | None = None) -> str | None:
    """Execute the job and wait for its end; return why it failed, if it did."""
    return execute_here(instance, statistics_job, tags=tags).error
