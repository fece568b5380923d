"""What tells people that something went wrong."""

import json
from datetime import UTC, datetime

import dagster as dg

from lab_pipeline.defs.operations import notices
from lab_pipeline.defs.operations.marks import mark_of, set_mark
from lab_pipeline.defs.operations.resources import Lab
from lab_pipeline.defs.operations.webhook import Notice, Webhook

INTERVAL_SECONDS = 10
NOTIFIED_TAG = ".lab/notified"
"""Marks a failed run that the webhook took, at once, whatever becomes of the tick; hidden in the UI by its dot."""
FAILING = "lab/failing_checks"
"""Where Dagster's cursor storage keeps the checks that were reported and do not pass still: JSON, a list."""


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports runs of every job that failed: a line in the log, and LAB_WEBHOOK_URL if it is set.",
)
def notify_failures(context: dg.SensorEvaluationContext, lab: Lab) -> dg.SkipReason:
    """Tell of each failed run once; while the webhook does not take it, this and all later ones wait."""
    if context.cursor is None:
        context.update_cursor(str(notices.last_failure(context.instance)))
        return dg.SkipReason("runs that fail from now on are reported")
    settings, told = lab.settings, 0
    webhook = Webhook.of(settings)
    for storage_id, run, failed_at in notices.failures_after(context.instance, int(context.cursor)):
        if mark_of(run, NOTIFIED_TAG) is None:
            _tell(context, webhook, notices.of_failure(settings, context.instance, run, failed_at))
            if webhook:
                set_mark(context.instance, run.run_id, NOTIFIED_TAG, datetime.now(UTC).isoformat())
            told += 1
        context.update_cursor(str(storage_id))
    return dg.SkipReason(f"{told} failed runs reported" if told else "no run has failed since")


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports checks of assets that do not pass any more, such as a coverage below LAB_MIN_COVERAGE.",
)
def notify_data_quality(context: dg.SensorEvaluationContext, lab: Lab) -> dg.SkipReason:
    """Tell of each check once when it ceases to pass, and again only after it has passed in between."""
    repository = context.repository_def
    keys = repository.asset_graph.asset_check_keys if repository else ()
    store = context.instance.daemon_cursor_storage
    failing = set(json.loads(store.get_cursor_values({FAILING}).get(FAILING, "[]")))
    webhook, told = Webhook.of(lab.settings), 0
    for name, record in notices.evaluated_checks(context.instance, keys).items():
        passed = record.evaluation is not None and record.evaluation.passed
        if passed is (name not in failing):
            continue
        if not passed:
            _tell(context, webhook, notices.of_check(name, record))
            told += 1
        failing ^= {name}
        store.set_cursor_values({FAILING: json.dumps(sorted(failing))})
    return dg.SkipReason(f"{told} checks reported" if told else f"{len(failing)} checks do not pass, all reported")


def _tell(context: dg.SensorEvaluationContext, webhook: Webhook | None, notice: Notice) -> None:
    """Send the notice if there is whom to; write it into the log of the tick, which the code server's log has, too."""
    line = f"{notice.type} {json.dumps(notice.data, ensure_ascii=False)}"
    if webhook:
        webhook.deliver(notice)
        line += f" (reported to {webhook.host})"
    context.log.error(line)
