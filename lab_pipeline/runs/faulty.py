"""Which calls have candles that no market makes."""

import polars as pl

from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.domain.strategy import StrategyConfig, minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine.history import look_back_ms
from lab_pipeline.lake import Lake
from lab_pipeline.lake.faults import find_faults


def without_faults(calls: pl.DataFrame, config: StrategyConfig, spec: BacktestSpec, lake: Lake) -> pl.DataFrame:
    """Return the calls whose candles have none of the faults that the universe names.

    Faults after a call count as well: what cannot be told of a call is no result, whatever comes of it. So this looks
    ahead, to leave out and not to trade.

    Args:
        calls: columns of `frames.CALLS`.
        config: says from when to when candles of a call are read.
        spec: with the universe and the timeframe.
        lake: that has the candles.
    """
    faults = find_faults(lake, spec.timeframe, calls["mint"].unique().to_list())
    named = [fault.value for fault in spec.universe.without_faults]
    faults = faults.filter(pl.col("fault").is_in(named)).select("mint", "first", "last")
    length = timeframe_ms(spec.timeframe)
    before = look_back_ms(config, length)
    after = minutes_to_ms(config.horizon_minutes)
    at = pl.col("called_at").to_physical()
    touched = calls.join(faults, on="mint").filter(
        pl.col("first").to_physical() < at + after, pl.col("last").to_physical() + length > at - before
    )
    return calls.join(touched, on="call_id", how="anti", maintain_order="left")
