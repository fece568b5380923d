"""Stops, targets and fees against backtesting.py, on what both can express.

An order there is filled at the open after the candle at which it was given, so that a flat candle comes before the
window. What remains different, and is left out of the common strategies:

- In a candle that reaches both, the stop comes first there as here by default; but a candle that opens at or above
  the target and falls to the stop is a stop there, while here the open comes first.
- Stops there fill at their level: `through` is 0 here.
- A spread there is paid by the buy alone; slippage here by both sides. Commissions are compared.
- What is left at the end is sold at the last open there, at the last close here: only the candle is compared.
- There is one target, no ladder, trail, break-even or entry inside a candle.
"""

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import simulate

from .generated import MINUTE_MS, START_MS
from .walks import market

pytestmark = pytest.mark.slow  # a backtest there is a pandas frame for each call

COLUMNS = 60
PRICES = ("open", "high", "low", "close")


@pytest.fixture(scope="module")
def prices():
    return {name: values[:, :COLUMNS] for name, values in market(seed=23, grid=False).items()}


def here(prices, *, target, stop, fee):
    rows = len(prices["open"])
    mints = [f"m{column:03d}" for column in range(COLUMNS)]
    table = pl.DataFrame(
        {
            "mint": np.repeat(mints, rows),
            "timestamp": np.tile(START_MS + np.arange(rows) * MINUTE_MS, COLUMNS),
            **{name: values.T.ravel() for name, values in prices.items()},
            "volume": np.ones(rows * COLUMNS),
        }
    ).cast(frames.CANDLES)
    called = pl.DataFrame({"call_id": mints, "caller": "ann", "mint": mints, "called_at": START_MS})
    leave = {"targets": [{"multiple": target, "fraction": 1.0}]} if target else {}
    leave |= {"stopLoss": stop, "stopFill": {"through": 0}} if stop else {}
    config = StrategyConfig.parse({"exit": leave, "costs": {"feeBps": fee * 1e4}})
    trades = simulate(table, called.cast(frames.CALLS), config, timeframe="1m").trades.sort("mint")
    exits = (trades["exit_time"].to_physical() - START_MS) // MINUTE_MS
    closed = trades["exit_reason"].is_in(["target", "stop_loss"]).to_numpy()
    return exits.to_numpy(), trades["exit_price"].to_numpy(), trades["net_return"].to_numpy(), closed


def there(prices, *, target, stop, fee):
    backtesting = pytest.importorskip("backtesting", reason="backtesting.py is the peer of this test")
    pandas = pytest.importorskip("pandas")

    class Once(backtesting.Strategy):
        def init(self):
            pass

        def next(self):
            if len(self.data) == 2:
                first = float(self.data.Close[-1])
                self.buy(
                    size=1,
                    tp=first * target if target else None,
                    sl=first * (1 - stop) if stop else None,
                )

    found = []
    for column in range(COLUMNS):
        first = prices["open"][0, column]
        table = pandas.DataFrame(
            {name.title(): np.concatenate([[first, first], prices[name][:, column]]) for name in PRICES},
            index=pandas.date_range("2024-01-01", periods=len(prices["open"]) + 2, freq="min"),
        )
        run = backtesting.Backtest(table, Once, cash=1e6, commission=fee, finalize_trades=True)
        (trade,) = run.run()._trades.to_dict("records")  # noqa: SLF001 - its public result
        spent, got = trade["EntryPrice"] * (1 + fee), trade["ExitPrice"] * (1 - fee)
        assert trade["PnL"] == pytest.approx(got - spent, rel=1e-9, abs=1e-9)
        found.append((trade["ExitBar"] - 2, trade["ExitPrice"], got / spent - 1))
    return [np.array(values) for values in zip(*found, strict=True)]


@pytest.mark.parametrize(
    ("target", "stop", "fee"),
    [(1.125, None, 0.0), (None, 0.25, 0.0), (1.25, 0.25, 0.0), (1.125, 0.125, 0.0), (1.25, 0.125, 0.003)],
)
def test_same_exits(prices, target, stop, fee):
    *ours, closed = here(prices, target=target, stop=stop, fee=fee)
    exits, sold, returns = there(prices, target=target, stop=stop, fee=fee)
    assert closed.sum() > COLUMNS / 4
    assert (ours[0] == exits).all()
    assert ours[1][closed] == pytest.approx(sold[closed], rel=1e-12)
    assert ours[2][closed] == pytest.approx(returns[closed], rel=1e-9, abs=1e-12)
