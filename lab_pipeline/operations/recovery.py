"""Runs that were lost sight of: never queued, dead, not repeated, or ended and neither withdrawn nor stopped."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from lab_pipeline.dagster_ext.daemon_cursors import FAILED_RUNS_CURSOR
from lab_pipeline.dagster_ext.internals import (
    AUTO_RETRY_RUN_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    WILL_RETRY_TAG,
    DagsterEvent,
    JobFailureData,
    RunFailureReason,
    auto_reexecution_should_retry_run,
)
from lab_pipeline.dagster_ext.own_tags import mark_of, set_mark
from lab_pipeline.dagster_ext.run_admission import is_admitted
from lab_pipeline.dagster_ext.run_coordinator import make_ready
from lab_pipeline.dagster_ext.run_launcher import LabRunLauncher
from lab_pipeline.dagster_ext.unpublish import withdraw_after_end
from lab_pipeline.dagster_ext.worker_locks import (
    FOREGROUND,
    is_alive,
    kill,
    living,
    request_stop,
    stop_requested_at,
    worker_of,
    workers_dir,
)
from lab_pipeline.operations.lab import Lab
from lab_pipeline.runs.tags import BACKTEST_JOBS

QUEUED_WITHIN = timedelta(seconds=60)
"""Whoever launches a run queues it within so long, or has died in between."""
SETTLED_WITHIN = timedelta(seconds=15)
"""The lab's launcher takes the lock of a run that left the queue within so long, and settles one whose process is gone;
or it was killed before, or could not on a full disk."""
STOPPED_WITHIN = timedelta(seconds=15)
"""The process of a run that has ended, or was to stop, is gone within so long, or goes on without an end."""
REPEATED_WITHIN = timedelta(seconds=15)
"""Dagster's daemon repeats a dead run within so long, or has failed to."""
WITHDRAWN_WITHIN = timedelta(seconds=60)
"""The lab's own launcher withdraws a run that was canceled or killed within so long; no other launcher does."""
LOOK_BACK = timedelta(days=1)
"""Nobody waits for what failed earlier."""
ASKED_TAG = ".lab/retry_asked"
"""Counts how often it was asked for that a run be repeated; hidden in the UI, as tags that begin with a dot are."""
ASKED_AT_MOST = 20
"""A run that cannot be repeated, such as one of a job that is no more, is given up then."""


def queue_forgotten(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Queue the runs whose launcher died after it had recorded them, and return their ids."""
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED]))
    waiting = [record.dagster_run for record in records if _is_past(record.create_timestamp, QUEUED_WITHIN, now)]
    found = [run for run in waiting if run.remote_job_origin and worker_of(run) is None]
    admitted = [run for run in found if is_admitted(instance, run)]
    for run in admitted:
        make_ready(instance, run)
        instance.report_dagster_event(DagsterEvent.job_enqueue(run), run_id=run.run_id)
    return [run.run_id for run in admitted]


def settle_lost(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Settle the runs that start or stop and have no process, and return their ids; those that started are repeated.

    One whose process lives is never among them, however long it takes: under the lab's launcher a process has its lock
    before it begins. Of those of other launchers nothing is known here.
    """
    if not _is_ours(instance):
        return []
    states = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    directory = workers_dir(Path(instance.root_directory))
    records = instance.get_run_records(dg.RunsFilter(statuses=states))
    waiting = [record.dagster_run for record in records if _is_past(record.update_timestamp, SETTLED_WITHIN, now)]
    dead = [run for run in waiting if not is_alive(directory, worker_of(run) or run.run_id)]
    again = [instance.get_run_by_id(run.run_id) for run in dead]  # what ended just now has recorded how
    found = [run for run in again if run is not None and run.status in states]
    for run in found:
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "It has no process any more.")
        else:
            unstarted = JobFailureData(error=None, failure_reason=RunFailureReason.START_TIMEOUT)
            instance.report_run_failed(run, "It left the queue, and has no process.", unstarted)
    return [run.run_id for run in found]


def stop_ended(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Stop the processes that go on though their run has ended or is deleted, and return its id.

    Such runs were marked by hand, or by a monitor with timeouts of its own. What does not stop is killed.
    """
    if not _is_ours(instance):
        return []
    directory = workers_dir(Path(instance.root_directory))
    found = []
    for run_id in (name for name in living(directory) if not name.startswith(FOREGROUND)):
        record = instance.get_run_record_by_id(run_id)
        requested = stop_requested_at(directory, run_id)
        if requested is not None and _is_past(requested, STOPPED_WITHIN, now):
            kill(directory, run_id)
        elif record is None or (
            record.dagster_run.is_finished and _is_past(record.update_timestamp, STOPPED_WITHIN, now)
        ):
            request_stop(directory, run_id)
        else:
            continue
        found.append(run_id)
    return found


def ask_for_repetition(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Let Dagster's daemon look again at the dead runs that it could not repeat, and return their ids.

    It tries once, and gives a run up if the code server does not answer in that instant.
    """
    found = {run.run_id: run for run in _unrepeated(instance, now)}
    if not found:
        return []
    since = dg.RunStatusChangeRecordsFilter(
        dg.DagsterEventType.RUN_FAILURE, after_timestamp=(now - LOOK_BACK).timestamp()
    )
    events = [event for event in _all_changes(instance, since) if event.run_id in found]
    for run in found.values():
        instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "true"})
        set_mark(instance, run.run_id, ASKED_TAG, str(_asked(run) + 1))
    reached = instance.daemon_cursor_storage.get_cursor_values({FAILED_RUNS_CURSOR}).get(FAILED_RUNS_CURSOR)
    before = min((event.storage_id for event in events), default=0) - 1
    if events and reached is not None and before < int(reached):
        # Runs that were repeated are not repeated again: the daemon looks for that first.
        instance.daemon_cursor_storage.set_cursor_values({FAILED_RUNS_CURSOR: str(before)})
    return sorted(found)


def withdraw_ended(lab: Lab, now: datetime) -> list[str]:
    """Withdraw the backtests that were canceled or killed and can be seen still, and return their ids.

    Raises:
        LabError: if a store does not answer; the others are withdrawn the next time.
    """
    ended = [
        dg.RunsFilter(
            job_name=job,
            statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
            updated_after=now - LOOK_BACK,
        )
        for job in BACKTEST_JOBS
    ]
    directory = workers_dir(Path(lab.instance.root_directory))
    found = [record for wanted in ended for record in lab.instance.get_run_records(wanted)]
    records = [record for record in found if _is_past(record.update_timestamp, WITHDRAWN_WITHIN, now)]
    return [
        run.run_id
        for run in (record.dagster_run for record in records)
        if lab.artifacts.has(run.run_id)
        and not is_alive(directory, worker_of(run) or run.run_id)
        and withdraw_after_end(lab.instance, lab.settings, run.run_id)
    ]


def _unrepeated(instance: dg.DagsterInstance, now: datetime) -> Iterator[dg.DagsterRun]:
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - LOOK_BACK)
    for record in instance.get_run_records(failed):
        run = record.dagster_run
        reason = run.tags.get(RUN_FAILURE_REASON_TAG)
        if (
            _is_past(record.update_timestamp, REPEATED_WITHIN, now)
            and AUTO_RETRY_RUN_ID_TAG not in run.tags
            and run.remote_job_origin
            and _asked(run) < ASKED_AT_MOST
            and auto_reexecution_should_retry_run(instance, run, RunFailureReason(reason) if reason else None)
            and not _is_repeated(instance, run)
        ):
            yield run


def _is_ours(instance: dg.DagsterInstance) -> bool:
    launcher = instance.get_ref().run_launcher_data  # not loaded: that of Kubernetes is none of our dependencies
    return launcher is not None and launcher.class_name == LabRunLauncher.__name__


def _asked(run: dg.DagsterRun) -> int:
    return int(mark_of(run, ASKED_TAG) or "0")


def _is_past(moment: datetime, within: timedelta, now: datetime) -> bool:
    """Tell whether a time is over that began at a moment; one that is yet to come was before the clock was put back."""
    return abs(now - moment) >= within


def _is_repeated(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    group = instance.get_run_group(run.run_id)
    return group is not None and any(other.parent_run_id == run.run_id for other in group[1])


def _all_changes(instance: dg.DagsterInstance, wanted: dg.RunStatusChangeRecordsFilter) -> Iterator[dg.EventLogRecord]:
    cursor = None
    while True:
        page = instance.fetch_run_status_changes(wanted, limit=1000, cursor=cursor)
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor
