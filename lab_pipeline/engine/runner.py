"""Some calls on a shard of candles through the kernel, with finer candles where a strategy asks for them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import CandleColumns, Floats, Integers
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine import kernel
from lab_pipeline.engine.calls import NO_FINER, CallBook, picked
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.kernel import Candles, FinerCandles, Records
from lab_pipeline.engine.rules import options_of, rules_of
from lab_pipeline.engine.shards import candle_problem, check_columns, column, laid_out

CHUNKS_A_THREAD = 4
CALLS_A_CHUNK = 64
"""Fewer calls than this are not worth a task of their own."""

FinerSource = Callable[[pl.DataFrame], pl.DataFrame]
"""Gives the finer candles, columns of `frames.CANDLES`, of the candles that it is asked for: `mint` and `timestamp` of
each."""


class Shard(NamedTuple):
    """A shard's candles as they came and as the kernel takes them; `liquidity` is empty where nobody knows it."""

    candles: CandleColumns
    columns: Candles
    liquidity: Floats


class CallRunner:
    """Simulates calls by one strategy; what it needs of the calls is in its book."""

    def __init__(
        self, book: CallBook, config: StrategyConfig, timeframe: int, threads: int, finer: FinerSource | None
    ) -> None:
        """Take the strategy; `timeframe` in milliseconds."""
        self._book = book
        self._timeframe = timeframe
        self._threads = threads
        self._finer = finer
        self._finer_timeframe = config.finer_timeframe
        self._rules, self._options = rules_of(config, timeframe), options_of(config, timeframe)

    def run(
        self, shard: Shard, ranks: Integers, calls: kernel.Calls, pool: ThreadPoolExecutor | None = None
    ) -> tuple["SimulatedCalls", npt.NDArray[np.bool_]]:
        """Simulate calls, on the threads of a pool or on this one.

        Args:
            shard: the candles.
            ranks: which calls.
            calls: what the book says of them.
            pool: for chunks of calls; the result does not depend on it.

        Returns:
            What came of them, and which of them are not entered for what they are.
        """
        made = self._run(shard, NO_FINER, calls, pool)
        refused = self._book.refuse(ranks, made.records)
        made = made.without_trades(refused)
        if self._finer is None or not len(made.opened):
            return made, refused
        return self._open_candles(self._finer, made, shard, calls, refused, pool), refused

    def _run(
        self, shard: Shard, finer: FinerCandles, calls: kernel.Calls, pool: ThreadPoolExecutor | None
    ) -> "SimulatedCalls":
        bounds = chunks(len(calls.called_at), CALLS_A_CHUNK, self._threads if pool else 1)
        parts = (pool.map if pool else map)(
            lambda begin, end: kernel.simulate_calls(
                shard.columns, shard.liquidity, finer, self._rules, self._options, picked(calls, slice(begin, end))
            ),
            bounds[:-1],
            bounds[1:],
        )
        moved = [SimulatedCalls(*part).moved(begin) for begin, part in zip(bounds, parts, strict=False)]
        return SimulatedCalls(*(np.concatenate([part[number] for part in moved]) for number in range(4)))

    def _open_candles(  # noqa: PLR0917 - what `run` holds
        self,
        source: FinerSource,
        made: "SimulatedCalls",
        shard: Shard,
        calls: kernel.Calls,
        refused: npt.NDArray[np.bool_],
        pool: ThreadPoolExecutor | None,
    ) -> "SimulatedCalls":
        """Simulate those calls again that met an ambiguous candle, with its finer candles, until none is left.

        Only the finer candles of ambiguous candles are asked for.
        """
        candles = shard.candles
        mints = np.searchsorted(candles.offsets, calls.first_row, side="right") - 1
        known = pl.DataFrame(schema=frames.CANDLES)
        asked: set[int] = set()
        while True:
            met = made.opened[~refused[made.opened["call"]]]
            new = ~np.isin(met["row"], np.fromiter(asked, np.int64, len(asked)))
            rows = np.unique(met["row"][new])
            if not len(rows):
                return made
            asked.update(rows.tolist())
            places = np.searchsorted(candles.offsets, rows, side="right") - 1
            wanted = pl.DataFrame(
                {
                    "mint": [candles.mints[place] for place in places],
                    "timestamp": pl.Series(shard.columns.timestamp[rows]).cast(frames.TIMESTAMP),
                }
            )
            found = self._cut(source(wanted), wanted)
            known = pl.concat([known, found]).unique(["mint", "timestamp"]).sort("mint", "timestamp")
            finer = CandleColumns.from_frame(known)
            again = np.unique(met["call"][new])
            some = picked(calls, again)
            first, last = _rows_of(finer, [candles.mints[mints[call]] for call in again])
            some = some._replace(first_finer=readonly(first), last_finer=readonly(last))
            arrays = (finer.open, finer.high, finer.low)
            opened = FinerCandles(column(finer.timestamp, np.int64), *(column(one, np.float64) for one in arrays))
            made = made.replaced(again, self._run(shard, opened, some, pool))

    def _cut(self, finer: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
        """Return the finer candles that lie in wanted candles, checked."""
        check_columns("finer candles", finer, frames.CANDLES)
        length = self._timeframe
        inside = (
            finer.select(frames.CANDLES.names())
            .sort("timestamp")
            .join_asof(
                wanted.sort("timestamp").select("mint", "timestamp", begin="timestamp"),
                on="timestamp",
                by="mint",
                check_sortedness=False,
            )
            .filter((pl.col("timestamp") - pl.col("begin")).dt.total_milliseconds() < length)
            .select(frames.CANDLES.names())
            .sort("mint", "timestamp")
        )
        columns = CandleColumns.from_frame(inside)
        held, _ = laid_out(columns)
        finer_ms = timeframe_ms(self._finer_timeframe or "1m")
        row = kernel.first_bad_row(held, column(columns.offsets, np.int64), finer_ms)
        if row >= 0:
            raise LabError(f"finer {candle_problem(columns, row)}")
        return inside


class SimulatedCalls(NamedTuple):
    """What came of some calls; `call` of trades and opened candles is the place among them."""

    records: Records
    trades: Records
    fills: Records
    opened: Records

    def moved(self, by: int) -> "SimulatedCalls":
        """Return it as a part of more calls, of which `by` come before."""
        self.trades["call"] += by
        self.opened["call"] += by
        return self

    def without_trades(self, refused: npt.NDArray[np.bool_]) -> "SimulatedCalls":
        """Return it without the trades of some calls."""
        if not refused.any():
            return self
        records = self.records.copy()
        for name in ("trades", "ambiguous", "resolved"):
            records[name][refused] = 0
        keep = ~refused[self.trades["call"]]
        fills = self.fills[np.repeat(keep, self.trades["fills"])]
        return SimulatedCalls(records, self.trades[keep], fills, self.opened[~refused[self.opened["call"]]])

    def replaced(self, calls: Integers, other: "SimulatedCalls") -> "SimulatedCalls":
        """Return it with what came of some calls replaced."""
        again = np.zeros(len(self.records), np.bool_)
        again[calls] = True
        kept = self.without_trades(again)
        kept.records[calls] = other.records
        trades, opened = other.trades.copy(), other.opened.copy()
        trades["call"], opened["call"] = calls[trades["call"]], calls[opened["call"]]
        return SimulatedCalls(
            kept.records,
            np.concatenate([kept.trades, trades]),
            np.concatenate([kept.fills, other.fills]),
            np.concatenate([kept.opened, opened]),
        )


def _rows_of(candles: CandleColumns, mints: Sequence[str]) -> tuple[Integers, Integers]:
    """Return the first row and the row after the last of each mint; both 0 for one without candles."""
    rows = {
        mint: (int(first), int(last))
        for mint, first, last in zip(candles.mints, candles.offsets[:-1], candles.offsets[1:], strict=True)
    }
    found = np.array([rows.get(mint, (0, 0)) for mint in mints], np.int64).reshape(-1, 2)
    return np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1])


def chunks(count: int, smallest: int, threads: int) -> list[int]:
    """Return the bounds of contiguous chunks of 0:count, some for each thread."""
    number = max(1, min(threads * CHUNKS_A_THREAD, count // smallest))
    return [count * chunk // number for chunk in range(number + 1)]
