"""Which calls have candles that no market makes."""

import polars as pl

from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake import Lake
from lab_pipeline.lake.faults import find_faults


def without_faults(
    calls: pl.DataFrame, spec: BacktestSpec, lake: Lake, *, look_back_ms: int, horizon_ms: int
) -> pl.DataFrame:
    """Return the calls whose candles have none of the faults that the universe names.

    Faults after a call count as well: what cannot be told of a call is no result, whatever comes of it. So this looks
    ahead, to leave out and not to trade.

    Args:
        calls: columns of `frames.CALLS`.
        spec: with the universe and the timeframe.
        lake: that has the candles.
        look_back_ms: before a call from when its candles are read.
        horizon_ms: after it until when.
    """
    faults = find_faults(lake, spec.timeframe, calls["mint"].unique().to_list())
    named = [fault.value for fault in spec.universe.without_faults]
    faults = faults.filter(pl.col("fault").is_in(named)).select("mint", "first", "last")
    length = timeframe_ms(spec.timeframe)
    at = pl.col("called_at").to_physical()
    touched = calls.join(faults, on="mint").filter(
        pl.col("first").to_physical() < at + horizon_ms, pl.col("last").to_physical() + length > at - look_back_ms
    )
    return calls.join(touched, on="call_id", how="anti", maintain_order="left")
