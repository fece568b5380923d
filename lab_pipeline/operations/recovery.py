"""Runs that were lost between two steps: recorded and never queued, or dead and not retried."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg

from lab_pipeline.dagster_ext.daemon_cursors import FAILED_RUNS_CURSOR
from lab_pipeline.dagster_ext.internals import (
    AUTO_RETRY_RUN_ID_TAG,
    PARENT_RUN_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    WILL_RETRY_TAG,
    DagsterEvent,
    RunFailureReason,
    auto_reexecution_should_retry_run,
)
from lab_pipeline.dagster_ext.own_tags import mark_of, set_mark
from lab_pipeline.dagster_ext.reconcile import LOOK_BACK
from lab_pipeline.dagster_ext.run_admission import is_admitted
from lab_pipeline.dagster_ext.run_coordinator import make_ready
from lab_pipeline.dagster_ext.worker_locks import worker_of

QUEUED_WITHIN = timedelta(seconds=60)
"""Whoever launches a run queues it within so long, or has died in between."""
RETRIED_WITHIN = timedelta(seconds=15)
"""Dagster's daemon retries a dead run within so long, or has failed to."""
ASKED_TAG = ".dagster/lab_retry_asked"
"""Counts how often it was asked that a run be retried; Dagster shows no tag that begins so."""
ASKED_AT_MOST = 20
"""A run that cannot be retried, such as one of a job that is no more, is given up then."""


def queue_forgotten(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Queue the runs whose launcher died after it had recorded them, and return their ids."""
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED]))
    waiting = [record.dagster_run for record in records if abs(now - record.create_timestamp) >= QUEUED_WITHIN]
    found = [run for run in waiting if run.remote_job_origin and worker_of(run) is None]
    admitted = [run for run in found if is_admitted(instance, run)]
    for run in admitted:
        make_ready(instance, run)
        instance.report_dagster_event(DagsterEvent.job_enqueue(run), run_id=run.run_id)
    return [run.run_id for run in admitted]


def ask_for_retry(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Let Dagster's daemon look again at the dead runs that it could not retry, and return their ids.

    It tries once, and gives a run up if the code server does not answer in that instant.
    """
    found = list(_unretried(instance, now))
    if not found:
        return []
    for run in (record.dagster_run for record in found):
        instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "true"})
        set_mark(instance, run.run_id, ASKED_TAG, str(_asked(run) + 1))
    just_before = min(record.end_time or 1.0 for record in found) - 1.0
    since = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_timestamp=just_before)
    events = instance.fetch_run_status_changes(since, limit=1, ascending=True).records
    reached = instance.daemon_cursor_storage.get_cursor_values({FAILED_RUNS_CURSOR}).get(FAILED_RUNS_CURSOR)
    if events and reached is not None and events[0].storage_id <= int(reached):
        # Runs that were retried are not retried again: the daemon looks for that first.
        instance.daemon_cursor_storage.set_cursor_values({FAILED_RUNS_CURSOR: str(events[0].storage_id - 1)})
    return sorted(record.dagster_run.run_id for record in found)


def _unretried(instance: dg.DagsterInstance, now: datetime) -> Iterator[dg.RunRecord]:
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - LOOK_BACK)
    for record in instance.get_run_records(failed):
        run = record.dagster_run
        reason = run.tags.get(RUN_FAILURE_REASON_TAG)
        if (
            abs(now - record.update_timestamp) >= RETRIED_WITHIN
            and AUTO_RETRY_RUN_ID_TAG not in run.tags
            and run.remote_job_origin
            and _asked(run) < ASKED_AT_MOST
            and auto_reexecution_should_retry_run(instance, run, RunFailureReason(reason) if reason else None)
            and not instance.get_run_ids(dg.RunsFilter(tags={PARENT_RUN_ID_TAG: run.run_id}), limit=1)
        ):
            yield record


def _asked(run: dg.DagsterRun) -> int:
    return int(mark_of(run, ASKED_TAG) or "0")
