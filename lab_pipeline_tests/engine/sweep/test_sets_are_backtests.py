"""Whatever the rules, a set of a sweep is what a backtest of its configuration gives, to the bit."""

from hypothesis import given, settings

from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.engine.sweep import Sweeper
from lab_pipeline_tests.engine.chances import RELAXED, THOROUGH, parts
from lab_pipeline_tests.engine.generated import markets, small_candles
from lab_pipeline_tests.engine.generated_fills import rich_markets, small_rich_markets
from lab_pipeline_tests.engine.market import calls

from .generated_sweeps import assert_set_is_the_backtest, backtest_of, sweeps

MARKETS, HANDFULS = (150, 1_500) if THOROUGH else (10, 40)


def assert_sweep_is_its_backtests(swept, candles, called, finer=None) -> None:
    sources = {} if finer is None else {"20s": lambda _: finer}
    sweeper = Sweeper(called, swept.sets, timeframe="1m", threads=2, finer=sources)
    sweeper.add(CandleColumns.from_frame(candles.sort("mint", "timestamp")))
    made = sweeper.finish()
    for number in range(len(swept.sets)):
        assert_set_is_the_backtest(made, number, backtest_of(swept, number, candles, called, finer))


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
@given(market=rich_markets(mints=60 if THOROUGH else 12), swept=sweeps(rich=True))
@settings(max_examples=MARKETS, **RELAXED)
def test_on_markets_that_tell_all(market, swept, part):  # noqa: ARG001
    assert_sweep_is_its_backtests(swept, _with_a_pool(market.candles), market.calls, market.finer)


@parts
@given(market=small_rich_markets(), swept=sweeps(rich=True))
@settings(max_examples=HANDFULS, **RELAXED)
def test_on_a_handful_of_candles_that_tell_all(market, swept, part):  # noqa: ARG001
    assert_sweep_is_its_backtests(swept, _with_a_pool(market.candles), market.calls, market.finer)


def _with_a_pool(candles):
    """A strategy that trades with a pool is refused where nothing tells what it holds."""
    if "liquidity" in candles.columns:
        return candles
    return candles.with_columns(candles["volume"].alias("liquidity"))
