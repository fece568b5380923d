"""Conditions and true ranges against TA-Lib, whose indicators are the reference of many.

They agree from a while after the beginning on. Where an average begins is no one's standard:

- TA-Lib's EMA begins with the plain mean of the first n values, its RSI with the plain mean of the first n changes;
  here both begin with the first value, as everywhere in polars and pandas. What it began with fades by (n - 1)/(n + 1)
  and (n - 1)/n a candle.
- TA-Lib's ATR is Wilder's running average, without an end; the contract's is the mean of n candles, which needs just
  those: SMA of TRANGE.
- A price that never moved has an RSI of 0 there and none here.
"""

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import simulate
from lab_pipeline.engine.signals import holds

from .generated import MINUTE_MS, START_MS

ROWS, FADED = 4_000, 600


@pytest.fixture(scope="module")
def talib():
    return pytest.importorskip("talib", reason="TA-Lib is the peer of this test")


@pytest.fixture(scope="module")
def prices():
    random = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.02, ROWS)))
    opened = np.concatenate([[100.0], close[:-1]])
    shadow = np.abs(random.normal(0, 0.01, (2, ROWS)))
    return {
        "open": opened,
        "high": np.maximum(opened, close) * (1 + shadow[0]),
        "low": np.minimum(opened, close) * (1 - shadow[1]),
        "close": close,
        "volume": random.exponential(100.0, ROWS),
    }


@pytest.fixture(scope="module")
def candles(prices):
    times = pl.Series("timestamp", START_MS + np.arange(ROWS) * MINUTE_MS).cast(frames.TIMESTAMP)
    return pl.DataFrame([times]).with_columns(**{name: pl.Series(values) for name, values in prices.items()})


def ours(candles, **condition):
    document = {"exit": {"when": {"all": [condition]}}}
    return holds(StrategyConfig.parse(document).exit.when, candles)


def crosses_up(fast, slow):
    with np.errstate(invalid="ignore"):
        return np.concatenate([[False], (fast > slow)[1:] & (fast <= slow)[:-1]])


def assert_same(said, expected, begin=FADED):
    assert said[begin:].sum() > 5
    assert (said[begin:] == expected[begin:]).all()


@pytest.mark.parametrize(("fast", "slow"), [(9, 21), (3, 8), (12, 26)])
def test_crosses_of_exponential_averages(talib, candles, prices, fast, slow):
    there = [talib.EMA(prices["close"], n) for n in (fast, slow)]
    assert_same(ours(candles, kind="ema_cross", fast=fast, slow=slow, direction="up"), crosses_up(*there))
    assert_same(ours(candles, kind="ema_cross", fast=fast, slow=slow, direction="down"), crosses_up(*there[::-1]))


@pytest.mark.parametrize(("fast", "slow"), [(5, 20), (10, 50)])
def test_crosses_of_plain_averages_from_the_first_on(talib, candles, prices, fast, slow):
    there = [talib.SMA(prices["close"], n) for n in (fast, slow)]
    assert_same(ours(candles, kind="sma_cross", fast=fast, slow=slow, direction="up"), crosses_up(*there), begin=0)


@pytest.mark.parametrize("n", [7, 14])
def test_relative_strength(talib, candles, prices, n):
    there = talib.RSI(prices["close"], n)
    assert_same(ours(candles, kind="rsi", n=n, above=60.0), there >= 60)
    assert_same(ours(candles, kind="rsi", n=n, below=40.0), there <= 40)


@pytest.mark.parametrize("n", [5, 20])
def test_breakouts(talib, candles, prices, n):
    highest, lowest = talib.MAX(prices["high"], n), talib.MIN(prices["low"], n)
    up, down = prices["close"][1:] > highest[:-1], prices["close"][1:] < lowest[:-1]
    assert_same(ours(candles, kind="breakout", n=n, direction="up")[1:], up, begin=0)
    assert_same(ours(candles, kind="breakout", n=n, direction="down")[1:], down, begin=0)


def test_volume_spikes(talib, candles, prices):
    mean = talib.SMA(prices["volume"], 20)
    assert_same(ours(candles, kind="volume_spike", n=20, multiple=3.0)[1:], prices["volume"][1:] >= 3 * mean[:-1], 0)


def test_ichimoku_lines(talib, candles, prices):
    def middle(n):
        return (talib.MAX(prices["high"], n) + talib.MIN(prices["low"], n)) / 2

    said = ours(candles, kind="ichimoku_cross", tenkan=9, kijun=26, direction="up")
    assert_same(said, crosses_up(middle(9), middle(26)), begin=0)


@pytest.mark.parametrize("n", [2, 14])
def test_stops_by_true_range_lie_where_a_mean_of_true_ranges_puts_them(talib, candles, prices, n):
    ranges = talib.TRANGE(prices["high"], prices["low"], prices["close"])
    mean = talib.SMA(np.nan_to_num(ranges), n)
    rows = np.arange(100, ROWS - 100, 37)
    called = pl.DataFrame(
        {
            "call_id": [f"c{row:04d}" for row in rows],
            "caller": "ann",
            "mint": "m",
            "called_at": START_MS + rows * MINUTE_MS,
        }
    ).cast(frames.CALLS)
    stop = {"stopLoss": {"atr": {"n": n, "k": 1.0}}, "stopFill": {"through": 0}}
    config = StrategyConfig.parse({"exit": stop, "horizonMinutes": 60})
    trades = simulate(
        candles.select(pl.lit("m").alias("mint"), *candles.columns), called, config, timeframe="1m"
    ).trades
    expected = pl.DataFrame({"call_id": called["call_id"], "level": prices["open"][rows] - mean[rows - 1]})
    stopped = trades.filter(exit_reason="stop_loss").join(expected, on="call_id")
    inside = stopped.filter((pl.col("exit_price") - pl.col("level")).abs() < 1e-9 * pl.col("level"))
    assert len(stopped) > 50
    assert len(inside) > 0.8 * len(stopped)
    assert (stopped["exit_price"] <= stopped["level"] * (1 + 1e-9)).all()  # the others at an open below it
