"""Run the backtest job in this process, on the lab's instance: a run like any other in the UI."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from lab_pipeline.defs.backtest.config import BacktestConfig
from lab_pipeline.defs.operations import handover, workers
from lab_pipeline.defs.operations.reasons import failure_reason
from lab_pipeline.defs.operations.withdraw import settle_dead
from lab_pipeline.settings import Settings, load_settings

# Dagster's own launches name the code location in this tag; with it the UI lists the run under its job.
LOCATION_TAG = {".dagster/repository": "__repository__@lab_pipeline"}
INVOCATION_TAG = ".lab/invocation"
"""Tells the runs of this call from all others; hidden in the UI, as tags that begin with a dot are."""
NO_RETRY = {"dagster/max_retries": "0"}
"""Nobody waits any more for a run that ended with its terminal."""


@dataclass(frozen=True)
class FinishedRun:
    """How a run ended.

    Attributes:
        run_id: Dagster's run id.
        error: why it failed, one line; none if it succeeded.
    """

    run_id: str
    error: str | None


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
    """Execute the job and wait for its end. An interrupt before the first op leaves the run canceled, not waiting.

    Args:
        instance: of the lab.
        config: what to simulate.
        tags: of the run.
        executor: the configuration of `lab_executor`; by default, that all ops are executed in this process.
    """
    mine = {INVOCATION_TAG: uuid.uuid4().hex, **(tags or {})}
    try:
        with dg.execute_job(
            dg.reconstructable(backtest_job),
            instance,
            run_config=run_config(config, executor),
            tags={**LOCATION_TAG, **NO_RETRY, **mine},
        ) as result:
            handover.discard(load_settings(), result.run_id)
            return FinishedRun(result.run_id, None if result.success else failure_reason(instance, result.run_id))
    except KeyboardInterrupt:
        for run in instance.get_runs(filters=dg.RunsFilter(tags={INVOCATION_TAG: mine[INVOCATION_TAG]})):
            if not run.is_finished:
                instance.report_run_canceled(run, message="Interrupted before it was done.")
            handover.discard(load_settings(), run.run_id)
        raise


@contextmanager
def alive(settings: Settings, instance: dg.DagsterInstance) -> Iterator[dict[str, str]]:
    """Show by a lock, which dies with this process, that its run is alive; yields the tag that names the lock.

    The run can be canceled from the UI like any other. Runs whose process was killed are reported as failed here:
    there may be no daemon that does.
    """
    settle_dead(instance, settings)
    name = workers.FOREGROUND + uuid.uuid4().hex
    with workers.working(workers.workers_dir(settings.dagster_home), name):
        yield {workers.WORKER_TAG: name}


def run_config(config: BacktestConfig, executor: Mapping[str, Any] | None = None) -> dict[str, object]:
    """Return what the launchpad would hold: the fields that differ from their defaults."""
    execution = {} if executor is None else {"execution": {"config": dict(executor)}}
    return {"ops": {"run": {"config": config.model_dump(exclude_defaults=True)}}, **execution}
