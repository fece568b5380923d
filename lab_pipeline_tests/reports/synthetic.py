"""Runs made up for the tests: frames of the right shape and any size, without an engine."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import AllUniverse, ResolvedSpec, TimeRange
from lab_pipeline.domain.strategy import Costs, Exit, StrategyConfig, Target, TrailingStop
from lab_pipeline.domain.summary import Summary

START = datetime(2024, 3, 1, tzinfo=UTC)
CONFIG = StrategyConfig(
    exit=Exit(
        targets=(Target(multiple=2.0, fraction=0.5), Target(multiple=3.0, fraction=0.3)),
        stop_loss=0.3,
        trailing=TrailingStop(activation=1.5, distance=0.25),
        max_hold_minutes=1440.0,
    ),
    costs=Costs(fee_bps=30.0, slippage_bps=10.0),
)
SPEC = ResolvedSpec(
    strategy_id="ladder",
    strategy_version="3",
    strategy=CONFIG,
    universe=AllUniverse(),
    timeframe="5m",
    range=TimeRange(start=START, end=datetime(2024, 6, 1, tzinfo=UTC)),
    seed=7,
    params={},
)
IDENTITY = {"fingerprint": "f" * 64, "snapshot": "5" * 64, "engine_version": "1"}
NO_TRADES = Summary(
    calls=0, entered=0, trades=0, wins=0, win_rate=None, total_return=0.0, max_drawdown=0.0, profit_factor=None,
    expectancy=None, expectancy_low=None, expectancy_high=None, sharpe=None, sortino=None, avg_hold_minutes=None,
    avg_exposure=None, fees_paid=0.0, ambiguous_candles=0, skipped_no_cash=0, skipped_no_slot=0,
)  # fmt: skip


@dataclass(frozen=True)
class MadeUpRun:
    trades: pl.DataFrame
    paths: pl.DataFrame
    outcomes: pl.DataFrame
    equity: pl.DataFrame
    summary: Summary
    fill_certainty: pl.DataFrame
    nulls: pl.DataFrame


EMPTY_RUN = MadeUpRun(
    pl.DataFrame(schema=frames.TRADES),
    pl.DataFrame(schema=frames.PATHS),
    pl.DataFrame(schema=frames.OUTCOMES),
    pl.DataFrame(schema=frames.EQUITY),
    NO_TRADES,
    pl.DataFrame(schema=frames.FILL_CERTAINTY),
    pl.DataFrame(schema=frames.NULLS),
)


def made_up_run(trades: int = 300, points: int = 2_000, callers: int = 12, seed: int = 1) -> MadeUpRun:
    """Make a run with that many trades, equity points and callers; one call in five never entered."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(0.02, 0.08, callers)
    who = np.minimum(rng.geometric(0.12, trades) - 1, callers - 1)
    net = np.where(rng.random(trades) < 0.55, -0.3075 - rng.exponential(0.02, trades), rng.exponential(0.5, trades))
    net = np.maximum(net + skill[who], -0.99)
    called = np.sort(rng.integers(0, 90 * 1440, trades)) * 60_000 + int(START.timestamp() * 1000)
    hold = np.round(rng.exponential(300, trades)) + 5
    reason = np.where(net < -0.2, "stop_loss", rng.choice(["target", "trailing_stop", "time", "horizon"], trades))
    taken = rng.random(trades) > 0.04
    mfe = np.maximum(net, 0) + rng.exponential(0.3, trades)
    identity = {
        "call_id": [f"call-{i:06d}" for i in range(trades)],
        "caller": [f"caller_{i:02d}" for i in who],
        "mint": [f"{i % 400:04d}Kq7vNbXwZ3pLmR8sTfYhGcJdE2uAoQ{i % 400:04d}pump" for i in range(trades)],
    }
    frame = pl.DataFrame(
        identity
        | {
            "trade_no": np.ones(trades, np.int32),
            "called_at": called,
            "entry_time": called,
            "entry_price": np.ones(trades),
            "exit_time": called + (hold * 60_000).astype(np.int64),
            "exit_price": 1 + net,
            "exit_reason": reason.tolist(),
            "gross_return": net,
            "net_return": net,
            "mfe": mfe,
            "mae": -np.minimum(0.99, np.maximum(-net, 0) + rng.exponential(0.05, trades)),
            "hold_minutes": hold,
            "quantity": np.full(trades, 100.0),
            "invested": np.where(taken, 100.0, 0.0),
            "pnl": np.where(taken, 100 * net, 0.0),
            "taken": taken,
            "skip_reason": [None if took else "no_slot" for took in taken],
        },
        schema=frames.TRADES,
    )
    paths = pl.DataFrame(
        identity
        | {name: np.zeros(trades) for name in frames.PATHS if name not in identity}
        | {"ath_multiple": 1 + mfe, "hour_of_day": np.zeros(trades, np.int32)},
        schema=frames.PATHS,
    )
    entered = frame.select(
        "call_id", "caller", "mint", "called_at", outcome=pl.lit("entered"), trades=pl.lit(1, pl.Int32)
    )
    missed = entered[::5].with_columns(
        pl.col("call_id") + "-missed",
        outcome=pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("no_candles")).otherwise(pl.lit("no_entry")),
        trades=pl.lit(0, pl.Int32),
    )
    outcomes = pl.concat([entered, missed]).with_columns(
        ambiguous_candles=pl.lit(0, pl.Int32), ambiguous_resolved=pl.lit(0, pl.Int32)
    )
    equity = made_up_equity(points, rng)
    low, high = net.mean() - 1.96 * net.std() / trades**0.5, net.mean() + 1.96 * net.std() / trades**0.5
    lost = -net[net < 0].sum()
    summary = replace_summary(
        calls=len(outcomes), entered=trades, trades=trades, wins=int((net > 0).sum()), win_rate=float((net > 0).mean()),
        total_return=float(equity["equity"][-1] / 10_000 - 1), max_drawdown=float(-equity["drawdown"].min()),
        profit_factor=float(net[net > 0].sum() / lost) if lost else None, expectancy=float(net.mean()),
        expectancy_low=float(low), expectancy_high=float(high), sharpe=1.43, sortino=2.178,
        avg_hold_minutes=float(hold.mean()), avg_exposure=0.2342, fees_paid=1234.567, ambiguous_candles=17,
        skipped_no_slot=int((~taken).sum()), taken_trades=int(taken.sum()), expectancy_taken=float(net.mean()) + 0.01,
        win_rate_taken=0.31, profit_factor_taken=1.07, expectancy_stop_at_level=float(net.mean()) + 0.02,
        expectancy_stop_at_low=float(net.mean()) - 0.05, expectancy_if_dead=float(net.mean()) - 0.03, ended_trades=3,
    )  # fmt: skip
    return MadeUpRun(frame, paths, outcomes, equity, summary, made_up_lanes(summary), made_up_nulls(outcomes, summary))


def made_up_lanes(summary: Summary, **expectancies: float | None) -> pl.DataFrame:
    """Make the lanes of a run, all with its expectancy but for those that are given by their kind."""
    kinds = ["run", *["stops"] * 3, "ended", *["stake"] * 4, *["delay"] * 11, *["stress"] * 8, "thin"]
    mean = [expectancies.get(kind, summary.expectancy) for kind in kinds]
    return pl.DataFrame(
        {
            "kind": kinds,
            "lane": [f"{kind} {number}" for number, kind in enumerate(kinds)],
            "expectancy": mean,
            "expectancy_low": [summary.expectancy_low if one is not None else None for one in mean],
            "expectancy_high": [summary.expectancy_high if one is not None else None for one in mean],
            "trades": [summary.trades if one is not None else 0 for one in mean],
            "thin_share": [0.25 if kind == "thin" else None for kind in kinds],
            **{name: [0.0] * len(kinds) for name in ("through", "haircut", "fee_bps", "slippage_bps", "total_return")},
            "stake": [1.0] * len(kinds),
            "delay_candles": [0] * len(kinds),
        },
        schema_overrides=frames.FILL_CERTAINTY,
    ).select(frames.FILL_CERTAINTY.names())


def made_up_nulls(outcomes: pl.DataFrame, summary: Summary) -> pl.DataFrame:
    """Make the nulls of a run and its callers, who are no better than chance."""
    callers = [None, *outcomes["caller"].unique().sort()]
    known = {"caller": callers, "trades": [summary.trades] * len(callers)}
    of_all = dict.fromkeys(("expectancy", "hold_expectancy", "random_expectancy", "moved_expectancy"), 0.01)
    of_all |= {"over_hold_low": -0.02, "over_hold_high": 0.03, "random_low": -0.01, "random_high": 0.02}
    of_all |= {"p_random": 0.25, "q_random": 0.75, "p_shuffled": 0.5, "q_shuffled": 1.0, "moved_calls": 17}
    return pl.DataFrame(
        {name: known.get(name, [of_all.get(name)] * len(callers)) for name in frames.NULLS},
        schema=frames.NULLS,
    )


def made_up_equity(points: int, rng: np.random.Generator) -> pl.DataFrame:
    """Make a random walk that starts at 10,000 and never falls below 1."""
    walk = 10_000 * np.exp(np.cumsum(rng.normal(0.2 / points, 0.3 / points**0.5, points)))
    exposure = np.clip(0.25 + np.cumsum(rng.normal(0, 0.01, points)) % 0.3 - 0.15, 0, 1)
    return pl.DataFrame(
        {
            "timestamp": int(START.timestamp() * 1000) + np.arange(points) * (90 * 86_400_000 // points),
            "equity": walk,
            "cash": walk * (1 - exposure),
            "exposure": exposure,
            "drawdown": walk / np.maximum(np.maximum.accumulate(walk), 10_000) - 1,
            "open_positions": np.ones(points, np.int32),
        },
        schema=frames.EQUITY,
    )


def replace_summary(**changes: float | None) -> Summary:
    """Make a summary of these numbers and no trades otherwise."""
    return Summary(**{**NO_TRADES.model_dump(), **changes})


def with_trades(run: MadeUpRun, *columns: pl.Expr) -> MadeUpRun:
    """Return the run with columns of its trades replaced."""
    return replace(run, trades=run.trades.with_columns(*columns))
