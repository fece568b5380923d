"""A strategy as the kernel takes it."""

import math

import numpy as np

from lab_pipeline.domain.enums import EntryKind, ExitUse, IntrabarPolicy
from lab_pipeline.domain.strategy import AmmImpact, AtrDistance, StrategyConfig, minutes_to_ms
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.history import POOL_AGE_MS, true_range_reach
from lab_pipeline.engine.kernel import Options, Rules
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
    costs = costs_of(config)
    return Rules(
        delay=_milliseconds(config.entry.delay_minutes),
        max_wait=_milliseconds(config.entry.max_wait_minutes),
        horizon=_milliseconds(config.horizon_minutes),
        timeframe=timeframe,
        entry_kind=ENTRY_KINDS.index(config.entry.kind),
        entry_fraction=config.entry.fraction or 0.0,
        stop_loss=leave.stop_loss if isinstance(leave.stop_loss, float) else 0.0,
        trailing=trailing is not None,
        trail_activation=trailing.activation if trailing else 0.0,
        trail_distance=trailing.distance if trailing and isinstance(trailing.distance, float) else 0.0,
        break_even_after=leave.break_even_after or 0,
        max_hold=-1 if leave.max_hold_minutes is None else _milliseconds(leave.max_hold_minutes),
        reentry_retrace=reentry.retrace if reentry else 0.0,
        reentry_count=reentry.max_count if reentry else 0,
        policy=POLICIES.index(config.intrabar),
        through=leave.stop_fill.through,
        haircut=config.end_of_data.haircut,
        fee=costs.fee,
        slip=costs.slip,
    )


def options_of(config: StrategyConfig, timeframe: int) -> Options:
    """Return what else a strategy asks for as the kernel takes it; `timeframe` in milliseconds."""
    leave, impact = config.exit, config.costs.impact
    stop_ranges, stop_factor, stop_reach = _true_range(leave.stop_loss, timeframe)
    trail_ranges, trail_factor, trail_reach = _true_range(
        leave.trailing.distance if leave.trailing else None, timeframe
    )
    account, costs = account_of(config, timeframe), costs_of(config)
    part = account.size if account.sizing == FRACTION else account.max_fraction
    return Options(
        stop_ranges=stop_ranges,
        stop_factor=stop_factor,
        stop_reach=stop_reach,
        trail_ranges=trail_ranges,
        trail_factor=trail_factor,
        trail_reach=trail_reach,
        plan=leave.use is ExitUse.SIGNAL,
        own=leave.has_rules,
        enter_on_signal=config.entry.when is not None,
        leave_on_signal=leave.when is not None,
        fixed_fee=costs.fixed_fee,
        impact=costs.impact,
        max_share=costs.max_share,
        pool=impact.liquidity if isinstance(impact, AmmImpact) and impact.liquidity is not None else math.nan,
        pool_age=POOL_AGE_MS,
        stake=account.size if account.sizing == FIXED else account.capital * part,
        at_risk=account.capital * account.size if account.sizing == RISK else 0.0,
        multiples=readonly(np.array([target.multiple for target in leave.targets], np.float64)),
        fractions=readonly(np.array([target.fraction for target in leave.targets], np.float64)),
        plan_fractions=readonly(np.array(leave.target_fractions or (), np.float64)),
    )


def _true_range(distance: float | AtrDistance | None, timeframe: int) -> tuple[int, float, int]:
    """Return candles, factor and reach of a distance in true ranges, zeros of another."""
    if not isinstance(distance, AtrDistance):
        return 0, 0.0, 0
    return distance.atr.n, distance.atr.k, true_range_reach(distance, timeframe)


def _milliseconds(minutes: float) -> int:
    return minutes_to_ms(min(minutes, FOREVER_MINUTES))
