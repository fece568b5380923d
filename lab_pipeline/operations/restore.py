"""Restore a home from a backup, to the state in which a crash at the time of the backup would have left it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster_shared.serdes import deserialize_value

from lab_pipeline.backup import Repository, Snapshot
from lab_pipeline.backup.repository import Progress
from lab_pipeline.backup.restoring import restoring
from lab_pipeline.dagster_ext.internals import NOT_FINISHED_STATUSES
from lab_pipeline.dagster_ext.worker_locks import WORKER_TAG, leave_dead, worker_of, workers_dir
from lab_pipeline.files.bucket import BucketError
from lab_pipeline.operations.backup import RUNS, succeeded
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.idempotency import IdempotencyKeys
from lab_pipeline.settings import Settings
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.storage.event_log_storage import EVENTS_DIRECTORY, BatchingEventLogStorage
from lab_pipeline.storage.internals import SqlEventLogStorageTable as EventLogs
from lab_pipeline.storage.run_storage import DuckDBRunStorage

ENDS = (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED)
WAITING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)


@dataclass(frozen=True)
class Restored:
    """What was restored.

    Attributes:
        name: of the snapshot.
        snapshot: itself.
        interrupted: runs that were being executed: the next `lab up` treats them as runs whose process died.
        waiting: runs that waited in the queue, and do so still.
        artifacts: what is to be said of artifacts that are not among the files, a sentence each.
    """

    name: str
    snapshot: Snapshot
    interrupted: list[str]
    waiting: list[str]
    artifacts: list[str]


def restore_home(
    settings: Settings, directory: Path, *, snapshot: str | None = None, on_progress: Progress | None = None
) -> Restored:
    """Make a snapshot the home of this lab, which must have none yet. Rows of ClickHouse are not among its files.

    Args:
        settings: of the lab, whose home it becomes.
        directory: of the backup.
        snapshot: the beginning of its name; by default, the newest.
        on_progress: called with the files that were written, and all.

    Raises:
        BackupError: if there is no such snapshot, it is damaged, or the home cannot be made; nothing is then.
    """
    repository = Repository(directory.absolute())
    name = repository.find(snapshot)
    found = repository.read(name)
    with restoring(repository, found, settings.home, on_progress) as draft:
        interrupted, waiting = _as_after_a_crash(settings.model_copy(update={"home": draft}))
    return Restored(name, found, interrupted, waiting, list(_artifacts(settings, found)))


def _artifacts(settings: Settings, snapshot: Snapshot) -> Iterator[str]:
    """Say whether the restored runs find their artifacts where the lab looks for them."""
    if settings.artifacts is None:
        if snapshot.artifacts:
            yield f"the artifacts of these runs are in {snapshot.artifacts}: set LAB_ARTIFACTS to it"
        return
    if snapshot.artifacts is None:
        yield "the artifacts of these runs are in LAB_HOME: unset LAB_ARTIFACTS"
        return
    if snapshot.artifacts != settings.artifacts:
        yield f"the artifacts of these runs were in {snapshot.artifacts}; {settings.artifacts} has to have a copy"
    try:
        with DuckFile.at(settings.dagster_home / RUNS).transaction(write=False) as connection:
            lost = sorted(succeeded(connection) - set(ArtifactStore.of(settings).run_ids()))
    except BucketError as error:
        yield f"whether all artifacts are there cannot be said: {error}"
        return
    if lost:
        yield f"{len(lost):,} of these runs, {lost[0]} first, have no artifacts in {settings.artifacts}: `lab doctor`"


def _as_after_a_crash(draft: Settings) -> tuple[list[str], list[str]]:
    """Bring the stores into a state in which a killed lab could have left them; return what was executed or waited."""
    runs = DuckDBRunStorage(draft.dagster_home / RUNS)
    log = BatchingEventLogStorage(str(draft.dagster_home / EVENTS_DIRECTORY))
    interrupted, waiting = [], []
    try:
        for run in runs.get_runs(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES))):
            if _has_ended(runs, log, run.run_id):
                continue
            worker = worker_of(run)
            if worker is None and run.status in WAITING:
                waiting.append(run.run_id)
                continue
            if worker is None or Path(worker).name != worker:  # something else than the lab's launcher executed it
                worker = run.run_id
                runs.add_run_tags(run.run_id, {WORKER_TAG: worker})
            leave_dead(workers_dir(draft.dagster_home), worker)
            interrupted.append(run.run_id)
        if draft.catalog_path.exists():
            IdempotencyKeys(draft.catalog_path).forget_all_but(runs.get_run_ids())
    finally:
        log.dispose()
        for path in (runs.path, draft.catalog_path):
            DuckFile.at(path).close()  # it gets another name
    return sorted(interrupted), sorted(waiting)


def _has_ended(runs: DuckDBRunStorage, log: BatchingEventLogStorage, run_id: str) -> bool:
    """Record how a run has ended, if the index of events, which was read after the runs, has it."""
    ends = sa.select(EventLogs.c.event).where(
        EventLogs.c.run_id == run_id, EventLogs.c.dagster_event_type.in_([end.value for end in ENDS])
    )
    with log.index_connection() as connection:
        found = connection.scalars(ends.order_by(EventLogs.c.id.desc()).limit(1)).first()
    if found is None:
        return False
    entry = deserialize_value(found, dg.EventLogEntry)
    runs.handle_run_event(run_id, entry.get_dagster_event(), datetime.fromtimestamp(entry.timestamp, UTC))
    return True
