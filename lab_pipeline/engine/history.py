"""What is known of a call before its entry, and how far back that looks.

Where the contract leaves room:

- Average true ranges and signals look at candles that opened within `REACH` times as many candle lengths as they need
  before the entry candle, or before the call, and a day at least: older ones say nothing about the entry. So a call
  is simulated the same way whatever else is read with it.
- Calls are counted in the order of called_at and call_id; the age of a token counts from the first call on it.
"""

import polars as pl

from lab_pipeline.domain.conditions import (
    Breakout,
    Condition,
    EmaCross,
    IchimokuCross,
    Registered,
    Rsi,
    SmaCross,
    VolumeSpike,
    When,
)
from lab_pipeline.domain.filters import COUNTED
from lab_pipeline.domain.strategy import AmmImpact, AtrDistance, StrategyConfig

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
REACH = 10
POOL_AGE_MS = HOUR_MS
"""Age up to which a candle's liquidity is believed, from its close."""


def reach_of(needed: int, timeframe: int) -> int:
    """Return how far back, in milliseconds, something looks that needs so many candles."""
    return max(DAY_MS, REACH * needed * timeframe)


def true_range_reach(distance: AtrDistance, timeframe: int) -> int:
    """Return how long before the entry candle, in milliseconds, the candles of an average true range may open."""
    return reach_of(distance.atr.n + 1, timeframe)


def signal_reach(when: When, timeframe: int) -> int:
    """Return how long before the call, in milliseconds, the candles of its conditions may open."""
    return reach_of(max(candles_needed(condition) for condition in when.conditions), timeframe)


def candles_needed(condition: Condition) -> int:
    """Return the number of candles from which on a condition can be true."""
    match condition:
        case EmaCross() | SmaCross():
            return condition.slow + 1
        case Rsi() | Breakout() | VolumeSpike():
            return condition.n + 1
        case IchimokuCross():
            return condition.kijun + 1
        case Registered():
            return condition.warm_up + 1


def look_back_ms(config: StrategyConfig, timeframe: int) -> int:
    """Return how long before a call, in milliseconds, candles may open that its simulation uses.

    An hour for the features of every path; more only for a strategy that has a rule for which it is needed.
    """
    trailing = config.exit.trailing
    distances = (config.exit.stop_loss, trailing.distance if trailing else None)
    reaches = [HOUR_MS, *(true_range_reach(one, timeframe) for one in distances if isinstance(one, AtrDistance))]
    reaches += [signal_reach(when, timeframe) for when in (config.entry.when, config.exit.when) if when is not None]
    if isinstance(config.costs.impact, AmmImpact):
        reaches.append(POOL_AGE_MS + timeframe)
    return max(reaches)


def counts_calls(config: StrategyConfig) -> bool:
    """Return whether a filter asks for something that is counted over all calls."""
    return any(one.field in COUNTED for one in config.filters)


def count_calls(calls: pl.DataFrame, among: pl.DataFrame) -> pl.DataFrame:
    """Return the calls with the columns of `filters.COUNTED`.

    Args:
        calls: columns of `frames.CALLS`.
        among: every call that there is, columns of `frames.CALLS`; those of `calls` that are missing count as well.
    """
    keys = ["call_id", "caller", "mint", "called_at"]
    ordered = (
        pl.concat([among.select(keys), calls.select(keys)])
        .unique("call_id", maintain_order=True)
        .sort("called_at", "call_id")
    )
    counted = ordered.select(
        "call_id",
        ((pl.col("called_at") - pl.col("called_at").first().over("mint")).dt.total_milliseconds() / MINUTE_MS).alias(
            "token_age_minutes"
        ),
        (pl.int_range(pl.len()).over("mint") + 1).cast(pl.Float64).alias("call_number_on_token"),
        pl.int_range(pl.len()).over("caller").cast(pl.Float64).alias("caller_calls_before"),
    )
    return calls.drop(COUNTED, strict=False).join(counted, on="call_id", how="left", maintain_order="left")
