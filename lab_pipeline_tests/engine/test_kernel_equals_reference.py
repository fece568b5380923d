"""The kernel and the fast portfolio give what the plain Python gives, bit for bit, on whatever is thrown at them."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from lab_pipeline.domain import frames
from lab_pipeline.domain.enums import SizingKind
from lab_pipeline.domain.strategy import (
    Costs,
    Exit,
    FixedSizing,
    FractionSizing,
    Portfolio,
    Reentry,
    StrategyConfig,
    Target,
)
from lab_pipeline.engine import reference, simulate

from .chances import HANDFULS, MARKETS, RELAXED, THOROUGH, parts
from .generated import MINUTE_MS, START_MS, configs, markets, small_candles
from .market import assert_same_simulation, calls


def assert_engines_agree(candles, calls, config) -> None:
    fast = simulate(candles, calls, config, timeframe="1m", threads=2)
    assert_same_simulation(fast, reference.simulate(candles, calls, config, timeframe="1m"))


@parts
@given(market=markets(mints=60 if THOROUGH else 20), config=configs())
@settings(max_examples=MARKETS, **RELAXED)
def test_on_markets_of_many_calls(market, config, part):  # noqa: ARG001
    assert_engines_agree(market.candles, market.calls, config)


@parts
@given(candles=small_candles(), config=configs())
@settings(max_examples=HANDFULS, **RELAXED)
def test_on_a_handful_of_candles(candles, config, part):  # noqa: ARG001
    assert_engines_agree(candles, calls(("a", "m", 0), ("b", "m", 0.5)), config)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizing", [FixedSizing(amount=3.0), FractionSizing(kind=SizingKind.FRACTION, fraction=0.01)])
def test_on_a_hundred_positions_open_at_once(seed, sizing):
    """Candles with gaps and off one another's grid, prices of all digits: each step adds up in the order of opening."""
    random = np.random.default_rng(seed)
    rows, entries = [], []
    for number in range(40):
        gaps = random.choice([1, 1, 1, 2, 5], 200) if number % 2 else np.ones(200, np.int64)
        start = START_MS + int(random.integers(0, 30)) * MINUTE_MS + (number % 5) * 7_001
        price = 1.0
        for step in np.cumsum(gaps).tolist():
            opened, price = price, price * float(np.exp(random.normal(0, 0.03)))
            high, low = max(opened, price) * 1.01, min(opened, price) * 0.99
            rows.append((f"m{number:02d}", start + step * MINUTE_MS, opened, high, low, price, 1.0))
        entries += [
            (f"c{number}-{one}", "ann", f"m{number:02d}", start + int(random.integers(0, 4e6))) for one in range(4)
        ]
    config = StrategyConfig(
        exit=Exit(targets=(Target(multiple=1.2, fraction=0.3), Target(multiple=1.4, fraction=0.3)), stop_loss=0.2),
        reentry=Reentry(retrace=0.1, max_count=2),
        costs=Costs(fee_bps=30, slippage_bps=10),
        horizon_minutes=180,
        portfolio=Portfolio(initial_capital=1000, sizing=sizing, max_open_positions=None),
    )
    made = pl.DataFrame(entries, schema=dict(frames.CALLS) | {"called_at": pl.Int64}, orient="row")
    candles = pl.DataFrame(rows, schema=dict(frames.CANDLES) | {"timestamp": pl.Int64}, orient="row")
    assert_engines_agree(candles.cast(frames.CANDLES), made.cast(frames.CALLS), config)
