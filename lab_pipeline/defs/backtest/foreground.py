"""Run the backtest job in this process, on the lab's instance: a run like any other in the UI."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from lab_pipeline.dagster_ext.foreground import FinishedRun, execute_here
from lab_pipeline.operations.backtest_config import BacktestConfig


def backtest_job() -> dg.JobDefinition:
    """Load the job as the code location does."""
    from lab_pipeline.definitions import defs  # noqa: PLC0415 - it loads this folder

    return defs().resolve_job_def("backtest")


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
    return execute_here(instance, backtest_job, run_config(config, executor), tags)


def run_config(config: BacktestConfig, executor: Mapping[str, Any] | None = None) -> dict[str, object]:
    """Return what the launchpad would hold: the fields that differ from their defaults."""
    execution = {} if executor is None else {"execution": {"config": dict(executor)}}
    return {"ops": {"run": {"config": config.model_dump(exclude_defaults=True)}}, **execution}
