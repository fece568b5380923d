"""The two engines agree bit for bit on what fills cost, plans, filters, signals and the rules of the account."""

from hypothesis import given, settings

from lab_pipeline.engine import reference, simulate

from .chances import HANDFULS, MARKETS, RELAXED, THOROUGH, parts
from .generated_fills import rich_configs, rich_markets, small_rich_markets
from .market import assert_same_simulation


def assert_engines_agree(market, config) -> None:
    finer = market.finer if config.finer_timeframe else None
    pool = getattr(config.costs.impact, "liquidity", 1.0)
    if pool is None and "liquidity" not in market.candles.columns:
        market.candles.insert_column(7, market.candles["volume"].alias("liquidity"))
    fast = simulate(market.candles, market.calls, config, timeframe="1m", threads=2, finer=finer)
    slow = reference.simulate(market.candles, market.calls, config, timeframe="1m", finer=finer)
    assert_same_simulation(fast, slow)


@parts
@given(market=rich_markets(mints=60 if THOROUGH else 20), config=rich_configs())
@settings(max_examples=MARKETS, **RELAXED)
def test_on_markets_of_many_calls(market, config, part):  # noqa: ARG001
    assert_engines_agree(market, config)


@parts
@given(market=small_rich_markets(), config=rich_configs())
@settings(max_examples=HANDFULS, **RELAXED)
def test_on_a_handful_of_candles(market, config, part):  # noqa: ARG001
    assert_engines_agree(market, config)
