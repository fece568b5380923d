"""The same search on the same tokens at other moments: what it finds where there is nothing to find.

A placebo moves every call to a candle of its token that is at least a horizon away from it, and a week (or three
horizons) at the most, as the nulls of a backtest do, and with candles for its whole window after it: a window that the
end of the data cuts short would not be the same bet. What the call said of prices moves with the token's price. Then
all sets are swept and the best of them is chosen, by the same objective and the same minimum. A call whose token has
too few such candles to choose among stays where it is.
"""

from collections.abc import Callable

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.strategy import minutes_to_ms
from lab_pipeline.engine.chance import find_moments
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.history import DAY_MS
from lab_pipeline.engine.shards import CallsByMint, laid_out
from lab_pipeline.engine.sweep import Sets, Sweep, Sweeper
from lab_pipeline.engine.sweep.cells import bytes_needed
from lab_pipeline.engine.sweep.sweeper import MEMORY
from lab_pipeline.engine.witness import DAYS_AROUND
from lab_pipeline.lake import CandleSlice
from lab_pipeline.runs.progress import Progress

WITH_THE_PRICE = ("entry_price", "targets", "stop_price", "price_at_call", "market_cap_at_call")
POOL = "liquidity_at_call"
"""It goes with the root of the price."""


def best_of_placebos(  # noqa: PLR0917 - a sweep, and what is asked of it
    number: int,
    calls: pl.DataFrame,
    sets: Sets,
    open_candles: Callable[[], CandleSlice],
    sweeper: Callable[[pl.DataFrame, CandleSlice], Sweeper],
    best: Callable[[Sweep], float],
    *,
    seed: int,
    on_progress: Progress | None = None,
) -> Floats:
    """Return the best objective of each placebo, minus infinity where no set may win; shape (number,).

    Args:
        number: of placebos.
        calls: that select.
        sets: that are swept.
        open_candles: gives the candles of the sweep; they are read once to choose the moments, then once for as many
            placebos as may be held at once.
        sweeper: makes one of moved calls.
        best: gives the best objective of a sweep.
        seed: of the moments.
        on_progress: called with the placebos that are done and the placebos in all.
    """
    calls = calls.sort("called_at", "call_id")
    times, scales = _moments(calls, sets, open_candles(), number, seed)
    days = len(calls["called_at"].dt.date().unique())
    at_once = max(1, MEMORY // bytes_needed(len(sets), days, calls["caller"].n_unique()))
    found: list[float] = []
    for begin in range(0, number, at_once):
        part = range(begin, min(begin + at_once, number))
        candles = open_candles()
        sweepers = [sweeper(_moved(calls, times[:, one], scales[:, one]), candles) for one in part]
        with candles:
            for shard in candles:
                for one in sweepers:
                    one.add(shard)
        for one in sweepers:
            found.append(best(one.finish()))
            if on_progress:
                on_progress(len(found), number)
    return np.array(found)


def _moments(calls: pl.DataFrame, sets: Sets, candles: CandleSlice, number: int, seed: int) -> tuple[Integers, Floats]:
    """Return when each call of each placebo is, in milliseconds, and its price by that at the call: (calls, number)."""
    called_at = readonly(calls["called_at"].to_physical().to_numpy().astype(np.int64))
    times = np.repeat(called_at[:, None], number, axis=1)
    scales = np.ones(times.shape)
    drawn = np.random.Generator(np.random.PCG64([seed, 1])).integers(0, 2**32, size=times.shape, dtype=np.uint32)
    horizon = max(minutes_to_ms(group.horizon_minutes) for group in sets.groups)
    around = max(DAYS_AROUND * DAY_MS, 3 * horizon)
    span = int(called_at[0]), int(called_at[-1])
    by_mint = CallsByMint(calls["mint"])
    with candles:
        for shard in candles:
            columns, _ = laid_out(shard)
            ranks, first, last = by_mint.on(shard)
            fitting = _last_fitting(columns.timestamp, first, last, horizon)
            rows, at_call = find_moments(
                columns.timestamp,
                readonly(called_at[ranks]),
                first,
                fitting,
                horizon,
                around,
                *span,
                readonly(drawn[ranks]),
            )
            moved = at_call >= 0
            there = rows[moved]
            times[ranks[moved]] = columns.timestamp[there]
            scales[ranks[moved]] = columns.open[there] / columns.open[at_call[moved]][:, None]
    return times, scales


def _last_fitting(timestamp: Integers, first: Integers, last: Integers, horizon: int) -> Integers:
    """Return the row after the last from which a whole window is before the token's last candle, for each call."""
    fitting = first.copy()
    begins, places = np.unique(first, return_index=True)
    for begin, end in zip(begins.tolist(), last[places].tolist(), strict=True):
        if end == begin:
            continue  # no candle of it is there
        fits = np.searchsorted(timestamp[begin:end], timestamp[end - 1] - horizon, side="right")
        fitting[first == begin] = begin + fits
    return readonly(fitting)


def _moved(calls: pl.DataFrame, times: Integers, scales: Floats) -> pl.DataFrame:
    """Return calls at other moments, what they said of prices moved with the price."""
    scale = pl.lit(pl.Series("scale", scales))
    said = [(pl.col(name) * scale).alias(name) for name in WITH_THE_PRICE if name in calls.columns]
    said += [(pl.col(POOL) * scale.sqrt()).alias(POOL)] if POOL in calls.columns else []
    return calls.with_columns(pl.Series("called_at", times).cast(frames.TIMESTAMP), *said)
