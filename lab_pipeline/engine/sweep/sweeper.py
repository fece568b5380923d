"""From candles, calls and a space to the sets of a sweep: in one call, or shard by shard in flat memory."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import CandleColumns, Floats, Integers
from lab_pipeline.domain.clusters import FEWEST_CLUSTERS, NORMAL_95
from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.domain.filters import COUNTED
from lab_pipeline.domain.space import Space
from lab_pipeline.domain.strategy import StrategyConfig, minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine import history, kernel
from lab_pipeline.engine.calls import CallBook
from lab_pipeline.engine.fitting import misfits, without_a_pool
from lab_pipeline.engine.runner import FinerSource, Shard, chunks
from lab_pipeline.engine.shards import (
    CallsByMint,
    check_candles,
    check_columns,
    check_options,
    check_unique,
    laid_out,
)
from lab_pipeline.engine.signals import NONE, Signal, require_signals
from lab_pipeline.engine.sweep.cells import Cells, Counts, Sums, bytes_needed, medians, totals
from lab_pipeline.engine.sweep.space import SETS_A_BLOCK, Sets
from lab_pipeline.engine.sweep.worker import CALLS_A_CHUNK, Ground, Room, Worker

ROWS_A_CHUNK = 2**25
"""Rows of their windows, at the most: bounds how long a chunk takes."""
MOST_CALLERS = 1_000
"""Callers that have cells of their own: those with most calls."""
OTHERS = "(other)"
MEMORY = 2 * 10**9
"""Bytes that the cells may take where nobody says it."""


@dataclass(frozen=True, eq=False)
class PartialSweep:
    """What came of some of the calls: all that another sweeper of the same sets and calls needs. It can be pickled.

    Attributes:
        hashes: of the sets.
        calls: how many calls its sweeper has in all.
        ranks: which of them were swept, by their place in the order of `called_at` and `call_id`.
        cells: what was counted.
    """

    hashes: tuple[str, ...]
    calls: int
    ranks: Integers
    cells: Cells


@dataclass(frozen=True, eq=False)
class Sweep:
    """What the sets of a sweep earned. The same inputs give the same bytes, however they were cut.

    Attributes:
        sets: a row a set, in the order of the space: `set_id`, `config_hash`, a column `p.` and path for each value,
            `trades, entered, wins` (Int32), `win_rate`, `expectancy` (mean net return of a trade: bit for bit that of a
            backtest's summary), `expectancy_se` and `expectancy_lower` (its standard error clustered by day, and the
            one-sided lower 95 % bound), `median_return` (approximate: of 256 bins), `profit_factor`, `hold_minutes`
            (mean), `ambiguous` (candles), `days`, `callers` (with a trade), `by_kernel` (calls that no table decided).
        days: midnights of the calls' UTC days in milliseconds since 1970, ascending. Length D.
        day_trades: trades by set and day; shape (S, D).
        day_net: sums of net returns; `day_squares` of their squares.
        reach: when the last window of a day's calls ends, in milliseconds since 1970. Length D.
        callers: names. Length C.
        caller_trades: trades by set and caller; shape (S, C). So are `caller_wins`, `caller_net`, `caller_squares`.
        reasons: trades by set and `kernel.REASONS`.
        bins: trades by set and bin of net return; `cells.bin_edges` has their ends.
        asked: points of the space; `duplicates`, `excluded` (by constraints) and `invalid` of them.
        pairs: of a call that is bought and a set; `by_kernel` of them were simulated by the kernel.
    """

    sets: pl.DataFrame
    days: Integers
    day_trades: npt.NDArray[np.int32]
    day_net: Floats
    day_squares: Floats
    reach: Integers
    callers: list[str]
    caller_trades: npt.NDArray[np.int32]
    caller_wins: npt.NDArray[np.int32]
    caller_net: Floats
    caller_squares: Floats
    reasons: Integers
    bins: npt.NDArray[np.int32]
    asked: int
    duplicates: int
    excluded: int
    invalid: int
    pairs: int
    by_kernel: int

    def day_cells(self) -> pl.DataFrame:
        """Return the cells by set and day that have trades: `set_id, day, trades, net_sum, net_sumsq`."""
        sets, days = np.nonzero(self.day_trades)
        return pl.DataFrame(
            {
                "set_id": sets.astype(np.int32),
                "day": pl.Series(self.days[days]).cast(frames.TIMESTAMP).cast(pl.Date),
                "trades": self.day_trades[sets, days],
                "net_sum": self.day_net[sets, days],
                "net_sumsq": self.day_squares[sets, days],
            }
        )

    def caller_cells(self) -> pl.DataFrame:
        """Return the cells by set and caller that have trades: `set_id, caller, trades, wins, net_sum, net_sumsq`."""
        sets, callers = np.nonzero(self.caller_trades)
        return pl.DataFrame(
            {
                "set_id": sets.astype(np.int32),
                "caller": pl.Series(self.callers, dtype=pl.String).gather(callers),
                "trades": self.caller_trades[sets, callers],
                "wins": self.caller_wins[sets, callers],
                "net_sum": self.caller_net[sets, callers],
                "net_sumsq": self.caller_squares[sets, callers],
            }
        )


def sweep(
    candles: pl.DataFrame,
    calls: pl.DataFrame,
    strategy: StrategyConfig,
    space: Space | Mapping[str, object],
    *,
    timeframe: str,
    threads: int | None = None,
    finer: Mapping[str, pl.DataFrame] | None = None,
    all_calls: pl.DataFrame | None = None,
    signals: Mapping[str, Signal] = NONE,
) -> Sweep:
    """Evaluate every set of a space on the same calls, each as a backtest would.

    Args:
        candles: as of `simulate`.
        calls: as of `simulate`.
        strategy: what is not varied.
        space: paths of the strategy and their values; see `lab_pipeline.domain.space`.
        timeframe: length of a candle, such as `1m`.
        threads: how many to use, all processors by default. The result does not depend on it.
        finer: candles by timeframe, for sets whose `intrabar` is `finer`.
        all_calls: over which filters count, `calls` by default.
        signals: functions by the names of registered conditions.

    Raises:
        LabError: naming the path of the space, the column, or the mint and time, that is not as it must be.
    """
    check_columns("candles", candles, frames.CANDLES)
    check_options("candles", candles, frames.CANDLE_OPTIONS)
    sets = Sets(strategy, space if isinstance(space, Space) else Space.parse(space))
    known = {"candles": "liquidity" in candles.columns, "calls": "liquidity_at_call" in calls.columns}
    for config in sets.readers.values():
        if problems := without_a_pool(config, **known):
            raise InvalidConfigError("strategy", problems)
    sweeper = Sweeper(
        calls,
        sets,
        timeframe=timeframe,
        threads=threads,
        finer={length: _given(frame) for length, frame in (finer or {}).items()},
        all_calls=all_calls,
        signals=signals,
    )
    names = [name for name in (*frames.CANDLES, *frames.CANDLE_OPTIONS) if name in candles.columns]
    sweeper.add(CandleColumns.from_frame(candles.select(names).sort("mint", "timestamp")))
    return sweeper.finish()


def _given(frame: pl.DataFrame) -> FinerSource:
    return lambda _: frame


class Sweeper:
    """Sweeps calls shard by shard; of a shard only sums are kept.

    The result depends neither on how mints are spread over shards nor on the order of shards, calls or threads.
    """

    def __init__(
        self,
        calls: pl.DataFrame,
        sets: Sets,
        *,
        timeframe: str,
        threads: int | None = None,
        finer: Mapping[str, FinerSource] | None = None,
        all_calls: pl.DataFrame | None = None,
        signals: Mapping[str, Signal] = NONE,
        memory: int = MEMORY,
        canceled: Callable[[], bool] = lambda: False,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Take the calls and the sets; arguments and errors as of `sweep`, but for where finer candles are from.

        Args:
            calls: those of the sweep.
            sets: what to evaluate.
            timeframe: length of a candle.
            threads: how many to use.
            finer: by timeframe, where finer candles are from.
            all_calls: over which filters count.
            signals: functions by the names of registered conditions.
            memory: bytes that the cells may take.
            canceled: asked every few milliseconds of work, on any thread.
            progress: told how many pairs of a call and a set were decided since it was told before, on any thread.

        Raises:
            LabError: if the cells would take more memory, saying what to cut.
        """
        check_columns("calls", calls, frames.CALLS)
        check_options("calls", calls, frames.CALL_OPTIONS)
        check_unique(calls)
        finer = finer or {}
        for config in (*sets.groups, *sets.readers.values()):
            if problems := misfits(config, timeframe, calls.columns, tuple(finer)):
                raise InvalidConfigError("strategy", problems)
            require_signals(config.entry.when, config.exit.when, own=signals)
        if any(map(history.counts_calls, sets.groups)) and not set(COUNTED) <= set(calls.columns):
            calls = history.count_calls(calls, calls if all_calls is None else all_calls)
        self._calls = calls.sort("called_at", "call_id")
        self._sets = sets
        self._timeframe = timeframe_ms(timeframe)
        processors: int = numba.config.NUMBA_DEFAULT_NUM_THREADS  # type: ignore[attr-defined] # set when numba is imported
        self._threads = threads or processors
        called_at = self._calls["called_at"].to_physical().to_numpy()
        self._days, self._reach, day = days_of(called_at, sets)
        self._callers, caller = _numbered(self._calls["caller"])
        _require_memory(len(sets), len(self._days), len(self._callers), memory)
        self._by_mint = CallsByMint(self._calls["mint"])
        self._plan = sets.plan(self._timeframe)
        self._cells = Cells.empty(len(sets), len(self._days), len(self._callers))
        ground = Ground(
            calls=self._calls,
            timeframe=self._timeframe,
            day=day,
            caller=caller,
            cells=self._cells,
            finer=finer,
            signals=signals,
            config_at=lambda place: sets.config(int(self._plan.order[place])),
            canceled=canceled,
            progress=progress,
            room=Room(),
        )
        self._workers = [Worker(ground, group) for group in self._plan.groups]
        self._ranks: list[Integers] = []
        self._finished = False

    def add(self, candles: CandleColumns) -> int:
        """Sweep the calls on the mints of a shard and return how many there were; argument as of `Simulator.add`.

        Raises:
            LabError: as `Simulator.add`.
            SweepCanceledError: if it was canceled meanwhile; the sweeper is of no use then.
        """
        self._require_unfinished()
        shard = Shard(candles, *laid_out(candles))
        CallBook.require_liquidity(candles)
        with ThreadPoolExecutor(self._threads) as pool:
            if candles.checked != self._timeframe:
                bounds = chunks(len(candles.mints), 1, self._threads)
                check_candles(candles, shard.columns, self._timeframe, bounds, pool)
            ranks, first, last = self._by_mint.on(candles)
            cuts = _cuts(last - first)
            try:
                list(
                    pool.map(
                        lambda begin, end: self._sweep(shard, ranks[begin:end], first[begin:end], last[begin:end]),
                        cuts[:-1],
                        cuts[1:],
                    )
                )
            except BaseException:
                self._finished = True  # some of its calls are counted, some are not
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        self._ranks.append(ranks)
        return len(ranks)

    def part(self) -> PartialSweep:
        """Return what was swept so far, for `add_part` of a sweeper of the same sets and calls, in whatever process.

        The sweeper is finished with that.
        """
        self._require_unfinished()
        self._finished = True
        return PartialSweep(tuple(self._sets.hashes), len(self._calls), self._swept(), self._cells)

    def add_part(self, part: PartialSweep) -> int:
        """Take over what another sweeper made of its part of the same calls and return how many there were.

        Raises:
            ValueError: if the part is of other sets or calls, or some of its calls were swept already.
        """
        self._require_unfinished()
        if part.calls != len(self._calls) or part.hashes != tuple(self._sets.hashes):
            raise ValueError("the part is of a sweep of other sets or calls")
        if np.isin(part.ranks, self._swept()).any():
            raise ValueError("the part has calls that were swept already")
        self._cells.merge(part.cells)
        self._ranks.append(part.ranks)
        return len(part.ranks)

    def finish(self) -> Sweep:
        """Lay out what was counted. Call it once, after the last shard."""
        self._require_unfinished()
        self._finished = True
        cells, places, sets = self._cells, self._plan.places, self._sets
        by_day, tail = cells.by_day, cells.tail
        total = totals(by_day.whole, by_day.rest)[places]
        gains = totals(tail.gain[None, :], tail.gain_rest[None, :])[places]
        losses = (tail.gain - by_day.whole.sum(axis=0) + (tail.gain_rest - by_day.rest.sum(axis=0)))[places]
        day_trades, day_net, day_squares = _laid_out(by_day, places)
        caller_trades, caller_net, caller_squares = _laid_out(cells.by_caller, places)
        caller_wins = np.ascontiguousarray(tail.wins.T[places])
        trades, wins = day_trades.sum(axis=1, dtype=np.int64), caller_wins.sum(axis=1, dtype=np.int64)
        mean, error = _ratio(total, trades), _clustered_error(day_trades, day_net)
        counted = {
            "trades": trades.astype(np.int32),
            "entered": cells.entered[places].astype(np.int32),
            "wins": wins.astype(np.int32),
            "win_rate": _ratio(wins, trades),
            "expectancy": mean,
            "expectancy_se": error,
            "expectancy_lower": mean - NORMAL_95 * error,
            "median_return": medians(tail.bins[places]),
            "profit_factor": _ratio(gains, losses),
            "hold_minutes": _ratio(cells.held[places] / kernel.MINUTE_MS, trades),
            "ambiguous": cells.ambiguous[places],
            "days": (day_trades > 0).sum(axis=1).astype(np.int32),
            "callers": (caller_trades > 0).sum(axis=1).astype(np.int32),
            "by_kernel": cells.by_kernel[places],
        }
        columns = [pl.Series(name, values, nan_to_null=True) for name, values in counted.items()]
        return Sweep(
            sets=sets.frame().with_columns(columns),
            days=self._days,
            day_trades=day_trades,
            day_net=day_net,
            day_squares=day_squares,
            reach=self._reach,
            callers=self._callers,
            caller_trades=caller_trades,
            caller_wins=caller_wins,
            caller_net=caller_net,
            caller_squares=caller_squares,
            reasons=cells.reasons[places],
            bins=tail.bins[places],
            asked=sets.asked,
            duplicates=sets.duplicates,
            excluded=sets.excluded,
            invalid=sets.invalid_count,
            pairs=int(cells.entered.sum()),
            by_kernel=int(cells.by_kernel.sum()),
        )

    def _sweep(self, shard: Shard, ranks: Integers, first: Integers, last: Integers) -> None:
        """Sweep one chunk of calls."""
        for worker in self._workers:
            worker.sweep(shard, ranks, first, last)

    def _require_unfinished(self) -> None:
        if self._finished:
            raise RuntimeError("the sweep is finished and its candles are let go: make a new Sweeper")

    def _swept(self) -> Integers:
        return np.concatenate([np.empty(0, np.int64), *self._ranks])


def _require_memory(sets: int, days: int, callers: int, memory: int) -> None:
    needed = bytes_needed(sets, days, callers)
    fitting = sets * memory // needed
    if needed > memory:
        raise LabError(
            f"{sets:,} sets on {days:,} days of {callers:,} callers take {needed / 1e9:.2f} GB of cells, at most "
            f"{memory / 1e9:.2f} GB are allowed: take values out of the space ({fitting:,} sets fit) or sweep "
            "a shorter range of calls"
        )


def days_of(called_at: Integers, sets: Sets) -> tuple[Integers, Integers, Integers]:
    """Return the UTC days of calls, all in milliseconds since 1970, when their last windows end, and each call's day.

    Windows are those of the longest horizon of any set; a call's day is its place among the days.
    """
    days, day = np.unique(called_at // history.DAY_MS * history.DAY_MS, return_inverse=True)
    reach = days.copy()
    np.maximum.at(reach, day, called_at + max(minutes_to_ms(group.horizon_minutes) for group in sets.groups))
    return days, reach, day


def _cuts(rows: Integers) -> list[int]:
    """Return where runs of calls are cut into chunks of bounded calls and rows."""
    cuts, held = [0], 0
    for call, count in enumerate(rows.tolist()):
        if call > cuts[-1] and (call - cuts[-1] == CALLS_A_CHUNK or held + count > ROWS_A_CHUNK):
            cuts.append(call)
            held = 0
        held += count
    return [*cuts, len(rows)] if len(rows) else [0]


def _numbered(callers: pl.Series) -> tuple[list[str], Integers]:
    """Return the names of callers that have cells, and the number of each call's."""
    counted = callers.value_counts(name="calls").sort(["calls", callers.name], descending=[True, False])
    names = sorted(counted[callers.name][:MOST_CALLERS])
    if len(counted) > MOST_CALLERS:
        names.append(OTHERS)
    number = {name: place for place, name in enumerate(names)}
    return names, np.array([number.get(name, len(names) - 1) for name in callers], np.int64)


def _laid_out(sums: Sums, places: Integers) -> tuple[Counts, Floats, Floats]:
    """Return trades, sums of returns and of squares by set and bucket; parts are put together in place."""
    np.add(sums.whole, sums.rest, out=sums.whole)
    np.add(sums.square, sums.square_rest, out=sums.square)
    trades = np.ascontiguousarray(sums.trades.T[places])
    return trades, np.ascontiguousarray(sums.whole.T[places]), np.ascontiguousarray(sums.square.T[places])


def _ratio(values: npt.NDArray[np.generic], by: npt.NDArray[np.generic]) -> Floats:
    """Divide, to NaN where there is nothing to divide by."""
    divided: Floats = np.divide(values, by, out=np.full(len(by), np.nan), where=by != 0)
    return divided


def _clustered_error(trades: npt.NDArray[np.int32], net: Floats) -> Floats:
    """Return the standard error of the mean net return of a trade, clustered by day; NaN below two days with trades.

    What `statistics.selection.cells.expectancy_error` gives of any group of days, which it adds up from moments; that
    loses digits which a set's own deviations keep.
    """
    errors = np.full(len(trades), np.nan)
    for begin in range(0, len(trades), SETS_A_BLOCK):
        part = slice(begin, begin + SETS_A_BLOCK)
        count, sums = trades[part], net[part]
        total, days = count.sum(axis=1), (count > 0).sum(axis=1)
        told = days >= FEWEST_CLUSTERS
        mean = sums[told].sum(axis=1) / total[told]
        left = sums[told] - count[told] * mean[:, None]
        squares = (left * left).sum(axis=1) * days[told] / (days[told] - 1)
        errors[part][told] = np.sqrt(squares) / total[told]
    return errors
