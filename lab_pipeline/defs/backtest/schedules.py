"""When every active strategy is run over the last days."""

import dagster as dg

from lab_pipeline.defs.backtest.jobs import nightly
from lab_pipeline.defs.backtest.nightly import SCHEDULE, add_partitions, plan_night
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import load_settings


@dg.schedule(
    name=SCHEDULE,
    job=nightly,
    cron_schedule=load_settings().nightly_cron,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Runs every active strategy over the last LAB_NIGHTLY_WINDOW_DAYS, once a window.",
)
def nightly_backtests(
    context: dg.ScheduleEvaluationContext, lab: dg.ResourceParam[Lab]
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for a run of each strategy; the log of the tick says which are left out, and why."""
    add_partitions(context.instance, lab, context.scheduled_execution_time)
    night = plan_night(context.instance, lab, context.scheduled_execution_time)
    for strategy_id, reason in night.left_out.items():
        say = context.log.warning if strategy_id in night.invalid else context.log.info
        say(f"{strategy_id or 'every strategy'} is left out: {reason}")
    if night.requests:
        return night.requests
    reasons = "; ".join(f"{name or 'every strategy'}: {reason}" for name, reason in night.left_out.items())
    return dg.SkipReason(f"nothing to run over {night.window}: {reasons or 'there is no strategy'}")
