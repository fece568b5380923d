"""When active strategies are swept again, and when their winners are looked at."""

from datetime import UTC, datetime

import dagster as dg

from lab_pipeline.defs.sweep.jobs import drift, sweep
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.sweep_config import fields_of
from lab_pipeline.runs.tags import SWEEP_OP, run_config, search_tags
from lab_pipeline.settings import load_settings
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.store import SweepManifest
from lab_pipeline.sweeps.walking import known_until, latest_sweeps


@dg.schedule(
    name="nightly_sweeps",
    job=sweep,
    cron_schedule=load_settings().nightly_cron,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Repeats the latest sweep of every active strategy with the calls up to last midnight.",
)
def nightly_sweeps(
    context: dg.ScheduleEvaluationContext, lab: dg.ResourceParam[Lab]
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for a sweep of each strategy that was swept before and has new calls; the log says what is left out."""
    end = context.scheduled_execution_time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    swept = latest_sweeps(lab.sweeps)
    strategies, broken = lab.strategies.readable_latest()
    requests, left_out = [], dict(broken)
    for stored in strategies:
        name = stored.strategy.id
        if not stored.is_active:
            left_out[name] = "it is not active"
        elif name not in swept:
            left_out[name] = "it was never swept: the first sweep says what is varied"
        elif not _has_new_calls(lab, swept[name], end):
            left_out[name] = "no calls have come since its latest sweep"
        else:
            latest = SweepSpec.parse(swept[name].spec)
            fields = fields_of(latest.model_copy(update={"end": end, "strategy_version": stored.version}))
            key = f"sweep/{name}/{stored.version}/{end:%Y-%m-%d}"
            requests.append(dg.RunRequest(key, run_config(fields, op=SWEEP_OP), search_tags(fields)))
    for name, reason in left_out.items():
        context.log.info(f"{name} is left out: {reason}")
    if requests:
        return requests
    reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
    return dg.SkipReason(f"nothing to sweep: {reasons or 'there is no strategy'}")


drift_schedule = dg.ScheduleDefinition(
    name="sweep_drift",
    job=drift,
    cron_schedule=load_settings().nightly_cron,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Looks at last month's winners on the calls of this month.",
)


def _has_new_calls(lab: Lab, manifest: SweepManifest, end: datetime) -> bool:
    """Return whether there are calls that a sweep knew nothing of."""
    start = known_until(lab.sweeps, manifest)
    return start < end and not lab.lake.calls(start=start, end=end).is_empty()
