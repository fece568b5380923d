"""The closes that value positions: what is kept of the candles until the portfolio has been run."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.engine.compiled import compiled, readonly

Records = npt.NDArray[np.void]


class Marks(NamedTuple):
    """Closes, and times of candles: where a trade's begin is in its record, in `mark` and `mark_time`."""

    closes: Floats
    times: Integers


NO_MARKS = Marks(np.empty(0, np.float64), np.empty(0, np.int64))


class MarkStore:
    """Holds the closes from entry to exit of trades, shard by shard, and brings those together that are asked for.

    The times are held for shards in which some trade met a gap; without gaps they follow from the entry time.
    Closes that trades share are held once, so that memory is bounded by the candles read.
    """

    def __init__(self, timeframe: int) -> None:
        """Take the length of a candle in milliseconds."""
        self._timeframe = timeframe
        self._shards: list[Marks] = []

    def add(self, timestamp: Integers, close: Floats, trades: Records) -> None:
        """Keep what a shard's trades need: the columns as they are if that is most of them, else a copy of a part.

        Args:
            timestamp: of the shard's candles, by row.
            close: likewise.
            trades: records of `kernel.TRADE`; `shard` and `mark` are set to the place of the entry candle's close.
        """
        trades["shard"] = len(self._shards)
        trades["mark"] = trades["entry_row"]
        marks = Marks(close, timestamp if self._with_gaps(trades).any() else NO_MARKS.times)
        stretches = Stretches.of(trades)
        if 2 * stretches.rows < len(close):
            kept = Marks(
                np.empty(stretches.rows, np.float64), np.empty(stretches.rows if len(marks.times) else 0, np.int64)
            )
            stretches.copy(marks, kept)
            trades["mark"] = stretches.places
            marks = kept
        self._shards.append(marks)

    @property
    def shards(self) -> list[Marks]:
        """What is held, shard by shard: the index of each is in `shard` of its trades."""
        return list(self._shards)

    def take_over(self, shards: list[Marks], trades: Records) -> None:
        """Hold the marks of another store, too.

        Args:
            shards: of the other store.
            trades: records of `kernel.TRADE` that its `add` was given; their `shard` is set to the place here.
        """
        trades["shard"] += len(self._shards)
        self._shards += shards

    def collect(self, trades: Records, wanted: npt.NDArray[np.bool_], threads: int) -> Marks:
        """Return the closes of the wanted trades in one piece and let go of all others. Call it once.

        Args:
            trades: records of `kernel.TRADE` of all shards; `mark` and `mark_time` of the wanted ones are set to
                their places in what is returned, `mark_time` to -1 where the candles follow without a gap.
            wanted: which trades.
            threads: that copy, shard by shard.
        """
        chosen = [np.flatnonzero(wanted & (trades["shard"] == shard)) for shard in range(len(self._shards))]
        stretches = [Stretches.of(trades[part]) for part in chosen]
        timed = [part.rows if len(marks.times) else 0 for part, marks in zip(stretches, self._shards, strict=True)]
        collected = Marks(np.empty(sum(part.rows for part in stretches), np.float64), np.empty(sum(timed), np.int64))
        begins = np.cumsum([0, *(part.rows for part in stretches)])
        begin_times = np.cumsum([0, *timed])

        def copy(shard: int) -> None:
            target = Marks(
                collected.closes[begins[shard] : begins[shard + 1]],
                collected.times[begin_times[shard] : begin_times[shard + 1]],
            )
            stretches[shard].copy(self._shards[shard], target)
            self._shards[shard] = NO_MARKS

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(copy, range(len(self._shards))))
        for part, stretch, begin, begin_time in zip(chosen, stretches, begins, begin_times, strict=False):
            trades["mark"][part] = begin + stretch.places
            trades["mark_time"][part] = np.where(self._with_gaps(trades[part]), begin_time + stretch.places, -1)
        return collected

    def _with_gaps(self, trades: Records) -> npt.NDArray[np.bool_]:
        """Tell the trades whose candles do not all follow one another; candles never overlap, so the ends tell."""
        rows = trades["exit_row"] - trades["entry_row"]
        gaps: npt.NDArray[np.bool_] = trades["exit_time"] - trades["entry_time"] != rows * self._timeframe
        return gaps


class Stretches(NamedTuple):
    """Rows of a shard's marks that trades need, and where they go when they are copied: shared rows once.

    Attributes:
        first: first row, by trade; `last` is the last.
        order: the trades, ascending by `first`.
        places: where the first row goes, by trade.
        rows: how many there are in all.
    """

    first: Integers
    last: Integers
    order: Integers
    places: Integers
    rows: int

    @classmethod
    def of(cls, trades: Records) -> "Stretches":
        """Lay out what the trades need."""
        first = trades["mark"].copy()
        last = first + (trades["exit_row"] - trades["entry_row"])
        order = np.argsort(first, kind="stable")
        places, count = _lay_out(first, last, order)
        return cls(first, last, order, places, int(count))

    def copy(self, marks: Marks, target: Marks) -> None:
        """Copy the rows; times only if the target has room for them."""
        _copy_rows(readonly(marks.closes), self.first, self.last, self.order, target.closes)
        if len(target.times):
            _copy_rows(readonly(marks.times), self.first, self.last, self.order, target.times)


@compiled
def _lay_out(first: Integers, last: Integers, order: Integers) -> tuple[Integers, int]:
    """Place stretches of rows one after the other, rows that several share once.

    Args:
        first: first row of every stretch.
        last: last row.
        order: indices of the stretches, ascending by `first`.

    Returns:
        The place of the first row of every stretch, and the number of places.
    """
    places = np.empty(len(first), np.int64)
    count, end = 0, -1
    for index in order:
        if first[index] > end:
            places[index] = count
            count += last[index] + 1 - first[index]
            end = last[index]
        else:
            places[index] = count - (end + 1 - first[index])
            count += max(0, last[index] - end)
            end = max(end, last[index])
    return places, count


@compiled
def _copy_rows(
    values: Floats | Integers, first: Integers, last: Integers, order: Integers, target: Floats | Integers
) -> None:
    """Copy the rows of all stretches to where `_lay_out` places them."""
    place, end = 0, -1
    for index in order:
        begin = max(first[index], end + 1)
        rows = max(0, last[index] + 1 - begin)
        for row in range(rows):
            target[place + row] = values[begin + row]
        place += rows
        end = max(end, last[index])
