"""The owner of a run's end: `reconcile` decides what is due, without looking at anything, and `apply` does it.

The launcher, `lab up`, `lab backtest` and a run's own process call `reconcile_dead`, a sensor calls `reconcile_lost`.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Flag, StrEnum
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus as Status
from sqlalchemy.exc import SQLAlchemyError

from lab_pipeline.dagster_ext import io_manager, worker_locks
from lab_pipeline.dagster_ext.internals import RUN_FAILURE_REASON_TAG, RunFailureReason
from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.bucket import BucketError
from lab_pipeline.runs.tags import PUBLISHING_JOBS
from lab_pipeline.settings import Settings

STORE_ERRORS = (LabError, SQLAlchemyError, OSError)
"""What a store raises that does not answer or, as on a full disk, cannot write."""
PATIENCE = timedelta(seconds=15)
"""Within so long, the launcher has a process for a run that leaves the queue, or has recorded how that ended; and a
process is gone that was asked to stop, or whose run has ended."""
UNPUBLISHED_WITHIN = timedelta(seconds=60)
"""Of the end of a run that was canceled or killed, by the lab's own launcher; no other launcher unpublishes."""
LOOK_BACK = timedelta(days=1)
"""Runs that ended earlier are not looked at."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lock:
    """The lock of a run's process: whether that lives, when it was asked to stop (UTC), how it ended if that was seen.

    If it is dead, whoever looks holds its lock, so that nobody else takes care of the run.
    """

    held: bool
    stop_requested: datetime | None = None
    seen: str | None = None


class Left(Flag):
    """What a run has left."""

    SCRATCH = 1
    PUBLISHED = 2


class Do(StrEnum):
    """What can be due."""

    FAIL = "failed"
    CANCEL = "canceled"
    STOP = "stopped"
    KILL = "killed"
    DISCARD = "discarded"
    UNPUBLISH = "unpublished"


@dataclass(frozen=True)
class Action:
    """What is due of a run, the status for which it is, and the reason why the run failed or was canceled."""

    do: Do
    run_id: str
    seen: Status | None
    reason: str = ""


def reconcile(
    records: Sequence[dg.RunRecord], locks: Mapping[str, Lock], artifacts: Mapping[str, Left], now: datetime
) -> list[Action]:
    """Return what is due, for each run in the order in which it is to be done.

    Nothing ends a run whose process lives. Nothing unpublishes one that succeeded, or one of whose ops failed by
    itself: a re-execution from the failure goes on from what that has published.

    Args:
        records: of the runs; one that has none was deleted.
        locks: by run; one that has none has no process, or one of another launcher.
        artifacts: what is left of runs, by run.
        now: UTC.
    """
    known = {record.dagster_run.run_id: record for record in records}
    return [
        action
        for run_id in {**known, **locks, **artifacts}
        for action in _due(run_id, known.get(run_id), locks.get(run_id), artifacts.get(run_id, Left(0)), now)
    ]


def apply(instance: dg.DagsterInstance, settings: Settings, action: Action) -> bool:
    """Do what is due, unless the run has changed since it was looked at; return whether it was done.

    Raises:
        LabError, SQLAlchemyError, OSError: if a store does not answer or cannot write.
    """
    run = instance.get_run_by_id(action.run_id)
    match action.do:
        case Do.STOP:
            worker_locks.request_stop(_workers(instance), action.run_id)
        case Do.KILL:
            worker_locks.kill(_workers(instance), action.run_id)
        case Do.DISCARD:
            io_manager.discard(settings, action.run_id)
        case Do.UNPUBLISH if run and run.status is not Status.SUCCESS:
            unpublish(settings, action.run_id)
            instance.report_engine_event("Unpublished its artifacts, since it was not done.", run)
        case Do.CANCEL | Do.FAIL if run and run.status is action.seen:
            report = instance.report_run_canceled if action.do is Do.CANCEL else instance.report_run_failed
            report(run, message=action.reason)
        case _:
            return False
    return True


def reconcile_dead(instance: dg.DagsterInstance, settings: Settings, seen: Mapping[str, str] | None = None) -> None:
    """End the runs whose processes are gone; `seen` says, by run, how the processes that were waited for ended.

    While ClickHouse does not answer, a run ends nevertheless, and is unpublished the next time.

    Raises:
        SQLAlchemyError, OSError: the first there was, as on a full disk, after all other runs were seen to.
    """
    now = datetime.now(UTC)
    ends = {run_id: Lock(held=False, seen=how) for run_id, how in (seen or {}).items()}
    _, broken = _reconcile(instance, settings, _records(instance, ends), ends, now)

    def clear(worker: str) -> bool:
        tagged = instance.get_run_records(dg.RunsFilter(tags={worker_locks.WORKER_TAG: worker}))
        records = [record for record in tagged if worker_locks.worker_of(record.dagster_run) == worker]
        locks = {record.dagster_run.run_id: Lock(held=False) for record in records}
        _, errors = _reconcile(instance, settings, records, locks, now)
        broken.extend(errors)
        return not errors

    worker_locks.clear_dead(_workers(instance), clear)
    for error in (error for error in broken if not isinstance(error, LabError)):
        raise error


def reconcile_lost(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> list[Action]:
    """See to the runs that nobody else sees to, and return what was done.

    They start or stop without a process; they have ended and their process goes on; or they can be seen still. Of the
    processes of other launchers nothing is known here.

    Raises:
        LabError, SQLAlchemyError, OSError: the first there was, after all other runs were seen to.
    """
    ended = [Status.FAILURE, Status.CANCELED]
    wanted = [dg.RunsFilter(job_name=job, statuses=ended, updated_after=now - LOOK_BACK) for job in PUBLISHING_JOBS]
    launcher = instance.get_ref().run_launcher_data  # not loaded: that of Kubernetes is none of our dependencies
    if launcher is not None and launcher.class_name == "LabRunLauncher":
        wanted += [dg.RunsFilter(statuses=[Status.STARTING, Status.CANCELING])]
    found = [record for each in wanted for record in instance.get_run_records(each)]
    # Locks after the records: one that was taken meanwhile counts. Their own records once more: the newest counts.
    living = worker_locks.living(_workers(instance))
    by_hand = {name for name in living if name.startswith(worker_locks.FOREGROUND)}
    requests = {name: worker_locks.stop_requested_at(_workers(instance), name) for name in {*living} - by_hand}
    locks = {name: Lock(held=True, stop_requested=requested) for name, requested in requests.items()}
    found += _records(instance, locks)
    records = [record for record in found if worker_locks.worker_of(record.dagster_run) not in by_hand]
    done, errors = _reconcile(instance, settings, records, locks, now)
    for error in errors:
        raise error
    return done


def unpublish_late(context: dg.OpExecutionContext | dg.AssetExecutionContext, settings: Settings) -> None:
    """Unpublish what an op has just published, if its run has ended meanwhile without it, and fail.

    A run ends before it is unpublished, so what an op in another process publishes too late for that, it finds here.
    """
    if not io_manager.crosses_processes(context.get_step_execution_context()):
        return
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is None or run.is_finished:
        unpublish(settings, context.run.run_id)
        raise dg.Failure("the run has ended while this op went on: its artifacts are unpublished", allow_retries=False)


def unpublish(settings: Settings, run_id: str) -> None:
    """Delete what a run has published, a sweep or not, and its rows in ClickHouse, not its log; none is no error.

    Rows are only ever written of what has been published, and the artifacts go last: what is cut off here is found,
    and done, the next time.

    Raises:
        LabError: if a store does not answer.
    """
    from lab_pipeline.clickhouse.client import ClickHouse  # noqa: PLC0415 - seldom needed, and not light
    from lab_pipeline.clickhouse.config import clickhouse_config  # noqa: PLC0415
    from lab_pipeline.clickhouse.writer import delete_run  # noqa: PLC0415
    from lab_pipeline.runs.artifacts import ArtifactStore  # noqa: PLC0415
    from lab_pipeline.sweeps.store import remove, sweeps_of  # noqa: PLC0415

    with ClickHouse(clickhouse_config(settings)) as clickhouse:
        delete_run(clickhouse, run_id, logs=False)
    ArtifactStore.of(settings).delete(run_id)
    remove(sweeps_of(settings), run_id)


def _due(run_id: str, record: dg.RunRecord | None, lock: Lock | None, left: Left, now: datetime) -> Iterator[Action]:
    run = record.dagster_run if record else None
    status = run.status if run else None
    unchanged = abs(now - record.update_timestamp) if record else timedelta.max  # abs: a clock may be set back
    ended = run is None or run.is_finished
    if lock and lock.held:
        if lock.stop_requested and abs(now - lock.stop_requested) >= PATIENCE:
            yield Action(Do.KILL, run_id, status)
        elif ended and unchanged >= PATIENCE:
            yield Action(Do.STOP, run_id, status)
        return
    spoiled = status in {Status.FAILURE, Status.CANCELED} and not _failed_by_an_op(run)
    if not ended and (end := _end(status, lock, lost=unchanged >= PATIENCE)):
        yield Action(end[0], run_id, status, end[1])
        ended = spoiled = True
    if ended and Left.SCRATCH in left:
        yield Action(Do.DISCARD, run_id, status)
    if spoiled and Left.PUBLISHED in left and (lock or unchanged >= UNPUBLISHED_WITHIN):
        yield Action(Do.UNPUBLISH, run_id, status)


def _end(status: Status | None, lock: Lock | None, *, lost: bool) -> tuple[Do, str] | None:
    """Return how a run ends that has no process; None if that is for others to say, or not yet.

    One that starts may be about to take its lock; one that has started and has no lock, Dagster's monitor fails. One
    that is not started and has a lock was recorded by the process that was to execute it, by hand.
    """
    how = lock and f"Its process {lock.seen or 'was killed'} before it"
    match status:
        case Status.CANCELING if how or lost:
            return Do.CANCEL, f"{how} was done." if how else "It has no process any more."
        case Status.STARTING if lost or (lock and lock.seen):
            return Do.FAIL, f"{how} began." if how else "It left the queue, and has no process."
        case Status.STARTED | Status.NOT_STARTED if how:
            return Do.FAIL, f"{how} was done."
    return None


def _failed_by_an_op(run: dg.DagsterRun | None) -> bool:
    reason = run.tags.get(RUN_FAILURE_REASON_TAG) if run and run.status is Status.FAILURE else None
    return reason == RunFailureReason.STEP_FAILURE.value


def _reconcile(
    instance: dg.DagsterInstance, settings: Settings, records: list[dg.RunRecord], locks: dict[str, Lock], now: datetime
) -> tuple[list[Action], list[Exception]]:
    """Do what is due; return what was done, and what stores raised, which keeps nothing else from its turn."""
    done, errors, left = [], list[Exception](), dict[str, Left]()
    for run in (record.dagster_run for record in records):
        try:
            left[run.run_id] = _left(settings, run)
        except BucketError as error:  # the run ends nevertheless
            logger.warning("what run %s has published is looked for the next time: %s", run.run_id, error)
            errors.append(error)
    for action in reconcile(records, locks, left, now):
        try:
            if apply(instance, settings, action):
                done.append(action)
        except STORE_ERRORS as error:
            logger.warning("run %s is %s the next time: %s", action.run_id, action.do, error)
            errors.append(error)
    return done, errors


def _workers(instance: dg.DagsterInstance) -> Path:
    return worker_locks.workers_dir(Path(instance.root_directory))


def _records(instance: dg.DagsterInstance, run_ids: Collection[str]) -> list[dg.RunRecord]:
    return list(instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids)))) if run_ids else []


def _left(settings: Settings, run: dg.DagsterRun) -> Left:
    left = Left.SCRATCH if io_manager.has_scratch(settings, run.run_id) else Left(0)
    if run.status is Status.SUCCESS or _failed_by_an_op(run):  # it keeps what it has published
        return left
    from lab_pipeline.runs.artifacts import ArtifactStore  # noqa: PLC0415 - polars, which a daemon at rest goes without
    from lab_pipeline.sweeps.store import is_published, sweeps_of  # noqa: PLC0415

    published = ArtifactStore.of(settings).has(run.run_id) or is_published(sweeps_of(settings), run.run_id)
    return left | Left.PUBLISHED if published else left
