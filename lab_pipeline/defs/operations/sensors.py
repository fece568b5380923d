"""Sensors that report what went wrong, and recover runs that were lost."""

import json
import re
from datetime import UTC, datetime

import dagster as dg

from lab_pipeline.dagster_ext.daemon_cursors import clear_unreadable
from lab_pipeline.dagster_ext.own_tags import mark_of, set_mark
from lab_pipeline.dagster_ext.reconcile import reconcile_lost
from lab_pipeline.dagster_ext.sensor_causes import RUNS, WAITS_FOR
from lab_pipeline.dagster_ext.ticks import TESTED, is_tick
from lab_pipeline.operations import notices
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.recovery import ask_for_retry, queue_forgotten
from lab_pipeline.operations.webhook import Notice, Webhook

INTERVAL_SECONDS = 10
NOTIFIED_TAG = ".dagster/lab_notified"
"""Marks a failed run that the webhook took, at once, whatever becomes of the tick; Dagster hides such tags."""
NUMBER = re.compile("[0-9]{1,18}")
FROM_NOW_ON = "runs that fail from now on are reported"
FAILING = "lab/failing_checks"
"""Where Dagster's cursor storage keeps the checks that were reported and do not pass still: JSON, a list."""


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    tags={WAITS_FOR: RUNS},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports runs of every job that failed: a line in the log, and LAB_WEBHOOK_URL if it is set.",
)
def notify_failures(context: dg.SensorEvaluationContext, lab: dg.ResourceParam[Lab]) -> dg.SkipReason:
    """Report each failed run once; while the webhook does not accept it, this and all later ones wait."""
    if not is_tick(context):
        return dg.SkipReason(TESTED)
    position, newest = _position(context.cursor), notices.last_failure(context.instance)
    if position is None or position > newest:  # or the newest are deleted, whose numbers come again
        begun = _begin(context, newest)
        context.update_cursor(str(newest))
        return dg.SkipReason(begun)
    settings, reported = lab.settings, 0
    webhook = Webhook.of(settings)
    for storage_id, run, failed_at in notices.failures_after(context.instance, position):
        if mark_of(run, NOTIFIED_TAG) is None:
            _tell(context, webhook, notices.of_failure(settings, context.instance, run, failed_at))
            if webhook:
                set_mark(context.instance, run.run_id, NOTIFIED_TAG, datetime.now(UTC).isoformat())
            reported += 1
        context.update_cursor(str(storage_id))
    return dg.SkipReason(f"{reported} failed runs reported" if reported else "no run has failed since")


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    tags={WAITS_FOR: RUNS},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports checks of assets that do not pass any more, such as a coverage below LAB_MIN_COVERAGE, and "
    "reasons to doubt the results of a strategy, once each.",
)
def notify_data_quality(context: dg.SensorEvaluationContext, lab: dg.ResourceParam[Lab]) -> dg.SkipReason:
    """Report each check once when it stops passing, and again only after it has passed in between."""
    if not is_tick(context):
        return dg.SkipReason(TESTED)
    repository = context.repository_def
    keys = repository.asset_graph.asset_check_keys if repository else ()
    store = context.instance.daemon_cursor_storage
    failing = _failing(context, store.get_cursor_values({FAILING}).get(FAILING))
    webhook, reported = Webhook.of(lab.settings), 0
    for name, record in notices.evaluated_checks(context.instance, keys).items():
        passed = record.evaluation is not None and record.evaluation.passed
        if passed is (name not in failing):
            continue
        if not passed:
            _tell(context, webhook, notices.of_check(name, record), loud=notices.is_error(record))
            reported += 1
        failing ^= {name}
        store.set_cursor_values({FAILING: json.dumps(sorted(failing))})
    return dg.SkipReason(
        f"{reported} checks reported" if reported else f"{len(failing)} checks do not pass, all reported"
    )


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    tags={WAITS_FOR: RUNS},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Queues runs that a dead launcher did not, has dead ones retried that Dagster could not, and sees "
    "to those that start or stop without a process, that go on after their end, or that are to be unpublished.",
)
def recover_runs(context: dg.SensorEvaluationContext, lab: dg.ResourceParam[Lab]) -> dg.SkipReason:
    """Queue what was forgotten, have what is dead retried; then reconcile the rest, which may need ClickHouse."""
    if not is_tick(context):
        return dg.SkipReason(TESTED)
    for name in clear_unreadable(context.instance):
        context.log.warning(f"the cursor of {name} was none of its own, and is cleared: what it looks at is new to it")
    now = datetime.now(UTC)
    found = [("queued", run_id) for run_id in queue_forgotten(context.instance, now)]
    found += [("retried", run_id) for run_id in ask_for_retry(context.instance, now)]
    found += [(action.do.value, action.run_id) for action in reconcile_lost(context.instance, lab.settings, now)]
    return dg.SkipReason("; ".join(f"{done}: {run_id}" for done, run_id in found) or "no run is lost")


def _position(cursor: str | None) -> int | None:
    """Return the number of the last event that was reported; none if the cursor is no such number."""
    return int(cursor) if cursor and NUMBER.fullmatch(cursor) else None


def _begin(context: dg.SensorEvaluationContext, newest: int) -> str:
    """Say from which event on failures are reported, if the cursor names none or one that does not exist yet."""
    if not context.cursor:
        return FROM_NOW_ON
    begun = f"the cursor {context.cursor[:40]!r} is beyond the newest failure, or none of this sensor: {FROM_NOW_ON}"
    context.log.warning(f"{begun}, those after event {newest}")
    return begun


def _failing(context: dg.SensorEvaluationContext, stored: str | None) -> set[str]:
    """Return the checks that were reported and still do not pass."""
    try:
        read = json.loads(stored or "[]")
    except (ValueError, RecursionError):
        read = None
    if isinstance(read, list) and all(isinstance(name, str) for name in read):
        return set(read)
    context.log.warning("which checks were reported is not known any more: those that do not pass are reported again")
    return set()


def _tell(context: dg.SensorEvaluationContext, webhook: Webhook | None, notice: Notice, *, loud: bool = True) -> None:
    """Send the notice if there is a receiver; write it into the log of the tick and thus of the code server."""
    line = f"{notice.type} {json.dumps(notice.data, ensure_ascii=False)}"
    if webhook:
        webhook.deliver(notice)
        line += f" (reported to {webhook.host})"
    (context.log.error if loud else context.log.warning)(line)
