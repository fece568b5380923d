"""From candles and calls to a simulation: in one call, or shard by shard in flat memory."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import CandleColumns, Integers
from lab_pipeline.domain.enums import Side
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.filters import COUNTED
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine import history, kernel
from lab_pipeline.engine.calls import CallBook, ranges
from lab_pipeline.engine.fitting import misfits, without_a_pool
from lab_pipeline.engine.kernel import Records
from lab_pipeline.engine.lanes import Taken, lanes_frame
from lab_pipeline.engine.mark_prices import Marks, MarkStore
from lab_pipeline.engine.nulls import nulls_frame
from lab_pipeline.engine.paths import paths_frame
from lab_pipeline.engine.portfolio import SKIP_REASONS, TAKEN, Allocation, Series, run_portfolio
from lab_pipeline.engine.runner import CallRunner, FinerSource, Shard, chunks
from lab_pipeline.engine.shards import (
    CallsByMint,
    check_candles,
    check_columns,
    check_options,
    check_unique,
    laid_out,
)
from lab_pipeline.engine.signals import NONE, Signal, require_signals
from lab_pipeline.engine.simulation import Simulation
from lab_pipeline.engine.summary import DAY_MS, Bounds, summarise
from lab_pipeline.engine.witness import Evidence, Witness


def simulate(
    candles: pl.DataFrame,
    calls: pl.DataFrame,
    config: StrategyConfig,
    *,
    timeframe: str,
    seed: int = 0,
    threads: int | None = None,
    finer: pl.DataFrame | None = None,
    all_calls: pl.DataFrame | None = None,
    signals: Mapping[str, Signal] = NONE,
    doubted: bool = False,
) -> Simulation:
    """Simulate a strategy on every call, alone and in a portfolio.

    Args:
        candles: columns and types of `frames.CANDLES`, with or without `frames.CANDLE_OPTIONS`, in any order; candles
            outside the calls' windows are ignored, but for `history.look_back_ms` before a call.
        calls: columns and types of `frames.CALLS`, with any of `frames.CALL_OPTIONS`, in any order, `call_id` unique.
        config: the strategy.
        timeframe: length of a candle, such as `1m`.
        seed: of the moments and names that chance gives the calls, if that is asked for; it decides nothing else.
        threads: how many to use, all processors by default. The result does not depend on it.
        finer: candles of the strategy's finer timeframe, where it has one.
        all_calls: over which filters count, `calls` by default; unused if `calls` have the columns of
            `history.count_calls`.
        signals: functions by the names of registered conditions, which are asked before installed packages.
        doubted: whether to simulate what other fills, and chance, would have made of the calls, too.

    Raises:
        LabError: naming the column, or the mint and time, that is not as it must be.
    """
    check_columns("candles", candles, frames.CANDLES)
    check_options("candles", candles, frames.CANDLE_OPTIONS)
    known = {"candles": "liquidity" in candles.columns, "calls": "liquidity_at_call" in calls.columns}
    if problems := without_a_pool(config, **known):
        raise InvalidConfigError("strategy", problems)
    simulator = Simulator(
        calls,
        config,
        timeframe=timeframe,
        threads=threads,
        finer=None if finer is None else lambda _: finer,
        all_calls=all_calls,
        signals=signals,
        doubt_seed=seed if doubted else None,
    )
    names = [name for name in (*frames.CANDLES, *frames.CANDLE_OPTIONS) if name in candles.columns]
    columns = candles.select(names).sort("mint", "timestamp")
    simulator.add(CandleColumns.from_frame(columns))
    return simulator.finish()


@dataclass(frozen=True, eq=False)
class PartialSimulation:
    """What came of some of the calls: all that another simulator of the same calls needs to go on. It can be pickled.

    Attributes:
        calls: how many calls its simulator has in all.
        ranks: which of them were simulated, by their place in the order of `called_at` and `call_id`.
        records: of `kernel.CALL`, one for each of `ranks`.
        trades: of `kernel.TRADE`, shard by shard.
        fills: of `kernel.FILL`, in the order of the trades.
        marks: the closes that value the trades, one for each shard.
        evidence: what came of the calls under other assumptions, if that was asked for.
    """

    calls: int
    ranks: Integers
    records: Records
    trades: Records
    fills: Records
    marks: list[Marks]
    evidence: Evidence | None


class Simulator:
    """Simulates calls shard by shard; of a shard only the closes that value the positions are kept.

    The result depends neither on how mints are spread over shards nor on the order of shards or calls.
    """

    def __init__(
        self,
        calls: pl.DataFrame,
        config: StrategyConfig,
        *,
        timeframe: str,
        threads: int | None = None,
        finer: FinerSource | None = None,
        all_calls: pl.DataFrame | None = None,
        signals: Mapping[str, Signal] = NONE,
        doubt_seed: int | None = None,
    ) -> None:
        """Take the calls and the strategy; arguments and errors as of `simulate`, but for where finer candles are from.

        `doubt_seed` is the seed of what is simulated beside the calls, null if nothing is.

        Raises:
            InvalidConfigError: naming what of the strategy does not fit the timeframe, the calls or the finer candles.
        """
        check_columns("calls", calls, frames.CALLS)
        check_options("calls", calls, frames.CALL_OPTIONS)
        check_unique(calls)
        there = () if finer is None or config.finer_timeframe is None else (config.finer_timeframe,)
        if problems := misfits(config, timeframe, calls.columns, there):
            raise InvalidConfigError("strategy", problems)
        require_signals(config.entry.when, config.exit.when, own=signals)
        if history.counts_calls(config) and not set(COUNTED) <= set(calls.columns):
            calls = history.count_calls(calls, calls if all_calls is None else all_calls)
        self._calls = calls.sort("called_at", "call_id")
        self._config = config
        self._timeframe = timeframe_ms(timeframe)
        processors: int = numba.config.NUMBA_DEFAULT_NUM_THREADS  # type: ignore[attr-defined] # set when numba is imported
        self._threads = threads or processors
        self._book = CallBook(self._calls, config, self._timeframe, signals)
        self._witness, self._seed = None, doubt_seed
        if doubt_seed is not None:
            self._witness = Witness(self._calls, self._book, config, self._timeframe, doubt_seed)
        self._by_mint = CallsByMint(self._calls["mint"])
        self._runner = CallRunner(self._book, config, self._timeframe, self._threads, finer)
        self._finished = False
        self._records = np.zeros(len(calls), kernel.CALL)
        self._marks = MarkStore(self._timeframe)
        self._ranks: list[Integers] = []
        self._trades: list[Records] = []
        self._fills: list[Records] = []

    def add(self, candles: CandleColumns) -> int:
        """Simulate the calls on the mints of a shard and return how many there were.

        Args:
            candles: every candle of its mints that the calls' windows need, and `history.look_back_ms` before the
                calls. Each mint comes in one shard only. What is `checked` already is not checked again.

        Raises:
            LabError: naming the mint and time of a candle that breaks a rule, or a mint that comes twice.
        """
        self._require_unfinished()
        shard = Shard(candles, *laid_out(candles))
        self._book.require_liquidity(candles)
        with ThreadPoolExecutor(self._threads) as pool:
            if candles.checked != self._timeframe:
                bounds = chunks(len(candles.mints), 1, self._threads)
                check_candles(candles, shard.columns, self._timeframe, bounds, pool)
            ranks, first, last = self._by_mint.on(candles)
            calls = self._book.of(ranks, first, last, shard.columns)
            made, refused = self._runner.run(shard, ranks, calls, pool)
            if self._witness is not None and len(ranks):
                self._witness.add(ranks, calls, shard.columns, shard.liquidity, made.trades, made.fills, refused, pool)
        if not len(ranks):
            return 0
        self._ranks.append(ranks)
        self._records[ranks] = made.records
        trades = made.trades
        trades["call"] = ranks[trades["call"]]
        self._marks.add(shard.columns.timestamp, shard.columns.close, trades)
        self._trades.append(trades)
        self._fills.append(made.fills)
        return len(ranks)

    def part(self) -> PartialSimulation:
        """Return what was simulated so far, for `add_part` of a simulator of the same calls, in whatever process.

        The simulator is finished with that.
        """
        self._require_unfinished()
        self._finished = True
        ranks = np.concatenate([np.empty(0, np.int64), *self._ranks])
        return PartialSimulation(
            calls=len(self._calls),
            ranks=ranks,
            records=self._records[ranks],
            trades=np.concatenate([np.empty(0, kernel.TRADE), *self._trades]),
            fills=np.concatenate([np.empty(0, kernel.FILL), *self._fills]),
            marks=self._marks.shards,
            evidence=None if self._witness is None else self._witness.evidence(),
        )

    def add_part(self, part: PartialSimulation) -> int:
        """Take over what another simulator made of its part of the same calls and return how many there were.

        Raises:
            ValueError: if the part is of other calls, or some of its calls were simulated already.
        """
        self._require_unfinished()
        if part.calls != len(self._calls):
            raise ValueError(f"the part is of a simulation of {part.calls:,} calls, not of {len(self._calls):,}")
        if np.isin(part.ranks, np.concatenate([np.empty(0, np.int64), *self._ranks])).any():
            raise ValueError("the part has calls that were simulated already")
        self._ranks.append(part.ranks)
        self._records[part.ranks] = part.records
        trades = part.trades.copy()
        self._marks.take_over(part.marks, trades)
        self._trades.append(trades)
        self._fills.append(part.fills)
        if self._witness is not None and part.evidence is not None:
            self._witness.take(part.evidence)
        return len(part.ranks)

    def finish(self) -> Simulation:
        """Run the portfolio over all trades and lay out the frames. Call it once, after the last shard.

        Raises:
            LabError: if the equity series would be too long to hold.
        """
        self._require_unfinished()
        self._finished = True
        trades, fills, order = self._ordered()
        tokens = self._book.tokens[trades["call"]]
        allocation, series = run_portfolio(
            trades, fills, tokens, self._marks, self._config, self._timeframe, self._threads
        )
        self._records["outcome"][self._book.not_long] = kernel.NOT_LONG  # those without candles, too
        outcomes = self._outcomes()
        fills_frame = _fills_frame(self._calls, trades, fills, allocation)
        trades_frame = _trades_frame(self._calls, trades, allocation)
        equity = _equity_frame(series)
        certainty, nulls = self._doubted(trades, fills, order, allocation)
        return Simulation(
            fills=fills_frame,
            trades=trades_frame,
            paths=paths_frame(self._calls, self._records),
            outcomes=outcomes,
            equity=equity,
            summary=summarise(
                fills=fills_frame,
                trades=trades_frame,
                outcomes=outcomes,
                equity=equity,
                bounds=Bounds(*(trades[name].copy() for name in ("net_at_level", "net_at_low", "net_if_dead"))),
                initial_capital=self._config.portfolio.initial_capital,
                timeframe=self._timeframe,
            ),
            fill_certainty=certainty,
            nulls=nulls,
        )

    def _doubted(
        self, trades: Records, fills: Records, order: Integers, allocation: Allocation
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Lay out what other fills, and chance, would have made of the calls; empty frames if nobody asked."""
        if self._witness is None or self._seed is None:
            return pl.DataFrame(schema=frames.FILL_CERTAINTY), pl.DataFrame(schema=frames.NULLS)
        evidence = self._witness.evidence()
        days = self._calls["called_at"].to_physical().to_numpy() // DAY_MS
        capital = self._config.portfolio.initial_capital
        certainty = lanes_frame(
            trades,
            fills,
            replace(evidence, thinnest=evidence.thinnest[order]),
            self._config,
            self._timeframe,
            days=days,
            callers=self._calls["caller"].rank("dense").cast(pl.Int64).to_numpy(),
            taken=Taken(allocation.invested, float(allocation.pnl.sum()) / capital, capital),
        )
        nulls = nulls_frame(trades, evidence, self._calls, days=days, seed=self._seed, threads=self._threads)
        return certainty, nulls

    def _require_unfinished(self) -> None:
        if self._finished:
            raise RuntimeError("the simulation is finished and its candles are let go: make a new Simulator")

    def _ordered(self) -> tuple[Records, Records, Integers]:
        """Return all trades and their fills in the order of calls, and where the trades were."""
        trades = np.concatenate([np.empty(0, kernel.TRADE), *self._trades])
        fills = np.concatenate([np.empty(0, kernel.FILL), *self._fills])
        order = np.argsort(trades["call"], kind="stable")
        first_fill = np.cumsum(trades["fills"], dtype=np.int64) - trades["fills"]
        return trades[order], fills[ranges(first_fill[order], trades["fills"][order])], order

    def _outcomes(self) -> pl.DataFrame:
        return self._calls.select(
            "call_id",
            "caller",
            "mint",
            "called_at",
            _named(kernel.OUTCOMES, self._records["outcome"]).alias("outcome"),
            pl.Series("trades", self._records["trades"].copy()),
            pl.Series("ambiguous_candles", self._records["ambiguous"].copy()),
            pl.Series("ambiguous_resolved", self._records["resolved"].copy()),
        )


def _fills_frame(calls: pl.DataFrame, trades: Records, fills: Records, allocation: Allocation) -> pl.DataFrame:
    owner = np.repeat(np.arange(len(trades)), trades["fills"])
    number = ranges(np.ones(len(trades), np.int64), trades["fills"])
    bought = number == 1
    return _of_calls(calls, trades["call"][owner], ["call_id", "mint"]).with_columns(
        pl.Series("trade_no", trades["trade_no"][owner]),
        pl.Series("fill_no", number, pl.Int32),
        _times("timestamp", fills["time"]),
        _named((Side.SELL, Side.BUY), bought.astype(np.int8)).alias("side"),
        pl.Series("price", fills["price"].copy()),
        pl.Series("fraction", fills["fraction"].copy()),
        pl.Series("quantity", allocation.quantity[owner] * fills["fraction"]),
        pl.Series("fee", allocation.fee),
        _named(kernel.REASONS, fills["reason"]).alias("reason"),
        pl.Series("slippage", allocation.slippage),
        pl.Series("filled", allocation.filled),
    )


def _trades_frame(calls: pl.DataFrame, trades: Records, allocation: Allocation) -> pl.DataFrame:
    held = (trades["exit_time"] - trades["entry_time"]) / kernel.MINUTE_MS
    frame = _of_calls(calls, trades["call"], ["call_id", "caller", "mint", "called_at"]).with_columns(
        pl.Series("trade_no", trades["trade_no"].copy()),
        _times("entry_time", trades["entry_time"]),
        _times("exit_time", trades["exit_time"]),
        *(
            pl.Series(name, trades[name].copy())
            for name in ("entry_price", "exit_price", "gross_return", "net_return", "mfe", "mae")
        ),
        _named(kernel.REASONS, trades["reason"]).alias("exit_reason"),
        pl.Series("hold_minutes", held),
        pl.Series("quantity", allocation.quantity),
        pl.Series("invested", allocation.invested),
        pl.Series("pnl", allocation.pnl),
        pl.Series("taken", allocation.skipped == TAKEN),
        _named(SKIP_REASONS, allocation.skipped).alias("skip_reason"),
    )
    return frame.select(frames.TRADES.names())


def _equity_frame(series: Series) -> pl.DataFrame:
    return pl.DataFrame(
        [
            _times("timestamp", series.timestamp),
            pl.Series("equity", series.equity),
            pl.Series("cash", series.cash),
            pl.Series("exposure", series.exposure),
            pl.Series("drawdown", series.drawdown),
            pl.Series("open_positions", series.open_positions),
        ]
    )


def _of_calls(calls: pl.DataFrame, ranks: Integers, columns: list[str]) -> pl.DataFrame:
    return calls.select(pl.col(columns).gather(ranks))


def _named(names: Sequence[str | None], codes: npt.NDArray[np.int8]) -> pl.Series:
    return pl.Series([None if name is None else str(name) for name in names], dtype=pl.String).gather(
        codes.astype(np.uint32)
    )


def _times(name: str, milliseconds: Integers) -> pl.Series:
    return pl.Series(name, milliseconds.copy()).cast(frames.TIMESTAMP)
