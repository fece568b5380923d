"""Stop a backtest or a sweep, or delete a backtest with everything that it left."""

from pathlib import Path

import dagster as dg

from lab_pipeline.clickhouse.writer import delete_run as delete_rows
from lab_pipeline.domain.errors import ConflictError
from lab_pipeline.operations.deletion_lock import deleting
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.runs import Runs
from lab_pipeline.runs.artifacts import UnknownRunError
from lab_pipeline.runs.tags import status_of
from lab_pipeline.storage.internals import SqliteEventLogStorage


def cancel(runs: Runs, run_id: str) -> None:
    """Stop a run: one that waits never starts, one that runs is asked to stop and is marked when it has.

    Raises:
        UnknownRunError: if there is no such run.
        ConflictError: if it is done already.
        ConflictError: if the run launcher of the instance cannot stop it, such as one that it did not start.
    """
    runs.get(run_id)
    stop(runs.instance, run_id)


def stop(instance: dg.DagsterInstance, run_id: str) -> None:
    """Stop a run of any job; errors as of `cancel`."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise UnknownRunError(f"unknown run '{run_id}'")
    if run.is_finished:
        raise ConflictError(f"run {run_id} is {status_of(run.status.value)}: there is nothing to cancel")
    if not instance.run_coordinator.cancel_run(run_id):
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            raise ConflictError(f"run {run_id} has ended meanwhile: there is nothing to cancel")
        launcher = type(instance.run_launcher).__name__
        raise ConflictError(
            f"run {run_id} goes on: {launcher} cannot stop it, as if it had not started it. Stop it where it was "
            "started; if it is gone, mark it as canceled in the Dagster UI (terminate, with force)"
        )


def delete(lab: Lab, run_id: str) -> None:
    """Delete a run and its artifacts, metrics, fills and logs.

    The record of the run goes last: an interrupted deletion leaves a run that is still listed and can be deleted again.
    Its events go before its log lines, so that nobody ships them once more.

    Raises:
        UnknownRunError: if there is no such run.
        ConflictError: if it is not done.
        ClickHouseUnavailableError: if ClickHouse does not answer; the run still lists then.
        LabError: if the disk does not let go of the artifacts.
    """
    run = lab.runs.get(run_id)
    if not run.finished:
        raise ConflictError(f"run {run_id} is {run.status}: cancel it first")
    erase(lab, run_id)


def erase(lab: Lab, run_id: str) -> None:
    """Delete a finished run of any job and everything that it left, its record last; see `delete`.

    That it tried something stays on record, else there would seem to have been fewer tries.
    """
    instance = lab.instance
    with deleting(lab.settings), lab.clickhouse.connection() as client:
        client.query("SELECT 1 AS one")  # before anything is gone: is it there at all?
        lab.trials.keep(run_id)
        lab.artifacts.delete(run_id)
        lab.sweeps.delete(run_id)
        instance.event_log_storage.delete_events(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        delete_rows(client, run_id)
        lab.keys.forget(run_id)
        _drop_event_file(instance, run_id)
        instance.run_storage.delete_run(run_id)


def event_files(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    """List the files in which Dagster's SQLite keeps the events of one run; other storages have none."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return []
    path = Path(storage.path_for_shard(run_id))
    return [file for file in (path, *path.parent.glob(f"{path.name}-*")) if file.exists()]


def _drop_event_file(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove the files that Dagster leaves when it deletes the events in them."""
    for file in event_files(instance, run_id):
        file.unlink(missing_ok=True)
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        storage._initialized_dbs.discard(run_id)  # noqa: SLF001 - else who still asks finds a file without tables
