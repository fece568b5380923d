"""Stop a backtest, or delete it with everything that it left."""

import contextlib
import os
import signal

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.writer import delete_run as delete_rows
from lab_pipeline.defs.backtest.foreground import INVOCATION_TAG, process_of
from lab_pipeline.defs.operations.launching import RunUnfinishedError
from lab_pipeline.defs.operations.runs import Run, Runs
from lab_pipeline.defs.operations.webserver import DagsterDownError
from lab_pipeline.domain.errors import LabError
from lab_pipeline.runs.idempotency import IdempotencyKeys
from lab_pipeline.settings import Settings


class RunFinishedError(LabError):
    """The run is done: there is nothing to stop."""


def cancel(settings: Settings, runs: Runs, run_id: str) -> None:
    """Stop a run: one that waits never starts, one that runs is told to stop and is marked when it has.

    Raises:
        UnknownRunError: if there is no such run.
        RunFinishedError: if it is done already.
        DagsterDownError: if what runs it cannot be reached.
    """
    run = runs.get(run_id)
    if run.finished:
        raise RunFinishedError(f"run {run_id} is {run.status}: there is nothing to cancel")
    instance = runs.instance
    if run.dagster_run.status is dg.DagsterRunStatus.NOT_STARTED:  # on its way into the queue
        instance.report_run_canceling(run.dagster_run)
        instance.report_run_canceled(run.dagster_run)
        return
    if INVOCATION_TAG in run.tags:
        _interrupt(settings, instance, run)
        return
    try:
        instance.run_coordinator.cancel_run(run_id)
    except DagsterUserCodeUnreachableError as error:
        raise DagsterDownError(
            f"the code server that runs {run_id} does not answer; Dagster marks the run as canceled in a minute"
        ) from error


def delete(settings: Settings, runs: Runs, clickhouse: ClickHouseConfig, run_id: str) -> None:
    """Delete a run and its artifacts, metrics, fills and logs.

    The record of the run goes last: a deletion that was cut off leaves a run that lists and can be deleted again.
    Its events go before its log lines, so that nobody ships them once more.

    Raises:
        UnknownRunError: if there is no such run.
        RunUnfinishedError: if it is not done.
        ClickHouseUnavailableError: if ClickHouse does not answer; the run still lists then.
        PublishError: if the disk does not let go of the artifacts.
    """
    run = runs.get(run_id)
    if not run.finished:
        raise RunUnfinishedError(f"run {run_id} is {run.status}: cancel it first")
    instance = runs.instance
    with ClickHouse(clickhouse) as client:
        client.query("SELECT 1 AS one")  # before anything is gone: is it there at all?
        runs.artifacts.delete(run_id)
        instance.event_log_storage.delete_events(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        delete_rows(client, run_id)
    IdempotencyKeys(settings.catalog_path).forget(run_id)
    instance.run_storage.delete_run(run_id)


def _interrupt(settings: Settings, instance: dg.DagsterInstance, run: Run) -> None:
    """Stop a run in the foreground of somebody's terminal as Ctrl-C there does."""
    pid = process_of(settings, run.tags[INVOCATION_TAG])
    instance.report_run_canceling(run.dagster_run)
    if pid is None:
        instance.report_run_canceled(run.dagster_run, message="The process that ran it is gone.")
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
