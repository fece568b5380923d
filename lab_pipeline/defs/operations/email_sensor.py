"""Mails about failed runs, by Dagster's own sensor."""

import html

import dagster as dg

from lab_pipeline.domain.text import visible
from lab_pipeline.settings import load_settings


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
    sensor = dg.make_email_on_run_failure_sensor(
        name="email_failures",
        email_from=settings.email_from,
        email_password=settings.email_password.get_secret_value(),
        email_to=[address.strip() for address in settings.email_to.split(",")],
        email_body_fn=_body,
        smtp_host=settings.smtp_host,
        smtp_type=settings.smtp_type,
        smtp_port=settings.smtp_port,
        smtp_user=settings.smtp_user,
        webserver_base_url=settings.dagster_url,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    return dg.Definitions(sensors=[sensor])
