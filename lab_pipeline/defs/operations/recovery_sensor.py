"""What sees to it that a run is forgotten neither before it begins nor after it has died or was canceled."""

from datetime import UTC, datetime

import dagster as dg

from lab_pipeline.dagster_ext.sensor_causes import RUNS, WAITS_FOR
from lab_pipeline.dagster_ext.ticks import TESTED, is_tick
from lab_pipeline.defs.operations.automation import clear_unreadable
from lab_pipeline.defs.operations.resources import Lab
from lab_pipeline.operations.recovery import (
    ask_for_repetition,
    queue_forgotten,
    settle_lost,
    stop_ended,
    withdraw_ended,
)

INTERVAL_SECONDS = 10


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    tags={WAITS_FOR: RUNS},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Queues runs whose launcher died over it, settles those that start or stop without a process, has dead "
    "ones repeated that Dagster could not repeat, ends processes of ended runs, and withdraws what those left visible.",
)
def recover_runs(context: dg.SensorEvaluationContext, lab: Lab) -> dg.SkipReason:
    """Queue what was forgotten, settle what is lost, have it repeated; then withdraw, which needs ClickHouse."""
    if not is_tick(context):
        return dg.SkipReason(TESTED)
    for name in clear_unreadable(context.instance):
        context.log.warning(f"the cursor of {name} was none of its own, and is cleared: what it looks at is new to it")
    now = datetime.now(UTC)
    queued = queue_forgotten(context.instance, now)
    settled = settle_lost(context.instance, now)
    asked = ask_for_repetition(context.instance, now)
    stopped = stop_ended(context.instance, now)
    withdrawn = withdraw_ended(context.instance, lab.settings, now)
    parts = [
        ("queued", queued),
        ("settled", settled),
        ("repeated", asked),
        ("stopped", stopped),
        ("withdrawn", withdrawn),
    ]
    return dg.SkipReason("; ".join(f"{verb}: {', '.join(ids)}" for verb, ids in parts if ids) or "no run is lost")
