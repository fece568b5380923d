"""The headline numbers of a run, computed from its frames."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from lab_pipeline.domain.candles import Floats
from lab_pipeline.domain.clusters import mean_interval
from lab_pipeline.domain.enums import FillReason, Outcome, SkipReason
from lab_pipeline.domain.summary import Summary

DAYS_A_YEAR = 365
NO_VARIATION = 1e-9
"""A deviation of at most this part of the largest return is rounding."""

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Bounds:
    """Net returns of the trades, in their order, had their last fill been another.

    Attributes:
        at_level: if a stop inside a candle had filled at its level.
        at_low: if it had filled at the low.
        if_dead: if what was sold because its candles ended had been worth nothing.
    """

    at_level: Floats
    at_low: Floats
    if_dead: Floats

    @classmethod
    def of(cls, at_level: Sequence[float], at_low: Sequence[float], if_dead: Sequence[float]) -> "Bounds":
        """Make arrays of sequences."""
        return cls(*(np.array(values, np.float64) for values in (at_level, at_low, if_dead)))


def summarise(
    *,
    fills: pl.DataFrame,
    trades: pl.DataFrame,
    outcomes: pl.DataFrame,
    equity: pl.DataFrame,
    bounds: Bounds,
    initial_capital: float,
    timeframe: int,
) -> Summary:
    """Reduce a run's frames to its summary.

    Args:
        fills: columns and types of `frames.FILLS`.
        trades: of `frames.TRADES`.
        outcomes: of `frames.OUTCOMES`.
        equity: of `frames.EQUITY`.
        bounds: what the trades would have returned had they ended otherwise.
        initial_capital: cash at the start.
        timeframe: length of a candle in milliseconds.
    """
    net = trades["net_return"].to_numpy()
    wins = int((net > 0).sum())
    days = trades["called_at"].to_physical().to_numpy() // DAY_MS
    low, high = mean_interval(net, days, trades["caller"].rank("dense").to_numpy())
    returns = daily_returns(equity, initial_capital, timeframe)
    sharpe, sortino = annual_ratios(returns)
    skips = trades["skip_reason"]
    taken = net[trades["taken"].to_numpy()]
    ambiguous, resolved = (int(outcomes[name].sum()) for name in ("ambiguous_candles", "ambiguous_resolved"))
    return Summary(
        calls=len(outcomes),
        entered=int((outcomes["outcome"] == Outcome.ENTERED).sum()),
        trades=len(trades),
        wins=wins,
        win_rate=wins / len(trades) if len(trades) else None,
        total_return=equity["equity"][-1] / initial_capital - 1.0 if len(equity) else 0.0,
        max_drawdown=max(0.0, -float(equity["drawdown"].to_numpy().min())) if len(equity) else 0.0,
        profit_factor=_profit_factor(net),
        expectancy=_mean(net),
        expectancy_low=low,
        expectancy_high=high,
        sharpe=sharpe,
        sortino=sortino,
        avg_hold_minutes=_mean(trades["hold_minutes"].to_numpy()),
        avg_exposure=float(equity["exposure"].to_numpy().mean()) if len(equity) else None,
        fees_paid=math.fsum(fills["fee"].to_list()),
        ambiguous_candles=ambiguous,
        ambiguous_resolved=resolved,
        ambiguous_unresolved=ambiguous - resolved,
        **{f"skipped_{reason}": int((skips == reason).sum()) for reason in SkipReason},
        expectancy_stop_at_level=_mean(bounds.at_level),
        expectancy_stop_at_low=_mean(bounds.at_low),
        expectancy_if_dead=_mean(bounds.if_dead),
        ended_trades=int((trades["exit_reason"] == FillReason.END_OF_DATA).sum()),
        taken_trades=len(taken),
        expectancy_taken=_mean(taken),
        win_rate_taken=float((taken > 0).sum()) / len(taken) if len(taken) else None,
        profit_factor_taken=_profit_factor(taken),
    )


def daily_returns(equity: pl.DataFrame, initial_capital: float, timeframe: int) -> Floats:
    """Return the equity's return of every UTC day of the series, the first day's from the initial capital.

    A point belongs to the day in which its candle opens: the one stamped midnight closes the day before. After a day
    that left nothing the return is NaN.
    """
    day = (equity["timestamp"].to_physical() - timeframe) // DAY_MS
    last = np.flatnonzero(np.diff(day.to_numpy(), append=np.iinfo(np.int64).max))
    closes = equity["equity"].to_numpy()[last]
    before = np.concatenate([[initial_capital], closes[:-1]])[: len(closes)]
    returns: Floats = np.divide(closes, before, out=np.full(len(closes), np.nan), where=before > 0) - 1.0
    return returns


def annual_ratios(returns: Floats) -> tuple[float | None, float | None]:
    """Return Sharpe and Sortino ratio of daily returns, annualised; null where undefined."""
    count = len(returns)
    if count < 2:  # noqa: PLR2004 - ddof 1 needs two
        return None, None
    if not np.isfinite(returns).all():  # the account was worth nothing
        return None, None
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    rounding = NO_VARIATION * float(np.abs(returns).max())
    if deviation <= rounding:
        return None, None
    downside = math.sqrt(float((np.minimum(returns, 0.0) ** 2).sum()) / (count - 1))
    scale = math.sqrt(DAYS_A_YEAR)
    return mean / deviation * scale, mean / downside * scale if downside > rounding else None


def _mean(values: Floats) -> float | None:
    return math.fsum(values.tolist()) / len(values) if len(values) else None


def _profit_factor(net: Floats) -> float | None:
    losses = -math.fsum(net[net < 0].tolist())
    return math.fsum(net[net > 0].tolist()) / losses if losses else None
