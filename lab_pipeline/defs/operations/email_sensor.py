"""Mails about failed runs, by Dagster's own sensor."""

import html
from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.run_request import DagsterRunReaction
from dagster._core.definitions.run_status_sensor_definition import RunStatusSensorCursor

from lab_pipeline.dagster_ext.sensor_causes import RUNS, WAITS_FOR
from lab_pipeline.dagster_ext.ticks import TESTED, is_tick
from lab_pipeline.domain.text import visible
from lab_pipeline.operations.notices import last_failure
from lab_pipeline.settings import load_settings

NAME = "email_failures"


def _body(context: dg.RunFailureSensorContext) -> str:
    """Say what failed, in HTML, in which the names of a lab are text."""
    run, reason = context.dagster_run, context.failure_event.message or ""
    return f"Run {run.run_id} of {html.escape(run.job_name)} failed.<br>{html.escape(visible(reason))}"


@dg.definitions
def email() -> dg.Definitions:
    """Let Dagster's own sensor send mails about failed runs, if LAB_EMAIL_TO says to whom."""
    settings = load_settings()
    if not (settings.email_to and settings.email_from and settings.email_password and settings.smtp_host):
        return dg.Definitions()
    mails = dg.make_email_on_run_failure_sensor(
        name=NAME,
        email_from=settings.email_from,
        email_password=settings.email_password.get_secret_value(),
        email_to=[address.strip() for address in settings.email_to.split(",")],
        email_body_fn=_body,
        smtp_host=settings.smtp_host,
        smtp_type=settings.smtp_type,
        smtp_port=settings.smtp_port,
        smtp_user=settings.smtp_user,
        webserver_base_url=settings.dagster_url,
    )

    @dg.sensor(
        name=NAME,
        tags={WAITS_FOR: RUNS},
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Mails about every failed run.",
    )
    def email_failures(context: dg.SensorEvaluationContext) -> Iterator[dg.SkipReason | DagsterRunReaction]:
        """Let Dagster's sensor go on from the cursor in a tick; in a test, it would send mails, too."""
        if not is_tick(context):
            yield dg.SkipReason(TESTED)
            return
        if context.cursor and not _leads_on(context.cursor, last_failure(context.instance)):
            context.log.warning(
                f"the cursor {context.cursor[:40]!r} is beyond the newest failure, or none of this sensor: mails are "
                "sent about runs that fail from now on"
            )
            context.update_cursor(None)
        answer = mails.evaluate_tick(context)  # which moves the cursor of the context
        yield from answer.dagster_run_reactions or ()
        if answer.skip_message:
            yield dg.SkipReason(answer.skip_message)

    return dg.Definitions(sensors=[email_failures])


def _leads_on(cursor: str, newest: int) -> bool:
    """Tell whether Dagster's sensor comes from a cursor to the next failure, rather than waiting for ever."""
    try:
        if not RunStatusSensorCursor.is_valid(cursor):
            return False
        read = RunStatusSensorCursor.from_json(cursor)
    except (ValueError, TypeError, RecursionError):
        return False
    return read.record_id <= newest and read.update_timestamp is None
