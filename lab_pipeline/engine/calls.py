"""What the calls bring, as the kernel takes it, and which of them are not entered for it."""

from collections.abc import Mapping
from functools import reduce
from operator import and_
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import CandleColumns, Floats, Integers
from lab_pipeline.domain.conditions import When
from lab_pipeline.domain.enums import EntryKind, ExitUse
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.filters import MEASURED, Filter
from lab_pipeline.domain.strategy import AmmImpact, StrategyConfig, minutes_to_ms
from lab_pipeline.engine import kernel, signals
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.history import signal_reach
from lab_pipeline.engine.kernel import Candles, FinerCandles, Heard, Records

T = TypeVar("T", bound=np.generic)

HOURS_A_DAY = 24
NO_INTEGERS: Integers = readonly(np.empty(0, np.int64))
NO_FLOATS: Floats = readonly(np.empty(0, np.float64))
NO_FINER = FinerCandles(NO_INTEGERS, NO_FLOATS, NO_FLOATS, NO_FLOATS)
NOT_HEARD = Heard(NO_INTEGERS, NO_INTEGERS, readonly(np.empty(0, np.bool_)))


class CallBook:
    """The calls of a simulation, by rank: their place in the order of called_at and call_id.

    Attributes:
        tokens: number of each call's mint.
        not_long: the calls that are not to buy.
    """

    def __init__(
        self,
        calls: pl.DataFrame,
        config: StrategyConfig,
        timeframe: int,
        own_signals: Mapping[str, signals.Signal] = signals.NONE,
    ) -> None:
        """Take the calls, in their order, and what the strategy asks of them."""
        self._own_signals = own_signals
        self._calls = calls
        self._config = config
        self._timeframe = timeframe
        self.tokens: Integers = calls["mint"].rank("dense").cast(pl.Int64).to_numpy() - 1
        self.not_long: npt.NDArray[np.bool_] = np.zeros(len(calls), np.bool_)
        if "direction" in calls.columns:
            self.not_long = (calls["direction"] != "long").fill_null(value=False).to_numpy()
        self._called_at: Integers = calls["called_at"].to_physical().to_numpy()
        planned = config.exit.use is ExitUse.SIGNAL
        self._entry_price = self._numbers("entry_price", wanted=config.entry.kind is EntryKind.SIGNAL)
        self._stop_price = self._numbers("stop_price", wanted=planned)
        self._liquidity = self._numbers("liquidity_at_call", wanted=isinstance(config.costs.impact, AmmImpact))
        self._target_ends, self._targets = self._posted() if planned else (NO_INTEGERS, NO_FLOATS)

    def of(self, ranks: Integers, first: Integers, last: Integers, candles: Candles) -> kernel.Calls:
        """Return some calls for the kernel.

        Args:
            ranks: which.
            first: row of each one's mint.
            last: row after the last of each one's mint.
            candles: the shard that they are on.
        """
        called_at = self._called_at[ranks]
        first_target, last_target = NO_INTEGERS, NO_INTEGERS
        if len(self._target_ends):
            first_target, last_target = self._target_ends[ranks], self._target_ends[ranks + 1]
        return kernel.Calls(
            called_at=readonly(called_at),
            first_row=first,
            last_row=last,
            entry_price=_taken(self._entry_price, ranks),
            stop_price=_taken(self._stop_price, ranks),
            first_target=readonly(first_target),
            last_target=readonly(last_target),
            targets=self._targets,
            liquidity=_taken(self._liquidity, ranks),
            enter=self._hear(self._config.entry.when, called_at, first, last, candles),
            leave=self._hear(self._config.exit.when, called_at, first, last, candles),
            first_finer=readonly(np.zeros(len(ranks), np.int64)),
            last_finer=readonly(np.zeros(len(ranks), np.int64)),
        )

    def hear_tokens(self, first: Integers, last: Integers, candles: Candles) -> tuple[Heard, Heard]:
        """Ask the conditions of entry and exit about all candles of the calls' tokens, for whatever moment of them."""
        return (
            self._hear_tokens(self._config.entry.when, first, last, candles),
            self._hear_tokens(self._config.exit.when, first, last, candles),
        )

    def refuse(self, ranks: Integers, records: Records) -> npt.NDArray[np.bool_]:
        """Tell which calls are not entered for what they are, and write it to their records (`kernel.CALL`)."""
        refused = self.not_long[ranks]
        records["outcome"][refused] = kernel.NOT_LONG
        if self._config.filters:
            bought = ~refused & (records["outcome"] != kernel.NO_CANDLES) & (records["outcome"] != kernel.NO_ENTRY)
            filtered = bought & ~self._fit(ranks, records)
            records["outcome"][filtered] = kernel.FILTERED
            refused |= filtered
        return refused

    @staticmethod
    def require_liquidity(candles: CandleColumns) -> None:
        """Hold a shard's liquidity to its rules.

        Raises:
            LabError: naming the mint of a candle with a liquidity below 0.
        """
        if candles.liquidity is not None and (candles.liquidity < 0).any():
            row = int(np.argmax(candles.liquidity < 0))
            mint = candles.mints[int(np.searchsorted(candles.offsets, row, side="right")) - 1]
            raise LabError(f"candle of {mint}: liquidity is {candles.liquidity[row]}, it must be 0 or more, or null")

    def _numbers(self, name: str, *, wanted: bool) -> Floats:
        """Return a column, NaN for null; nothing if it is not wanted."""
        if not wanted:
            return NO_FLOATS
        if name not in self._calls.columns:
            return readonly(np.full(len(self._calls), np.nan))
        return readonly(self._calls[name].fill_null(np.nan).to_numpy())

    def _posted(self) -> tuple[Integers, Floats]:
        """Return the ends of each call's targets, a 0 before the first, and all of their prices."""
        if "targets" not in self._calls.columns:
            return np.zeros(len(self._calls) + 1, np.int64), NO_FLOATS
        posted = self._calls["targets"].list.drop_nulls()
        counts = posted.list.len().fill_null(0).cast(pl.Int64).to_numpy()
        prices = posted.filter(posted.list.len() > 0).explode().to_numpy()
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), readonly(np.ascontiguousarray(prices))

    def _hear(self, when: When | None, called_at: Integers, first: Integers, last: Integers, candles: Candles) -> Heard:
        """Ask conditions about the candles of calls; calls whose candles begin alike share the answers."""
        if when is None:
            return NOT_HEARD
        since = called_at - signal_reach(when, self._timeframe)
        until = called_at + minutes_to_ms(self._config.horizon_minutes)
        begins, ends = np.empty(len(called_at), np.int64), np.empty(len(called_at), np.int64)
        for call in range(len(called_at)):
            times = candles.timestamp[first[call] : last[call]]
            begins[call], ends[call] = first[call] + np.searchsorted(times, (since[call], until[call]))
        said = [np.empty(0, np.bool_)]
        places = np.empty(len(called_at), np.int64)
        place = 0
        for begin in np.unique(begins):
            alike = begins == begin
            places[alike] = place
            end = int(ends[alike].max())
            if end > begin:
                said.append(signals.holds(when, _frame(candles, int(begin), end), self._own_signals))
                place += end - int(begin)
        return Heard(readonly(begins), readonly(places), readonly(np.concatenate(said)))

    def _hear_tokens(self, when: When | None, first: Integers, last: Integers, candles: Candles) -> Heard:
        if when is None or not len(first):
            return NOT_HEARD
        begins, places = np.unique(first, return_inverse=True)
        ends = np.zeros(len(begins), np.int64)
        ends[places] = last
        said = [
            signals.holds(when, _frame(candles, begin, end), self._own_signals)
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ]
        starts = np.cumsum(ends - begins) - (ends - begins)
        return Heard(readonly(first), readonly(starts[places]), readonly(np.concatenate(said)))

    def _fit(self, ranks: Integers, records: Records) -> npt.NDArray[np.bool_]:
        """Tell which calls pass every filter."""
        known = self._calls.select(pl.all().gather(ranks)).with_columns(
            *(pl.Series(name, records[name].copy()).fill_nan(None) for name in MEASURED if name != "hour_of_day"),
            hour_of_day=pl.Series(records["entry_time"] // kernel.HOUR_MS % HOURS_A_DAY).cast(pl.Float64),
        )
        holds = reduce(and_, (_holds(one) for one in self._config.filters))
        fit: npt.NDArray[np.bool_] = known.select(holds.fill_null(value=False)).to_series().to_numpy()
        return fit


def ranges(starts: Integers, lengths: npt.NDArray[np.integer]) -> Integers:
    """Return starts[0], starts[0] + 1, ... of every range, one range after the other."""
    before = np.cumsum(lengths, dtype=np.int64) - lengths
    every: Integers = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
    return every


def picked(calls: kernel.Calls, which: slice | Integers) -> kernel.Calls:
    """Return some of the calls: what is kept by call is cut, if there is any."""

    def cut(values: npt.NDArray[T]) -> npt.NDArray[T]:
        return readonly(values[which]) if len(values) else values

    def cut_heard(heard: kernel.Heard) -> kernel.Heard:
        return kernel.Heard(cut(heard.first_row), cut(heard.place), heard.said)

    return kernel.Calls(
        called_at=cut(calls.called_at),
        first_row=cut(calls.first_row),
        last_row=cut(calls.last_row),
        entry_price=cut(calls.entry_price),
        stop_price=cut(calls.stop_price),
        first_target=cut(calls.first_target),
        last_target=cut(calls.last_target),
        targets=calls.targets,
        liquidity=cut(calls.liquidity),
        enter=cut_heard(calls.enter),
        leave=cut_heard(calls.leave),
        first_finer=cut(calls.first_finer),
        last_finer=cut(calls.last_finer),
    )


def _holds(one: Filter) -> pl.Expr:
    value = pl.col(one.field)
    holds = value.is_not_null()
    if one.min is not None:
        holds &= value >= one.min
    if one.max is not None:
        holds &= value <= one.max
    if one.in_ is not None:
        holds &= value.is_in(list(one.in_))
    return holds


def _taken(values: Floats, ranks: Integers) -> Floats:
    return readonly(values[ranks]) if len(values) else values


def _frame(candles: Candles, begin: int, end: int) -> pl.DataFrame:
    columns = {name: getattr(candles, name)[begin:end] for name in signals.COLUMNS}
    return pl.DataFrame(columns).with_columns(pl.col("timestamp").cast(frames.TIMESTAMP))
