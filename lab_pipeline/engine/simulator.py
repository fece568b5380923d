"""From candles and calls to a simulation: in one call, or shard by shard in flat memory."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import LARGEST, SMALLEST_PRICE, CandleColumns, Integers
from lab_pipeline.domain.enums import EntryKind, IntrabarPolicy, Side
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.strategy import StrategyConfig, minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine import kernel
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.kernel import Candles, Records, Rules
from lab_pipeline.engine.mark_prices import Marks, MarkStore
from lab_pipeline.engine.paths import paths_frame
from lab_pipeline.engine.portfolio import SKIP_REASONS, TAKEN, Allocation, Series, run_portfolio
from lab_pipeline.engine.simulation import Simulation
from lab_pipeline.engine.summary import summarise

FOREVER_MINUTES = 1e12
"""Longer times are cut to this, two million years, so that they fit the kernel's clock."""

CHUNKS_A_THREAD = 4
CALLS_A_CHUNK = 64
"""Fewer calls than this are not worth a task of their own."""

ENTRY_KINDS = (EntryKind.MARKET, EntryKind.DIP, EntryKind.REBOUND)
POLICIES = (IntrabarPolicy.STOP_FIRST, IntrabarPolicy.TARGET_FIRST, IntrabarPolicy.NEAREST_OPEN)

T = TypeVar("T", bound=np.generic)


def simulate(
    candles: pl.DataFrame,
    calls: pl.DataFrame,
    config: StrategyConfig,
    *,
    timeframe: str,
    seed: int = 0,
    threads: int | None = None,
) -> Simulation:
    """Simulate a strategy on every call, alone and in a portfolio.

    Args:
        candles: columns and types of `frames.CANDLES`, in any order; candles outside the calls' windows are ignored,
            but for the hour before an entry, which the features are measured on.
        calls: columns and types of `frames.CALLS`, in any order, `call_id` unique.
        config: the strategy.
        timeframe: length of a candle, such as `1m`.
        seed: of the resampling behind the confidence interval; it decides nothing else.
        threads: how many to use, all processors by default. The result does not depend on it.

    Raises:
        LabError: naming the column, or the mint and time, that is not as it must be.
    """
    _check_columns("candles", candles, frames.CANDLES)
    simulator = Simulator(calls, config, timeframe=timeframe, threads=threads)
    columns = candles.select(frames.CANDLES.names()).sort("mint", "timestamp")
    simulator.add(CandleColumns.from_frame(columns))
    return simulator.finish(seed=seed)


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
    """

    calls: int
    ranks: Integers
    records: Records
    trades: Records
    fills: Records
    marks: list[Marks]


class Simulator:
    """Simulates calls shard by shard; of a shard only the closes that value the positions are kept.

    The result depends neither on how mints are spread over shards nor on the order of shards or calls.
    """

    def __init__(
        self, calls: pl.DataFrame, config: StrategyConfig, *, timeframe: str, threads: int | None = None
    ) -> None:
        """Take the calls and the strategy; arguments and errors as of `simulate`."""
        _check_columns("calls", calls, frames.CALLS)
        self._calls = calls.select(frames.CALLS.names()).sort("called_at", "call_id")
        _check_unique(self._calls)
        self._config = config
        self._timeframe = timeframe_ms(timeframe)
        self._rules = rules_of(config, self._timeframe)
        processors: int = numba.config.NUMBA_DEFAULT_NUM_THREADS  # type: ignore[attr-defined] # set when numba is imported
        self._threads = threads or processors
        self._called_at = self._calls["called_at"].to_physical().to_numpy()
        self._by_mint, self._groups = _group_by_mint(self._calls["mint"])
        self._simulated: set[str] = set()
        self._finished = False
        self._records = np.zeros(len(calls), kernel.CALL)
        self._marks = MarkStore(self._timeframe)
        self._ranks: list[Integers] = []
        self._trades: list[Records] = []
        self._fills: list[Records] = []

    def add(self, candles: CandleColumns) -> int:
        """Simulate the calls on the mints of a shard and return how many there were.

        Args:
            candles: every candle of its mints that the calls' windows and the hour before the entries need. Each
                mint comes in one shard only. What is `checked` already is not checked again.

        Raises:
            LabError: naming the mint and time of a candle that breaks a rule, or a mint that comes twice.
        """
        self._require_unfinished()
        columns = Candles(
            _column(candles.timestamp, np.int64),
            *(_column(c, np.float64) for c in (candles.open, candles.high, candles.low, candles.close, candles.volume)),
        )
        with ThreadPoolExecutor(self._threads) as pool:
            if candles.checked != self._timeframe:
                self._check_candles(candles, columns, pool)
            ranks, first, last = self._calls_on(candles)
            called_at = readonly(self._called_at[ranks])
            bounds = self._chunks(len(ranks), CALLS_A_CHUNK)
            results = pool.map(
                lambda begin, end: kernel.simulate_calls(
                    columns, self._rules, called_at[begin:end], first[begin:end], last[begin:end]
                ),
                bounds[:-1],
                bounds[1:],
            )
            shard = list(results)
        if not len(ranks):
            return 0
        self._ranks.append(ranks)
        self._records[ranks] = np.concatenate([records for records, _, _ in shard])
        for begin, (_, trades, _) in zip(bounds, shard, strict=False):
            trades["call"] = ranks[begin + trades["call"]]
        trades = np.concatenate([trades for _, trades, _ in shard])
        self._marks.add(columns.timestamp, columns.close, trades)
        self._trades.append(trades)
        self._fills += [fills.copy() for _, _, fills in shard]
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
        return len(part.ranks)

    def finish(self, *, seed: int = 0) -> Simulation:
        """Run the portfolio over all trades and lay out the frames. Call it once, after the last shard.

        Args:
            seed: of the resampling behind the confidence interval; it decides nothing else.

        Raises:
            LabError: if the equity series would be too long to hold.
        """
        self._require_unfinished()
        self._finished = True
        trades, fills = self._ordered()
        allocation, series = run_portfolio(trades, fills, self._marks, self._config, self._timeframe, self._threads)
        outcomes = self._outcomes()
        fills_frame = _fills_frame(self._calls, trades, fills, allocation, self._rules)
        trades_frame = _trades_frame(self._calls, trades, allocation)
        equity = _equity_frame(series)
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
                initial_capital=self._config.portfolio.initial_capital,
                timeframe=self._timeframe,
                seed=seed,
                threads=self._threads,
            ),
        )

    def _require_unfinished(self) -> None:
        if self._finished:
            raise RuntimeError("the simulation is finished and its candles are let go: make a new Simulator")

    def _chunks(self, count: int, smallest: int) -> list[int]:
        """Return the bounds of contiguous chunks of 0:count."""
        chunks = max(1, min(self._threads * CHUNKS_A_THREAD, count // smallest))
        return [count * chunk // chunks for chunk in range(chunks + 1)]

    def _check_candles(self, candles: CandleColumns, columns: Candles, pool: ThreadPoolExecutor) -> None:
        offsets = _column(candles.offsets, np.int64)
        bounds = self._chunks(len(candles.mints), 1)
        bad = pool.map(
            lambda begin, end: kernel.first_bad_row(columns, offsets[begin : end + 1], self._timeframe),
            bounds[:-1],
            bounds[1:],
        )
        for row in bad:
            if row >= 0:
                raise LabError(_candle_problem(candles, row))

    def _calls_on(self, candles: CandleColumns) -> tuple[Integers, Integers, Integers]:
        """Return the ranks of the calls on a shard's mints, mint by mint, and the first and end row of each."""
        called = [index for index, mint in enumerate(candles.mints) if mint in self._groups]
        for mint in (candles.mints[index] for index in called):
            if mint in self._simulated:
                raise LabError(f"mint {mint}: its candles come in more than one piece, they must be handed over in one")
            self._simulated.add(mint)
        groups = np.array([self._groups[candles.mints[index]] for index in called], np.int64).reshape(-1, 2)
        lengths = groups[:, 1] - groups[:, 0]
        ranks = self._by_mint[_ranges(groups[:, 0], lengths)]
        return (
            ranks,
            readonly(np.repeat(candles.offsets[:-1][called], lengths)),
            readonly(np.repeat(candles.offsets[1:][called], lengths)),
        )

    def _ordered(self) -> tuple[Records, Records]:
        """Return all trades and their fills in the order of calls."""
        trades = np.concatenate([np.empty(0, kernel.TRADE), *self._trades])
        fills = np.concatenate([np.empty(0, kernel.FILL), *self._fills])
        order = np.argsort(trades["call"], kind="stable")
        first_fill = np.cumsum(trades["fills"], dtype=np.int64) - trades["fills"]
        return trades[order], fills[_ranges(first_fill[order], trades["fills"][order])]

    def _outcomes(self) -> pl.DataFrame:
        return self._calls.select(
            "call_id",
            "caller",
            "mint",
            "called_at",
            _named(kernel.OUTCOMES, self._records["outcome"]).alias("outcome"),
            pl.Series("trades", self._records["trades"].copy()),
            pl.Series("ambiguous_candles", self._records["ambiguous"].copy()),
        )


def _ranges(starts: Integers, lengths: npt.NDArray[np.integer]) -> Integers:
    """Return starts[0], starts[0] + 1, ... of every range, one range after the other."""
    before = np.cumsum(lengths, dtype=np.int64) - lengths
    ranges: Integers = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
    return ranges


def _group_by_mint(mints: pl.Series) -> tuple[Integers, dict[str, tuple[int, int]]]:
    """Return the calls' ranks ordered by mint, and the part of them that each mint has."""
    order = np.argsort(mints.rank("dense").to_numpy(), kind="stable")
    runs = mints.gather(order).rle().struct
    ends = np.cumsum(runs.field("len").to_numpy().astype(np.int64))
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)]
    return order, dict(zip(runs.field("value"), zip(begins.tolist(), ends.tolist(), strict=True), strict=True))


def rules_of(config: StrategyConfig, timeframe: int) -> Rules:
    """Return a strategy as the kernel takes it; `timeframe` in milliseconds."""
    leave, trailing, reentry = config.exit, config.exit.trailing, config.reentry
    return Rules(
        delay=_milliseconds(config.entry.delay_minutes),
        max_wait=_milliseconds(config.entry.max_wait_minutes),
        horizon=_milliseconds(config.horizon_minutes),
        timeframe=timeframe,
        entry_kind=ENTRY_KINDS.index(config.entry.kind),
        entry_fraction=config.entry.fraction or 0.0,
        stop_loss=leave.stop_loss or 0.0,
        trail_activation=trailing.activation if trailing else 0.0,
        trail_distance=trailing.distance if trailing else 0.0,
        break_even_after=leave.break_even_after or 0,
        max_hold=-1 if leave.max_hold_minutes is None else _milliseconds(leave.max_hold_minutes),
        reentry_retrace=reentry.retrace if reentry else 0.0,
        reentry_count=reentry.max_count if reentry else 0,
        policy=POLICIES.index(config.intrabar),
        fee=config.costs.fee_bps / 1e4,
        slip=config.costs.slippage_bps / 1e4,
        multiples=readonly(np.array([target.multiple for target in leave.targets], np.float64)),
        fractions=readonly(np.array([target.fraction for target in leave.targets], np.float64)),
    )


def _milliseconds(minutes: float) -> int:
    return minutes_to_ms(min(minutes, FOREVER_MINUTES))


def _column(values: npt.NDArray[T], dtype: type[T]) -> npt.NDArray[T]:
    return readonly(np.ascontiguousarray(values, dtype))


def _fills_frame(
    calls: pl.DataFrame, trades: Records, fills: Records, allocation: Allocation, rules: Rules
) -> pl.DataFrame:
    owner = np.repeat(np.arange(len(trades)), trades["fills"])
    number = _ranges(np.ones(len(trades), np.int64), trades["fills"])
    bought = number == 1
    quantity = allocation.quantity[owner] * fills["fraction"]
    fee = quantity * fills["price"] * np.where(bought, 1.0 + rules.slip, 1.0 - rules.slip) * rules.fee
    return _of_calls(calls, trades["call"][owner], ["call_id", "mint"]).with_columns(
        pl.Series("trade_no", trades["trade_no"][owner]),
        pl.Series("fill_no", number, pl.Int32),
        _times("timestamp", fills["time"]),
        _named((Side.SELL, Side.BUY), bought.astype(np.int8)).alias("side"),
        pl.Series("price", fills["price"].copy()),
        pl.Series("fraction", fills["fraction"].copy()),
        pl.Series("quantity", quantity),
        pl.Series("fee", fee),
        _named(kernel.REASONS, fills["reason"]).alias("reason"),
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


def _check_columns(subject: str, frame: pl.DataFrame, columns: pl.Schema) -> None:
    for name, dtype in columns.items():
        if name not in frame.columns:
            raise LabError(f"{subject}: column {name} is missing; the frame has {', '.join(frame.columns) or 'none'}")
        if frame.schema[name] != dtype:
            raise LabError(f"{subject}: column {name} is {frame.schema[name]}, cast it to {dtype}")
        if frame[name].null_count():
            row = frame[name].is_null().arg_max()
            raise LabError(f"{subject}: column {name} is null in row {row}; drop the row or fill the value in")


def _check_unique(calls: pl.DataFrame) -> None:
    if calls["call_id"].n_unique() < len(calls):
        repeated = calls.filter(pl.col("call_id").is_duplicated())["call_id"][0]
        raise LabError(f"calls: call_id {repeated} occurs more than once; give every call an id of its own")


def _candle_problem(candles: CandleColumns, row: int) -> str:
    mint = candles.mints[int(np.searchsorted(candles.offsets, row, side="right")) - 1]
    time = pl.Series([int(candles.timestamp[row])]).cast(frames.TIMESTAMP).dt.strftime("%Y-%m-%dT%H:%M:%SZ")[0]
    values = {name: float(getattr(candles, name)[row]) for name in ("open", "high", "low", "close", "volume")}
    shown = ", ".join(f"{name} {value:.17g}" for name, value in values.items())
    where = f"candle of {mint} at {time} ({shown})"
    prices = [values[name] for name in ("open", "high", "low", "close")]
    if not all(SMALLEST_PRICE <= price <= LARGEST for price in prices):
        problem = f"prices must be numbers from {SMALLEST_PRICE:g} to {LARGEST:g}"
    elif not 0 <= values["volume"] <= LARGEST:
        problem = f"volume must be a number from 0 to {LARGEST:g}"
    elif values["low"] > min(prices) or values["high"] < max(prices):
        problem = "low must be <= open and close, high >= open and close"
    else:
        problem = "it opens before the candle before it closes: timestamps must ascend, a timeframe apart or more"
    return f"{where}: {problem}"
