"""What runs watched strategies on calls that have come."""

import dagster as dg

from lab_pipeline.dagster_ext.sensor_causes import CALLS, WAITS_FOR
from lab_pipeline.dagster_ext.ticks import is_tick, stored_cursors
from lab_pipeline.defs.backtest.jobs import backtest
from lab_pipeline.defs.backtest.run_requests import automation_timeframe, request
from lab_pipeline.domain.backtest import BacktestSpec, CallersUniverse
from lab_pipeline.engine.fitting import columns_read
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.new_calls import NewCalls, SeenCalls, calls_now, compare, name_now
from lab_pipeline.runs.backtest import EmptyLakeError
from lab_pipeline.runs.strategies import StoredStrategy

INTERVAL_SECONDS = 30
WATCHED = "watched"
"""The tag of a strategy that runs on every new call."""
SEEN = "seen_calls"
"""Directory in Dagster's home with the calls as the sensor last saw them."""
FROM_NOW_ON = "calls that come from now on are seen"


@dg.sensor(
    job_name=backtest.name,
    minimum_interval_seconds=INTERVAL_SECONDS,
    tags={WAITS_FOR: CALLS},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Runs the active strategies that are tagged `{WATCHED}` on calls that have come or changed.",
)
def watch_calls(context: dg.SensorEvaluationContext, lab: dg.ResourceParam[Lab]) -> dg.SensorResult | dg.SkipReason:
    """Ask for a run of each watched strategy over the callers and the time of the new calls.

    The cursor names the calls that were seen, which are kept until a tick has moved on from them: one that dies is
    evaluated again from where it was, to the same run keys. A test of the sensor removes none. Where the calls of a
    cursor are gone, nobody knows which are new: that is logged, and calls from then on count as new.
    """
    try:
        timeframe = automation_timeframe(lab.settings, lab.lake)
    except EmptyLakeError as error:
        return dg.SkipReason(str(error))
    seen = SeenCalls(lab.settings.dagster_home / SEEN)
    before = seen.read(context.cursor) if context.cursor else None
    if before is not None and name_now(lab.lake, timeframe) == before.name:
        return dg.SkipReason("no calls have come since")
    state, is_first = calls_now(lab.lake, timeframe), not context.cursor and not seen.has_any()
    seen.write(state)
    if is_tick(context):
        seen.keep_only({state.name, context.cursor or "", *stored_cursors(context.instance, watch_calls.name)})
    if before is None:
        return dg.SensorResult(skip_reason=FROM_NOW_ON if is_first else _begin_anew(context), cursor=state.name)
    strategies, _ = lab.strategies.readable_latest()
    watched = [stored for stored in strategies if stored.is_active and WATCHED in stored.strategy.tags]
    found = [(stored, compare(before, state, columns_read(stored.strategy.config))) for stored in watched]
    requests = [_request(stored, new, timeframe) for stored, new in found if new is not None]
    if requests:
        return dg.SensorResult(requests, cursor=state.name)
    new = None if watched else compare(before, state)
    reason = "no calls have come since" if new is None else f"{new.count:,} new calls, no strategy is {WATCHED}"
    return dg.SensorResult(skip_reason=reason, cursor=state.name)


def _begin_anew(context: dg.SensorEvaluationContext) -> str:
    """Say what becomes of calls between the last known state, which is lost, and now."""
    known = f"of the cursor {context.cursor[:40]!r} nothing is kept" if context.cursor else "the cursor is empty"
    lost = f"{known}: calls before this are not run by themselves, `lab backtest` runs them; {FROM_NOW_ON}"
    if is_tick(context):
        context.log.warning(lost)
    return lost


def _request(stored: StoredStrategy, new: NewCalls, timeframe: str) -> dg.RunRequest:
    strategy_id = stored.strategy.id
    spec = BacktestSpec(
        strategy_id=strategy_id,
        universe=CallersUniverse(callers=tuple(new.callers)),
        timeframe=timeframe,
        range=new.range,
    )
    config = BacktestConfig.of(spec, stored.version)
    return request(config, key=f"calls/{strategy_id}/{new.digest}", window=new.window)
