"""The same search on the same tokens at other moments: what it finds where there is nothing to find.

A placebo moves every call to a candle of its token that is a week (or three horizons) away from it at the most, as the
nulls of a backtest do, and with candles for its whole window after it: a window that the end of the data cuts short
would not be the same bet. What the call said of prices moves with the token's price. Then all sets are swept and the
best of them is chosen, by the same objective and the same minimum. A call that has no whole window itself, or whose
token has too few such candles to choose among, stays where it is.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import CandleColumns, Floats, Integers
from lab_pipeline.domain.strategy import minutes_to_ms
from lab_pipeline.engine.chance import find_moments
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.history import DAY_MS
from lab_pipeline.engine.shards import CallsByMint, laid_out
from lab_pipeline.engine.sweep import Sets, Sweep, Sweeper
from lab_pipeline.engine.sweep.cells import bytes_needed
from lab_pipeline.engine.witness import DAYS_AROUND
from lab_pipeline.lake import CandleSlice
from lab_pipeline.runs.progress import Progress
from lab_pipeline.sweeps.limits import MEMORY, callers_swept, days_swept

WITH_THE_PRICE = ("entry_price", "targets", "stop_price", "price_at_call", "market_cap_at_call")
T = TypeVar("T")
POOL = "liquidity_at_call"
"""It goes with the root of the price."""


def best_of_placebos(  # noqa: PLR0917 - a sweep, and what is asked of it
    number: int,
    calls: pl.DataFrame,
    sets: Sets,
    open_candles: Callable[[], CandleSlice],
    sweeper: Callable[[pl.DataFrame, CandleSlice], Sweeper],
    best: Callable[[Sweep], T],
    *,
    seed: int,
    memory: int = MEMORY,
    on_progress: Progress | None = None,
) -> list[T]:
    """Return what is best of each placebo.

    Args:
        number: of placebos.
        calls: that select.
        sets: that are swept.
        open_candles: gives the candles of the sweep; they are read once to choose the moments, then once for as many
            placebos as may be held at once.
        sweeper: makes one of moved calls.
        best: of a sweep.
        seed: of the moments.
        memory: bytes that the cells of all placebos that are held at once may take.
        on_progress: called with the placebos that are as good as done, by the candles read, and the placebos in all.
    """
    calls = calls.sort("called_at", "call_id")
    horizon = max(minutes_to_ms(group.horizon_minutes) for group in sets.groups)
    with open_candles() as candles:
        times, scales = moments(calls, horizon, candles, number, seed)
    days = days_swept(calls["called_at"], placebos=True)
    at_once = max(1, memory // bytes_needed(len(sets), days, callers_swept(calls["caller"])))
    found: list[T] = []
    for begin in range(0, number, at_once):
        part = range(begin, min(begin + at_once, number))
        candles = open_candles()
        sweepers = [sweeper(moved(calls, times[:, one], scales[:, one]), candles) for one in part]
        read = 0
        with candles:
            for shard in candles:
                for one in sweepers:
                    one.add(shard)
                read += len(shard)
                if on_progress:
                    on_progress(begin + len(part) * read // max(read, candles.rows_planned), number)
        found += [best(one.finish()) for one in sweepers]
        if on_progress:
            on_progress(len(found), number)
    return found


def moments(
    calls: pl.DataFrame, horizon: int, candles: Iterable[CandleColumns], number: int, seed: int
) -> tuple[Integers, Floats]:
    """Return when each call of each placebo is, in milliseconds, and its price by that at the call: (calls, number).

    Args:
        calls: sorted by `called_at` and `call_id`.
        horizon: the longest of any set, in milliseconds.
        candles: of their tokens.
        number: of placebos.
        seed: of what is drawn.
    """
    called_at = readonly(calls["called_at"].to_physical().to_numpy().astype(np.int64))
    times = np.repeat(called_at[:, None], number, axis=1)
    scales = np.ones(times.shape)
    drawn = np.random.Generator(np.random.PCG64([seed, 1])).integers(0, 2**32, size=times.shape, dtype=np.uint32)
    around = max(DAYS_AROUND * DAY_MS, 3 * horizon)
    span = int(called_at[0]), int(called_at[-1])
    by_mint = CallsByMint(calls["mint"])
    for shard in candles:
        columns, _ = laid_out(shard)
        ranks, first, last = by_mint.on(shard)
        rows, at_call = find_moments(
            columns.timestamp,
            readonly(called_at[ranks]),
            first,
            last,
            horizon,
            0,  # whole is a window whose end the token's last candle does not open before
            around,
            *span,
            readonly(drawn[ranks]),
        )
        moved = at_call >= 0
        there = rows[moved]
        times[ranks[moved]] = columns.timestamp[there]
        scales[ranks[moved]] = columns.open[there] / columns.open[at_call[moved]][:, None]
    return times, scales


def moved(calls: pl.DataFrame, times: Integers, scales: Floats) -> pl.DataFrame:
    """Return calls at other moments, what they said of prices moved with the price."""
    scale = pl.lit(pl.Series("scale", scales))
    said = [(pl.col(name) * scale).alias(name) for name in WITH_THE_PRICE if name in calls.columns]
    said += [(pl.col(POOL) * scale.sqrt()).alias(POOL)] if POOL in calls.columns else []
    return calls.with_columns(pl.Series("called_at", times).cast(frames.TIMESTAMP), *said)
