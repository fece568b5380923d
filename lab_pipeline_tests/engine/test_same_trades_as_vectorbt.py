"""The engine against one that others wrote, on the strategies that both can express.

vectorbt tests a position's stops from the candle after the entry on. The entry is therefore put on a candle of its own
before the window, flat at the first open, so that the first candle of the window is tested like every other.

What remains different, and why it is left out of the common strategies:

- A candle that opens at or above the target and falls to the stop: here the open comes first and the target fills
  there; vectorbt asks for the stop before the target whatever the open is (last test).
- At the end of the window vectorbt leaves the position open and values it at the last close; here it is sold there.
  The price is the same, the status is not compared; exit costs are compared on closed trades alone.
- vectorbt's return is per value bought without the fee, here per cash spent: the profit per token is compared.
- vectorbt has one target for the whole position, no ladder, no break-even, a trail that is armed from the entry, no
  entry inside a candle and no choice of what comes first in a candle but the stop.
"""

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.strategy import Costs, StrategyConfig
from lab_pipeline.engine import simulate

from .generated import MINUTE_MS, START_MS
from .market import calls, candles, strategy

pytestmark = pytest.mark.slow  # vectorbt compiles itself in every process

ROWS, COLUMNS = 120, 400
Prices = dict[str, np.ndarray]


def peer():
    """Return vectorbt, imported as late as this: it takes seconds, and every process collects this module."""
    return pytest.importorskip("vectorbt", reason="vectorbt is the peer of this test", exc_type=ImportError)


def market(seed: int, *, grid: bool) -> Prices:
    """Make prices of shape (ROWS, COLUMNS) without gaps between close and open; on a binary grid if `grid`."""
    random = np.random.default_rng(seed)
    step = 1 / 16
    moves = random.normal(0, 0.06, (ROWS, COLUMNS))
    shadows = np.abs(random.normal(0, 0.04, (2, ROWS, COLUMNS)))
    if grid:
        moves, shadows = np.round(moves / step) * step, np.round(shadows / step) * step
    close = 1.5 + np.cumsum(moves, axis=0)
    close = np.maximum(close, 0.25)
    opened = np.vstack([np.full((1, COLUMNS), 1.5), close[:-1]])
    return {
        "open": opened,
        "high": np.maximum(opened, close) + shadows[0],
        "low": np.maximum(np.minimum(opened, close) - shadows[1], step),
        "close": close,
    }


def trades_here(prices: Prices, config: StrategyConfig) -> pl.DataFrame:
    mints = [f"m{column:03d}" for column in range(COLUMNS)]
    times = START_MS + np.arange(ROWS) * MINUTE_MS
    table = pl.DataFrame(
        {
            "mint": np.repeat(mints, ROWS),
            "timestamp": np.tile(times, COLUMNS),
            **{name: values.T.ravel() for name, values in prices.items()},
            "volume": np.ones(ROWS * COLUMNS),
        }
    ).cast(frames.CANDLES)
    called = pl.DataFrame(
        {"call_id": mints, "caller": "caller", "mint": mints, "called_at": pl.Series([START_MS] * COLUMNS)}
    ).cast(frames.CALLS)
    return simulate(table, called, config, timeframe="1m").trades


def trades_there(prices: Prices, config: StrategyConfig) -> pl.DataFrame:
    """Return row of exit (counted in the window), prices, profit per token, and whether the trade is closed."""
    first = prices["open"][:1]
    padded = {name: np.vstack([first, values]) for name, values in prices.items()}
    entries = np.zeros((ROWS + 1, COLUMNS), np.bool_)
    entries[0] = True
    leave = config.exit
    vectorbt = peer()
    portfolio = vectorbt.Portfolio.from_signals(
        **padded,
        entries=entries,
        exits=False,
        size=1.0,
        init_cash=1e6,
        tp_stop=leave.targets[0].multiple - 1 if leave.targets else np.nan,
        sl_stop=leave.trailing.distance if leave.trailing else leave.stop_loss or np.nan,
        sl_trail=leave.trailing is not None,
        stop_exit_price="stopmarket",
        fees=config.costs.fee_bps / 1e4,
        slippage=config.costs.slippage_bps / 1e4,
    )
    records = portfolio.exit_trades.records
    return pl.DataFrame(
        {name: records[name].to_numpy() for name in ("col", "exit_idx", "entry_price", "exit_price", "pnl", "status")}
    ).sort("col")


STRATEGIES = {
    "target": strategy([(1.5, 1)]),
    "stop": strategy(stop=0.25),
    "target and stop": strategy([(1.5, 1)], stop=0.25),
    "near target and stop": strategy([(1.125, 1)], stop=0.125),
    "trail from the entry": strategy(trail=(1.0, 0.25)),
    "trail and target": strategy([(1.5, 1)], trail=(1.0, 0.25)),
    "costs": strategy([(1.5, 1)], stop=0.25, costs=Costs(fee_bps=30, slippage_bps=50)),
}


@pytest.mark.parametrize("grid", [True, False], ids=["prices on a grid", "any prices"])
@pytest.mark.parametrize("config", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_same_trades(config, grid):
    prices = market(seed=11, grid=grid)
    here, there = trades_here(prices, config), trades_there(prices, config)

    closed = (there["status"] == 1).to_numpy()
    assert closed.sum() > COLUMNS / 4
    exit_rows = (here["exit_time"].to_physical() - START_MS).to_numpy() // MINUTE_MS
    assert (exit_rows == there["exit_idx"].to_numpy() - 1).all()
    ended = here["exit_reason"].is_in(["end_of_data", "horizon"]).to_numpy()
    assert (ended == ~closed).all()
    slip = config.costs.slippage_bps / 1e4
    sold = here["exit_price"].to_numpy() * np.where(closed, 1 - slip, 1.0)
    assert sold == pytest.approx(there["exit_price"].to_numpy(), rel=1e-13)
    bought = here["entry_price"].to_numpy() * (1 + slip)
    assert bought == pytest.approx(there["entry_price"].to_numpy(), rel=1e-15)
    profit = here["net_return"].to_numpy() * bought * (1 + config.costs.fee_bps / 1e4)
    assert profit[closed] == pytest.approx(there["pnl"].to_numpy()[closed], rel=1e-10, abs=1e-12)


def test_an_open_above_the_target_fills_here_although_the_stop_is_reached_later():
    rows = [(1, 1, 1, 1), (2.5, 2.5, 0.5, 0.5)]
    config = strategy([(2, 1)], stop=0.25)
    table = candles(rows)
    here = simulate(table, calls(), config, timeframe="1m")
    prices = {name: table[name].to_numpy().reshape(-1, 1) for name in ("open", "high", "low", "close")}
    vectorbt = peer()
    there = vectorbt.Portfolio.from_signals(
        **prices, entries=np.array([[True], [False]]), exits=False, size=1.0, init_cash=1e6, tp_stop=1.0, sl_stop=0.25
    ).exit_trades.records
    assert here.trades["exit_price"].to_list() == [2.5]
    assert there["exit_price"].to_list() == [0.75]
