"""Run the backtest job in this process, on the lab's instance: a run like any other in the UI."""

import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from lab_pipeline.defs.backtest.config import BacktestConfig
from lab_pipeline.defs.operations.reasons import failure_reason
from lab_pipeline.settings import Settings

# Dagster's own launches name the code location in this tag; with it the UI lists the run under its job.
LOCATION_TAG = {".dagster/repository": "__repository__@lab_pipeline"}
INVOCATION_TAG = ".lab/invocation"
"""Tells the runs of this call from all others; hidden in the UI, as tags that begin with a dot are."""


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
    instance: dg.DagsterInstance, config: BacktestConfig, tags: Mapping[str, str] | None = None
) -> FinishedRun:
    """Execute the job and wait for its end. An interrupt before the first op leaves the run canceled, not waiting."""
    mine = {INVOCATION_TAG: uuid.uuid4().hex, **(tags or {})}
    try:
        with dg.execute_job(
            dg.reconstructable(backtest_job),
            instance,
            run_config=run_config(config),
            tags={**LOCATION_TAG, **mine},
        ) as result:
            return FinishedRun(result.run_id, None if result.success else failure_reason(instance, result.run_id))
    except KeyboardInterrupt:
        for run in instance.get_runs(filters=dg.RunsFilter(tags={INVOCATION_TAG: mine[INVOCATION_TAG]})):
            if not run.is_finished:
                instance.report_run_canceled(run, message="Interrupted before it was done.")
        raise


@contextmanager
def alive(settings: Settings, instance: dg.DagsterInstance) -> Iterator[dict[str, str]]:
    """Show by a lock, which dies with this process, that its run is alive; yields the tag that names the lock.

    Runs whose process was killed are reported as failed here, since no worker of Dagster's looks after them.
    """
    directory = settings.dagster_home / "foreground"
    directory.mkdir(exist_ok=True)
    bury_killed(settings, instance)
    path = directory / uuid.uuid4().hex
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        yield {INVOCATION_TAG: path.name}
        path.unlink()


def process_of(settings: Settings, invocation: str) -> int | None:
    """Return the id of the living process that runs an invocation, or None if it is gone."""
    for path in (settings.dagster_home / "foreground").glob("*"):
        if path.name == invocation:
            with path.open("r+") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(lock.read() or 0) or None
    return None


def bury_killed(settings: Settings, instance: dg.DagsterInstance) -> None:
    """Report every foreground run as failed whose process is gone: it would hold a place in the queue for ever."""
    for path in (settings.dagster_home / "foreground").glob("*"):
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its process lives
            for run in instance.get_runs(filters=dg.RunsFilter(tags={INVOCATION_TAG: path.name})):
                if not run.is_finished:
                    instance.report_run_failed(run, message="The process that ran it was killed.")
            path.unlink(missing_ok=True)


def run_config(config: BacktestConfig) -> dict[str, object]:
    """Return what the launchpad would hold: the fields that differ from their defaults."""
    return {"ops": {"run": {"config": config.model_dump(exclude_defaults=True)}}}
