"""The kernel and the fast portfolio give what the plain Python gives, bit for bit, on whatever is thrown at them."""

import pytest
from hypothesis import HealthCheck, given, settings

from lab_pipeline.engine import reference, simulate

from .generated import configs, markets, small_candles
from .market import assert_same_simulation, calls

RELAXED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
PROFILE = settings.get_current_profile_name()
"""pytest's option --hypothesis-profile; the top conftest.py has them."""
THOROUGH = PROFILE == "thorough"
MARKETS, HANDFULS = {"quick": (20, 40), "thorough": (250, 2_500)}.get(PROFILE, (80, 150))
parts = pytest.mark.parametrize("part", range(4 if THOROUGH else 1))  # of chance each; for several processes


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
