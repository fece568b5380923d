"""The path metrics of the calls that entered, as a frame; `kernel` measures them.

Where the contract leaves room: the all-time high starts at the entry price itself, so `ath_multiple` is at least 1
and `time_to_ath_minutes` 0 if the price is never exceeded. The features known before the entry use the candles of
the mint that open within the hour before the entry candle does: `pre_return_1h` from the first open to the last close,
`pre_volatility_1h` the deviation (ddof 1) of the log returns of consecutive closes, null with fewer than two,
`pre_volume_1h` the sum of the volumes; all null without candles.
"""

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.engine.kernel import CALL, ENTERED, HOUR_MS, Records

METRICS = [name for name in frames.PATHS if name in (CALL.names or ())]
HOURS_A_DAY = 24


def paths_frame(calls: pl.DataFrame, records: Records) -> pl.DataFrame:
    """Lay out the path metrics, one row a call that entered.

    Args:
        calls: columns of `frames.CALLS`, in the order of the rows to return.
        records: what the kernel wrote about each of them (`kernel.CALL`).
    """
    entered = records["outcome"] == ENTERED
    measured = records[entered]
    return (
        calls.filter(entered)
        .select("call_id", "caller", "mint")
        .with_columns(*(pl.Series(name, measured[name].copy()).fill_nan(None) for name in METRICS))
        .with_columns(pl.Series("hour_of_day", measured["entry_time"] // HOUR_MS % HOURS_A_DAY, pl.Int32))
        .select(frames.PATHS.names())
    )
