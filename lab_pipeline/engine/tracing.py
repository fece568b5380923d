"""What one call met, candle by candle: for people who want to see a trade, not to be fast."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from lab_pipeline.domain.conditions import Registered
from lab_pipeline.domain.enums import IntrabarPolicy
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine.reference import candles_by_mint, simulate_call
from lab_pipeline.engine.reference_records import Call, CallResult

POLICIES = (IntrabarPolicy.STOP_FIRST, IntrabarPolicy.TARGET_FIRST, IntrabarPolicy.NEAREST_OPEN)


def can_trace(config: StrategyConfig) -> bool:
    """Return whether a strategy can be followed: not if it asks a registered signal, which may be another by now."""
    whens = [when for when in (config.entry.when, config.exit.when) if when is not None]
    return not any(isinstance(one, Registered) for when in whens for one in when.conditions)


def trace_call(
    call: Mapping[str, Any],
    candles: pl.DataFrame,
    config: StrategyConfig,
    *,
    timeframe: str,
    finer: pl.DataFrame | None = None,
) -> dict[IntrabarPolicy, CallResult]:
    """Simulate a call that entered by the plain Python, which the kernel equals bit for bit.

    Args:
        call: columns of `frames.CALLS`, and whatever the strategy reads of it; `called_at` in milliseconds.
        candles: of its mint, from what the strategy looks back on to the horizon; columns of `frames.CANDLES`.
        config: the strategy; its filters are not asked again.
        timeframe: length of the candles.
        finer: finer candles of the mint, where the strategy decides by them.

    Returns:
        What became of it under the strategy's own policy, the first, and under each of the others: each trade has its
        fills, and the levels that each of its candles was tested against.
    """
    length = timeframe_ms(timeframe)
    mint = call["mint"]
    seen = candles_by_mint(candles).get(mint, [])
    inside = [] if finer is None else candles_by_mint(finer).get(mint, [])
    known = Call(call["call_id"], call["caller"], mint, call["called_at"], call)
    policies = dict.fromkeys((config.intrabar, *POLICIES))
    return {
        policy: simulate_call(
            known, seen, config.model_copy(update={"intrabar": policy, "filters": ()}), length, inside
        )
        for policy in policies
    }
