"""Whatever the rules, a set of a sweep is what a backtest of its configuration gives, to the bit."""

from hypothesis import given, settings

from lab_pipeline.engine import reference, simulate
from lab_pipeline_tests.engine.chances import RELAXED, THOROUGH, parts
from lab_pipeline_tests.engine.generated import markets, small_candles
from lab_pipeline_tests.engine.generated_fills import rich_markets, small_rich_markets
from lab_pipeline_tests.engine.market import calls

from .generated_sweeps import assert_set_is_the_backtest, backtest_of, sweep_of, sweeps, with_a_pool

MARKETS, HANDFULS = (150, 1_500) if THOROUGH else (10, 40)


def assert_sweep_is_its_backtests(swept, candles, called, finer=None, *, engine=simulate) -> None:
    made = sweep_of(swept, candles, called, finer)
    for number in range(len(swept.sets)):
        assert_set_is_the_backtest(made, number, backtest_of(swept, number, candles, called, finer, engine=engine))


@parts
@given(market=markets(mints=60 if THOROUGH else 12), swept=sweeps())
@settings(max_examples=MARKETS, **RELAXED)
def test_on_markets_of_many_calls(market, swept, part):  # noqa: ARG001
    assert_sweep_is_its_backtests(swept, market.candles, market.calls)


@parts
@given(candles=small_candles(), swept=sweeps())
@settings(max_examples=HANDFULS, **RELAXED)
def test_on_a_handful_of_candles(candles, swept, part):  # noqa: ARG001
    assert_sweep_is_its_backtests(swept, candles, calls(("a", "m", 0), ("b", "m", 0.5)))


@parts
@given(candles=small_candles(), swept=sweeps(most=4))
@settings(max_examples=HANDFULS, **RELAXED)
def test_on_a_handful_of_candles_by_the_reference(candles, swept, part):  # noqa: ARG001
    assert_sweep_is_its_backtests(swept, candles, calls(("a", "m", 0), ("b", "m", 0.5)), engine=reference.simulate)


@parts
@given(market=rich_markets(mints=60 if THOROUGH else 12), swept=sweeps(rich=True))
@settings(max_examples=MARKETS, **RELAXED)
def test_on_markets_that_tell_all(market, swept, part):  # noqa: ARG001
    assert_sweep_is_its_backtests(swept, with_a_pool(market.candles), market.calls, market.finer)


@parts
@given(market=small_rich_markets(), swept=sweeps(rich=True))
@settings(max_examples=HANDFULS, **RELAXED)
def test_on_a_handful_of_candles_that_tell_all(market, swept, part):  # noqa: ARG001
    assert_sweep_is_its_backtests(swept, with_a_pool(market.candles), market.calls, market.finer)


@parts
@given(market=small_rich_markets(), swept=sweeps(rich=True, most=4))
@settings(max_examples=HANDFULS, **RELAXED)
def test_on_a_handful_of_candles_that_tell_all_by_the_reference(market, swept, part):  # noqa: ARG001
    candles = with_a_pool(market.candles)
    assert_sweep_is_its_backtests(swept, candles, market.calls, market.finer, engine=reference.simulate)
