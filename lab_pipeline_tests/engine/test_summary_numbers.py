"""The summary on numbers worked out by hand."""

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.strategy import FixedSizing, Portfolio
from lab_pipeline.engine import simulate
from lab_pipeline.engine.summary import annual_ratios, daily_returns

from .market import T0, Engine, calls, candles, flat, strategy

HOUR_MS = 3_600_000


def series(equities: list[float], hours: list[float]) -> pl.DataFrame:
    """Lay out a series of hourly points, stamped with the close of the candle that opens `hours` after midnight."""
    rows = [
        (T0 + timedelta(hours=hour + 1), equity, equity, 0.0, 0.0, 0)
        for equity, hour in zip(equities, hours, strict=True)
    ]
    return pl.DataFrame(rows, schema=frames.EQUITY, orient="row")


def test_daily_returns_take_the_last_point_of_each_utc_day_and_start_at_the_initial_capital():
    equity = series([105.0, 110.0, 100.0, 99.0, 121.0], [0, 23, 24, 47, 48])
    assert daily_returns(equity, 100.0, HOUR_MS).tolist() == pytest.approx([0.1, -0.1, 121 / 99 - 1])


def test_the_candle_that_closes_at_midnight_belongs_to_the_day_before():
    equity = series([110.0, 121.0], [23, 24])
    assert daily_returns(equity, 100.0, HOUR_MS).tolist() == pytest.approx([0.1, 0.1])


def test_sharpe_and_sortino_of_three_days():
    sharpe, sortino = annual_ratios(np.array([0.01, -0.02, 0.04]))
    # mean 0.01, deviations 0, -0.03, 0.03: variance 0.0018 / 2; downside 0.02^2 / 2
    assert sharpe == pytest.approx(0.01 / 0.03 * math.sqrt(365))
    assert sortino == pytest.approx(0.01 / math.sqrt(0.0002) * math.sqrt(365))


@pytest.mark.parametrize(
    ("returns", "expected"),
    [([], (None, None)), ([0.5], (None, None)), ([0.01, 0.01, 0.01], (None, None)), ([-0.1, -0.1], (None, None))],
)
def test_ratios_are_null_with_fewer_than_two_days_or_no_variation(returns, expected):
    assert annual_ratios(np.array(returns, np.float64)) == expected


@pytest.mark.parametrize("scale", [1e-17, 1e-9, 1.0, 1e9])
def test_ratios_do_not_depend_on_the_scale_of_the_returns(scale):
    expected = annual_ratios(np.array([0.01, -0.02, 0.04]))
    assert annual_ratios(np.array([0.01, -0.02, 0.04]) * scale) == pytest.approx(expected)


@pytest.mark.parametrize("growth", [1.000_001, 1.1, 4.7, 1e6])
def test_the_same_return_every_day_has_no_ratio_whatever_rounding_left(growth):
    closes = [100.0]
    for _ in range(9):
        closes.append(closes[-1] * growth)
    returns = np.diff(closes) / closes[:-1] + np.arange(9) % 2 * np.spacing(growth)
    assert returns.std() > 0
    assert annual_ratios(returns) == (None, None)


def test_a_day_that_lost_a_rounding_error_is_no_losing_day():
    sharpe, sortino = annual_ratios(np.array([0.01, -1.1e-16, 0.02]))
    assert sharpe is not None
    assert sortino is None


def test_an_account_that_was_worth_nothing_has_no_ratio():
    returns = daily_returns(series([110.0, 0.0, 0.0], [0, 24, 48]), 100.0, HOUR_MS)
    assert annual_ratios(returns) == (None, None)


def test_sortino_is_null_without_a_losing_day():
    sharpe, sortino = annual_ratios(np.array([0.0, 0.02]))
    assert sharpe is not None
    assert sortino is None


def test_the_counts_and_means_of_four_trades(engine: Engine):
    config = strategy([(2, 1)], stop=0.5, horizon_minutes=10, portfolio=Portfolio(sizing=FixedSizing(amount=1000)))
    up, down, still = [flat(1), flat(1), flat(2)], [flat(1), flat(0.5)], [flat(1), flat(1)]
    prices = pl.concat([candles(rows, mint=mint) for mint, rows in (("u", up), ("d", down), ("s", still))])
    summary = engine(
        prices,
        calls(("1", "u", 0), ("2", "u", 1), ("3", "d", 0), ("4", "s", 0), ("5", "none", 0)),
        config,
        timeframe="1m",
    ).summary

    assert (summary.calls, summary.entered, summary.trades, summary.wins) == (5, 4, 4, 2)
    assert summary.win_rate == 0.5
    assert summary.expectancy == pytest.approx((1 + 1 - 0.5 + 0) / 4)
    assert summary.profit_factor == pytest.approx(2 / 0.5)
    assert summary.avg_hold_minutes == pytest.approx((2 + 1 + 1 + 1) / 4)
    assert summary.total_return == pytest.approx((1000 + 1000 - 500) / 10_000)
    assert summary.sharpe is None
    assert summary.expectancy_low is None, "all of them are of one day"


def test_a_trade_that_returns_nothing_is_not_a_win(engine: Engine):
    summary = engine(candles([flat(1)]), calls(), strategy([(2, 1)]), timeframe="1m").summary
    assert (summary.trades, summary.wins, summary.win_rate, summary.profit_factor) == (1, 0, 0.0, None)


def test_without_calls_every_mean_is_null(engine: Engine):
    nothing = calls(("a", "m", 0)).clear()
    summary = engine(candles([flat(1)]), nothing, strategy([(2, 1)]), timeframe="1m").summary
    assert summary.calls == 0
    for name in ("win_rate", "expectancy", "expectancy_low", "profit_factor", "avg_hold_minutes", "sharpe", "sortino"):
        assert getattr(summary, name) is None


def test_ratios_of_a_run_over_three_days(engine: Engine):
    config = strategy([(2, 1)], stop=0.5, portfolio=Portfolio(initial_capital=1000, sizing=FixedSizing(amount=100)))
    day = 1440
    prices = candles(
        [flat(1), flat(2), flat(1), flat(0.5), flat(1), flat(2)], minutes=[0, 1, day, day + 1, 2 * day, 2 * day + 1]
    )
    summary = engine(prices, calls(("a", "m", 0), ("b", "m", day), ("c", "m", 2 * day)), config, timeframe="1m").summary

    returns = [100 / 1000, -50 / 1100, 100 / 1050]
    mean = sum(returns) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in returns) / 2)
    assert summary.sharpe == pytest.approx(mean / deviation * math.sqrt(365))
    assert summary.sortino == pytest.approx(mean / math.sqrt(returns[1] ** 2 / 2) * math.sqrt(365))


def test_the_interval_of_the_expectancy_takes_days_as_observations(engine: Engine):
    prices = candles([flat(1), flat(1.2), flat(1), flat(1.4)], minutes=[0, 1, 1440, 1441])
    config = strategy(horizon_minutes=10)
    summary = engine(prices, calls(("a", "m", 0), ("b", "m", 1440)), config, timeframe="1m").summary
    # 0.2 and 0.4: deviations of 0.1 each, times 2 / 1, over 2; Student's t of one degree of freedom
    assert summary.expectancy == pytest.approx(0.3)
    assert summary.expectancy_high == pytest.approx(0.3 + 12.7062 * math.sqrt(2 * 0.02) / 2)
    assert summary.expectancy_low == pytest.approx(0.3 - 12.7062 * math.sqrt(2 * 0.02) / 2)


def test_trades_of_one_day_have_no_interval(engine: Engine):
    prices = candles([flat(1), flat(1.3), flat(0.8), flat(2)])
    frame = calls(("a", "m", 0), ("b", "m", 1), ("c", "m", 2))
    summary = engine(prices, frame, strategy([(2, 1)]), timeframe="1m").summary
    assert summary.trades == 3
    assert (summary.expectancy_low, summary.expectancy_high) == (None, None)


def test_the_seed_changes_no_number_of_the_run():
    prices = candles([flat(1), flat(1.3), flat(0.8), flat(2)])
    frame = calls(("a", "m", 0), ("b", "m", 1), ("c", "m", 2))
    one, two = (simulate(prices, frame, strategy([(2, 1)]), timeframe="1m", seed=seed, doubted=True) for seed in (1, 2))
    assert one.trades.equals(two.trades)
    assert one.equity.equals(two.equity)
    assert one.summary == two.summary
