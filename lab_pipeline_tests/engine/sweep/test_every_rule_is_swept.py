"""The comparisons of a sweep with backtests of its sets meet every rule, and a million trades."""

from collections import Counter
from itertools import count

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from lab_pipeline_tests.engine.chances import RELAXED
from lab_pipeline_tests.engine.generated_fills import rich_markets

from .features import FEATURES, features
from .generated_sweeps import assert_set_is_the_backtest, backtest_of, sweep_of, sweeps, with_a_pool

ROUNDS = 24
"""The rarest rules decide a trade in one of a few hundred examples."""


def seen_in(number: int, examples: int, mints: int, sets: int) -> Counter[str]:
    """Hold the sets of generated sweeps to their backtests, the same for a number; return what decided how often."""
    seen: Counter[str] = Counter()

    @seed(number)
    @given(market=rich_markets(mints=mints), swept=st.one_of(sweeps(most=sets), sweeps(rich=True, most=sets)))
    @settings(max_examples=examples, database=None, **RELAXED)
    def compare(market, swept):
        candles = with_a_pool(market.candles)
        made = sweep_of(swept, candles, market.calls, market.finer)
        for place, by_kernel in enumerate(made.sets["by_kernel"]):
            backtest = backtest_of(swept, place, candles, market.calls, market.finer)
            assert_set_is_the_backtest(made, place, backtest)
            seen.update(features(swept.sets.config(place), backtest, by_kernel))
            seen["trades"] += len(backtest.trades)

    compare()
    return seen


@pytest.mark.slow
def test_every_rule_decides_some_trades():
    seen: Counter[str] = Counter()
    for number in range(ROUNDS):
        seen += seen_in(number, examples=25, mints=20, sets=6)
        if all(seen[name] for name in FEATURES):
            break
    assert {name for name in FEATURES if not seen[name]} == set()


@pytest.mark.long
def test_every_rule_decides_some_of_a_million_trades():
    seen: Counter[str] = Counter()
    for number in count(1):
        seen += seen_in(number, examples=50, mints=500, sets=20)
        if seen["trades"] >= 1_000_000:
            break
    assert {name: seen[name] for name in FEATURES if seen[name] < 50} == {}
