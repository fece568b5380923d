"""Whether a sweep has kept its word: a set of it, run as a backtest, is held against what the sweep counted."""

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.enums import IntrabarPolicy
from lab_pipeline.domain.strategy import StrategyConfig, minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine.fitting import reads_liquidity
from lab_pipeline.engine.history import count_calls, counts_calls, look_back_ms
from lab_pipeline.lake import Lake
from lab_pipeline.runs.signals import Signals
from lab_pipeline.runs.strategies import StrategyStore

if TYPE_CHECKING:
    from lab_pipeline.domain.candles import Floats
    from lab_pipeline.engine import Simulation
    from lab_pipeline.engine.sweep import Sweep
    from lab_pipeline.sweeps.running import ResolvedSweep

TOP_EQUALS, CELLS_EQUAL, NO_LOOK_AHEAD = "top_equals_backtest", "cells_equal_trades", "no_lookahead"
MOST_CALLS = 256
"""Of a sweep that are simulated twice, spread evenly over time."""
BEFORE = ("call_id", "trade_no", "fill_no", "timestamp", "side", "fraction", "reason")


class RefutedError(RuntimeError):
    """A sweep has counted what is not so: a fault of the lab, after which nothing is published.

    Attributes:
        check: the name of what failed.
    """

    def __init__(self, check: str, text: str) -> None:
        super().__init__(check, text)  # both, so that it can be pickled
        self.check, self.text = check, text

    def __str__(self) -> str:
        return self.text


def hold_to(simulation: "Simulation", sweep: "Sweep", number: int) -> None:
    """Compare a backtest of a set with the set, bit for bit: its summary, then trades and returns by day and caller.

    Raises:
        RefutedError: naming the first difference.
    """
    names = ("trades", "entered", "wins", "win_rate", "expectancy", "profit_factor")
    swept = sweep.sets.select(*names, "ambiguous").row(number)
    summary = simulation.summary
    if (again := (*(getattr(summary, name) for name in names), summary.ambiguous_candles)) != swept:
        raise RefutedError(TOP_EQUALS, f"set {number} made {swept} in the sweep, but {again} in a backtest")
    trades = simulation.trades.select(
        "net_return",
        day=pl.col("called_at").dt.truncate("1d").to_physical(),
        caller=pl.when(pl.col("caller").is_in(sweep.callers))
        .then(pl.col("caller"))
        .otherwise(pl.lit(sweep.callers[-1])),
    )
    days, callers = sweep.days.tolist(), sweep.callers
    _compare(number, "day", days, sweep.day_trades[number], sweep.day_net[number], trades)
    _compare(number, "caller", callers, sweep.caller_trades[number], sweep.caller_net[number], trades)


def _compare(  # noqa: PLR0917 - what is compared with what
    number: int, by: str, names: list[int] | list[str], counts: "Floats", sums: "Floats", trades: pl.DataFrame
) -> None:
    made = dict(trades.group_by(by).agg("net_return").rows())
    for name, count, net in zip(names, counts.tolist(), sums.tolist(), strict=True):
        returns = made.get(name, [])
        if (again := (len(returns), math.fsum(returns))) != (count, net):
            raise RefutedError(
                CELLS_EQUAL, f"set {number} made {(count, net)} for {by} {name} in the sweep, but {again} in a backtest"
            )


def look_ahead(
    resolved: "ResolvedSweep", number: int, lake: Lake, strategies: StrategyStore, *, threads: int | None = None
) -> int:
    """Simulate some calls under a set twice, the second time with every candle after one of their fills made up.

    What happened up to that fill must happen again. Each call has the candles of its own window, and of what its rules
    look back on; finer candles, which decide inside one candle, are left out, and prices where the size decides them.

    Args:
        resolved: what was swept.
        number: of the set.
        lake: that has the candles.
        strategies: of the lab, for registered signals.
        threads: of the simulation.

    Returns:
        How many fills were compared.

    Raises:
        RefutedError: naming the first fill that knew of what came after it.
    """
    from lab_pipeline.engine import simulate  # noqa: PLC0415 - numba

    config = resolved.sets.config(number)
    if config.finer_timeframe is not None:
        config = config.model_copy(update={"intrabar": IntrabarPolicy.STOP_FIRST, "finer_timeframe": None})
    calls = resolved.calls
    if counts_calls(config):
        calls = count_calls(calls, resolved.all_calls)
    calls = calls.sort("called_at", "call_id").gather_every(max(1, -(-calls.height // MOST_CALLS)))
    candles = _windows(resolved, calls, config, lake)
    calls = calls.with_columns(mint="call_id")  # so that each has candles of its own
    signals = Signals.of(config, strategies.signals_dir).functions()

    def fills(on: pl.DataFrame) -> pl.DataFrame:
        return simulate(
            on, calls, config, timeframe=resolved.spec.timeframe, threads=threads, signals=signals
        ).fills.select(*BEFORE, *(() if config.costs.by_size else ("price",)))

    real = fills(candles)
    random = np.random.Generator(np.random.PCG64(resolved.spec.seed))
    chosen = real.select("call_id", until="timestamp").with_columns(
        place=pl.Series(random.random(real.height), dtype=pl.Float64)
    )
    until = chosen.sort("place").group_by("call_id", maintain_order=True).first().select("call_id", "until")
    factor = pl.Series(np.exp(random.normal(size=candles.height)))
    made_up = candles.join(until, left_on="mint", right_on="call_id", how="left", maintain_order="left").with_columns(
        pl.when(pl.col("timestamp") > pl.col("until")).then(pl.col(name) * factor).otherwise(pl.col(name)).alias(name)
        for name in candles.columns
        if name not in {"mint", "timestamp"}
    )
    before, after = (
        one.join(until, on="call_id").filter(pl.col("timestamp") <= pl.col("until")).drop("until")
        for one in (real, fills(made_up.drop("until")))
    )
    if not before.equals(after):
        differing = pl.concat(
            [before.join(after, on=before.columns, how="anti"), after.join(before, on=before.columns, how="anti")]
        )
        first = differing.sort("call_id", "timestamp").row(0, named=True)
        raise RefutedError(
            NO_LOOK_AHEAD,
            f"set {number} knew on call {first['call_id']} at {first['timestamp']} of candles after that: its fill "
            f"{first['trade_no']}.{first['fill_no']} is another where they are",
        )
    return before.height


def _windows(resolved: "ResolvedSweep", calls: pl.DataFrame, config: StrategyConfig, lake: Lake) -> pl.DataFrame:
    """Return the candles of each call's window and what its rules look back on, `mint` being the call's id."""
    length = timeframe_ms(resolved.spec.timeframe)
    back, horizon = (
        pl.duration(milliseconds=one)
        for one in (look_back_ms(config, length), minutes_to_ms(config.horizon_minutes) + length)
    )
    within = pl.col("timestamp").is_between(pl.col("called_at") - back, pl.col("called_at") + horizon)
    wanted = calls.select("mint", "call_id", "called_at")
    first, last = calls.select(first=pl.col("called_at").min(), last=pl.col("called_at").max()).row(0)
    found = []
    with lake.slice(
        resolved.spec.timeframe,
        calls["mint"].unique().sort().to_list(),
        first - timedelta(milliseconds=look_back_ms(config, length)),
        last + timedelta(minutes=config.horizon_minutes),
        liquidity=reads_liquidity(config),
    ) as candles:
        for shard in candles:
            rows = wanted.join(_frame(shard), on="mint", maintain_order="left").filter(within)
            found.append(rows.drop("mint", "called_at").rename({"call_id": "mint"}))
    return pl.concat(found)


def _frame(shard: CandleColumns) -> pl.DataFrame:
    numbers = np.repeat(np.arange(len(shard.mints)), np.diff(shard.offsets))
    columns = {"mint": pl.Series(shard.mints, dtype=pl.String).gather(numbers)}
    columns |= {name: pl.Series(getattr(shard, name)) for name in list(frames.CANDLES)[1:]}
    frame = pl.DataFrame(columns).cast(frames.CANDLES)
    if shard.liquidity is None:
        return frame
    return frame.with_columns(pl.Series("liquidity", shard.liquidity, nan_to_null=True))
