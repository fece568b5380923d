"""The kernel and the fast portfolio give what the plain Python gives, bit for bit, on whatever is thrown at them."""

import pytest
from hypothesis import HealthCheck, given, settings

from lab_pipeline.engine import reference, simulate

from .generated import configs, markets, small_candles
from .market import assert_same_simulation, calls

RELAXED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}


def assert_engines_agree(candles, calls, config) -> None:
    fast = simulate(candles, calls, config, timeframe="1m", threads=2)
    assert_same_simulation(fast, reference.simulate(candles, calls, config, timeframe="1m"))


@given(market=markets(), config=configs())
@settings(max_examples=80, **RELAXED)
def test_on_markets_of_many_calls(market, config):
    assert_engines_agree(market.candles, market.calls, config)


@given(candles=small_candles(), config=configs())
@settings(max_examples=150, **RELAXED)
def test_on_a_handful_of_candles(candles, config):
    assert_engines_agree(candles, calls(("a", "m", 0), ("b", "m", 0.5)), config)


@pytest.mark.long
@given(market=markets(mints=60), config=configs())
@settings(max_examples=1_000, **RELAXED)
def test_on_very_many_markets(market, config):
    assert_engines_agree(market.candles, market.calls, config)


@pytest.mark.long
@given(candles=small_candles(), config=configs())
@settings(max_examples=10_000, **RELAXED)
def test_on_very_many_handfuls_of_candles(candles, config):
    assert_engines_agree(candles, calls(("a", "m", 0), ("b", "m", 0.5)), config)
