"""Which backtests a night asks for: every active strategy, over the days before it, once."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.internals import SCHEDULED_EXECUTION_TIME_TAG
from lab_pipeline.defs.backtest.partitions import STRATEGIES, WINDOWS
from lab_pipeline.defs.backtest.run_requests import automation_timeframe
from lab_pipeline.domain.backtest import TimeRange
from lab_pipeline.operations.lab import Lab
from lab_pipeline.runs.backtest import EmptyLakeError
from lab_pipeline.runs.strategies import StoredStrategy
from lab_pipeline.runs.tags import STRATEGY_DIMENSION, STRATEGY_TAG, WINDOW_DIMENSION, WINDOW_TAG, search_tags

SCHEDULE = "nightly_backtests"
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
MOST_NIGHTS = 366
"""Windows that a tick adds at once, where the schedule was off before it."""


@dataclass
class Night:
    """What a tick asks for.

    Attributes:
        window: the calls, as the tag of the runs says it.
        requests: one a strategy.
        left_out: by strategy, or "" for all of them, why there is no request.
        invalid: strategies that are left out because they need a fix.
    """

    window: str
    requests: list[dg.RunRequest] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    invalid: set[str] = field(default_factory=set)


def plan_night(instance: dg.DagsterInstance, lab: Lab, tick: datetime) -> Night:
    """Decide what is run at a tick of the schedule; the same tick decides the same, whenever it is asked.

    A strategy that another tick has run over the same window is left out: the window moves once a day.
    """
    range_ = window_before(tick, lab.settings.nightly_window_days)
    night = Night(window_name(range_))
    strategies, broken = lab.strategies.readable_latest()
    night.left_out |= broken
    night.invalid |= set(broken)
    active = [stored for stored in strategies if stored.is_active]
    night.left_out |= {stored.strategy.id: "it is not active" for stored in strategies if not stored.is_active}
    try:
        timeframe = automation_timeframe(lab.settings, lab.lake)
    except EmptyLakeError as error:
        night.left_out[""] = str(error)
        return night
    calls = lab.lake.calls(start=range_.start, end=range_.end)["called_at"]
    candles = lab.lake.candles_extent(timeframe)
    done = _run_before(instance, night.window, tick)
    for stored in active:
        strategy_id = stored.strategy.id
        if strategy_id in done:
            night.left_out[strategy_id] = "it was run over this window before"
        elif not _can_meet(stored, calls, candles):
            night.left_out[strategy_id] = f"the lake has no calls with {timeframe} candles in this window"
        else:
            night.requests.append(_request(stored, timeframe, night.window))
    return night


def window_before(tick: datetime, days: int) -> TimeRange:
    """Return the whole days (UTC) before a tick.

    >>> str(window_before(datetime(2025, 3, 11, 2, 0, tzinfo=UTC), 10).end)
    '2025-03-11 00:00:00+00:00'
    """
    end = tick.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return TimeRange(start=end - timedelta(days=days), end=end)


def window_name(range_: TimeRange) -> str:
    """Return the key of a window among the partitions; it is the tag of its runs, too."""
    return f"{range_.start:%Y-%m-%d}/{range_.end:%Y-%m-%d}"


def add_partitions(instance: dg.DagsterInstance, lab: Lab, tick: datetime) -> None:
    """Add the partitions of a tick, and those of the nights since the latest window, which are seen to be missing."""
    strategies, _ = lab.strategies.readable_latest()
    instance.add_dynamic_partitions(STRATEGIES, [one.strategy.id for one in strategies if one.is_active])
    days = lab.settings.nightly_window_days
    last = window_before(tick, days).end
    known = [key.partition("/")[2] for key in instance.get_dynamic_partitions(WINDOWS)]
    ends = [datetime.fromisoformat(end).replace(tzinfo=UTC) for end in known if DAY.fullmatch(end)]
    before = max((end for end in ends if end < last), default=last - timedelta(days=1))
    nights = min((last - before).days, MOST_NIGHTS)
    windows = [window_before(last - timedelta(days=ago), days) for ago in reversed(range(nights))]
    instance.add_dynamic_partitions(WINDOWS, [window_name(window) for window in windows])


def _request(stored: StoredStrategy, timeframe: str, window: str) -> dg.RunRequest:
    strategy_id, config = stored.strategy.id, {"strategy_version": stored.version, "timeframe": timeframe}
    return dg.RunRequest(
        run_key=f"nightly/{strategy_id}/{window}",
        partition_key=dg.MultiPartitionKey({STRATEGY_DIMENSION: strategy_id, WINDOW_DIMENSION: window}),
        run_config={"ops": {"night": {"config": config}}},
        tags=search_tags({"strategy": strategy_id, **config}, window),
    )


def _run_before(instance: dg.DagsterInstance, window: str, tick: datetime) -> set[str]:
    """Return the strategies that another tick, or a backfill, has run over this window.

    Runs of this very tick are not among them: Dagster, evaluating it again after a crash, goes by their run keys, and
    starts those that it had made but not started. One of an earlier tick that never was started never will be.
    """
    this_tick = tick.astimezone(UTC).isoformat()
    runs = instance.get_runs(dg.RunsFilter(tags={WINDOW_TAG: window}))
    return {
        run.tags.get(STRATEGY_TAG, "")
        for run in runs
        if run.status is not dg.DagsterRunStatus.NOT_STARTED and run.tags.get(SCHEDULED_EXECUTION_TIME_TAG) != this_tick
    }


def _can_meet(stored: StoredStrategy, called_at: pl.Series, candles: tuple[datetime, datetime] | None) -> bool:
    """Return whether any of the calls can have a candle within the strategy's horizon."""
    if called_at.is_empty() or candles is None:
        return False
    first, last = called_at.to_frame().select(first=pl.first().min(), last=pl.first().max()).row(0)
    horizon = timedelta(minutes=stored.strategy.config.horizon_minutes)
    return bool(first <= candles[1] and last + horizon > candles[0])
