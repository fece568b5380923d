"""A strategy as the kernel takes it, and what it must fit."""

import math

import numpy as np
import polars as pl

from lab_pipeline.domain.enums import EntryKind, ExitUse, IntrabarPolicy
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.filters import BROUGHT, TEXTS
from lab_pipeline.domain.strategy import AmmImpact, AtrDistance, StrategyConfig, minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.history import POOL_AGE_MS, true_range_reach
from lab_pipeline.engine.kernel import Rules
from lab_pipeline.engine.portfolio import FIXED, FRACTION, RISK, account_of, costs_of

FOREVER_MINUTES = 1e12
"""Longer times are cut to this, two million years, so that they fit the kernel's clock."""

ENTRY_KINDS = (EntryKind.MARKET, EntryKind.DIP, EntryKind.REBOUND, EntryKind.SIGNAL)
POLICIES = (
    IntrabarPolicy.STOP_FIRST,
    IntrabarPolicy.TARGET_FIRST,
    IntrabarPolicy.NEAREST_OPEN,
    IntrabarPolicy.FINER,
)


def rules_of(config: StrategyConfig, timeframe: int) -> Rules:
    """Return a strategy as the kernel takes it; `timeframe` in milliseconds."""
    leave, trailing, reentry = config.exit, config.exit.trailing, config.reentry
    stop, trail = leave.stop_loss, trailing.distance if trailing else None
    impact, account = config.costs.impact, account_of(config, timeframe)
    costs = costs_of(config)
    return Rules(
        delay=_milliseconds(config.entry.delay_minutes),
        max_wait=_milliseconds(config.entry.max_wait_minutes),
        horizon=_milliseconds(config.horizon_minutes),
        timeframe=timeframe,
        entry_kind=ENTRY_KINDS.index(config.entry.kind),
        entry_fraction=config.entry.fraction or 0.0,
        stop_loss=stop if isinstance(stop, float) else 0.0,
        stop_ranges=stop.atr.n if isinstance(stop, AtrDistance) else 0,
        stop_factor=stop.atr.k if isinstance(stop, AtrDistance) else 0.0,
        stop_reach=true_range_reach(stop, timeframe) if isinstance(stop, AtrDistance) else 0,
        trailing=trailing is not None,
        trail_activation=trailing.activation if trailing else 0.0,
        trail_distance=trail if isinstance(trail, float) else 0.0,
        trail_ranges=trail.atr.n if isinstance(trail, AtrDistance) else 0,
        trail_factor=trail.atr.k if isinstance(trail, AtrDistance) else 0.0,
        trail_reach=true_range_reach(trail, timeframe) if isinstance(trail, AtrDistance) else 0,
        break_even_after=leave.break_even_after or 0,
        max_hold=-1 if leave.max_hold_minutes is None else _milliseconds(leave.max_hold_minutes),
        reentry_retrace=reentry.retrace if reentry else 0.0,
        reentry_count=reentry.max_count if reentry else 0,
        policy=POLICIES.index(config.intrabar),
        through=leave.stop_fill.through,
        haircut=config.end_of_data.haircut,
        plan=leave.use is ExitUse.SIGNAL,
        own=leave.has_rules,
        enter_on_signal=config.entry.when is not None,
        leave_on_signal=leave.when is not None,
        fee=costs.fee,
        slip=costs.slip,
        fixed_fee=costs.fixed_fee,
        impact=costs.impact,
        max_share=costs.max_share,
        pool=impact.liquidity if isinstance(impact, AmmImpact) and impact.liquidity is not None else math.nan,
        pool_age=POOL_AGE_MS,
        stake=account.size
        if account.sizing == FIXED
        else account.capital * (account.size if account.sizing == FRACTION else account.max_fraction),
        at_risk=account.capital * account.size if account.sizing == RISK else 0.0,
        multiples=readonly(np.array([target.multiple for target in leave.targets], np.float64)),
        fractions=readonly(np.array([target.fraction for target in leave.targets], np.float64)),
        plan_fractions=readonly(np.array(leave.target_fractions or (), np.float64)),
    )


def require_fitting(config: StrategyConfig, timeframe: str, calls: pl.DataFrame, *, finer: bool) -> None:
    """Hold a strategy to what it is simulated on.

    Args:
        config: the strategy.
        timeframe: of the run.
        calls: that are simulated.
        finer: whether there are finer candles.

    Raises:
        InvalidConfigError: naming the path of every field that does not fit.
    """
    problems = [
        FieldError(f"filters[{number}].field", f"the calls have no column {one.field}")
        for number, one in enumerate(config.filters)
        if one.field in (*TEXTS, *BROUGHT) and one.field not in calls.columns
    ]
    if config.finer_timeframe is not None:
        coarse, fine = timeframe_ms(timeframe), timeframe_ms(config.finer_timeframe)
        if fine >= coarse or coarse % fine:
            said = f"candles of {config.finer_timeframe} do not divide the run's, of {timeframe}: choose shorter ones"
            problems.append(FieldError("finerTimeframe", said))
        elif not finer:
            problems.append(FieldError("finerTimeframe", f"there are no candles of {config.finer_timeframe} to read"))
    if problems:
        raise InvalidConfigError("strategy", problems)


def _milliseconds(minutes: float) -> int:
    return minutes_to_ms(min(minutes, FOREVER_MINUTES))
