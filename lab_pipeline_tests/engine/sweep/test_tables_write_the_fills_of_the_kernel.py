"""Trades that tables decide have every field and every fill that the kernel gives them."""

import numpy as np
from hypothesis import given, settings

from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.engine import kernel
from lab_pipeline.engine.calls import NO_FINER, CallBook
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.history import reach_of
from lab_pipeline.engine.rules import options_of, rules_of
from lab_pipeline.engine.shards import CallsByMint, laid_out
from lab_pipeline.engine.sweep.space import block_of
from lab_pipeline.engine.sweep.touch import build_index, record_trades
from lab_pipeline.engine.sweep.worker import plans_of
from lab_pipeline_tests.engine.chances import RELAXED, THOROUGH, parts
from lab_pipeline_tests.engine.generated import MINUTE_MS, markets, small_candles
from lab_pipeline_tests.engine.generated_fills import rich_markets
from lab_pipeline_tests.engine.market import calls

from .generated_sweeps import sweeps

MARKETS, HANDFULS = (250, 2_500) if THOROUGH else (15, 60)
VALUED = ("shard", "mark", "mark_time")
"""Fields that the portfolio's marks fill."""


@parts
@given(market=markets(mints=60 if THOROUGH else 12), swept=sweeps())
@settings(max_examples=MARKETS, **RELAXED)
def test_on_markets_of_many_calls(market, swept, part):  # noqa: ARG001
    assert_same_records(swept.sets, market.candles, market.calls)


@parts
@given(candles=small_candles(), swept=sweeps())
@settings(max_examples=HANDFULS, **RELAXED)
def test_on_a_handful_of_candles(candles, swept, part):  # noqa: ARG001
    assert_same_records(swept.sets, candles, calls(("a", "m", 0), ("b", "m", 0.5)))


@parts
@given(market=rich_markets(mints=60 if THOROUGH else 12), swept=sweeps(rich=True))
@settings(max_examples=MARKETS, **RELAXED)
def test_on_markets_that_tell_all(market, swept, part):  # noqa: ARG001
    assert_same_records(swept.sets, market.candles, market.calls)


def assert_same_records(sets, candles, called) -> None:
    ordered = called.sort("called_at", "call_id")
    shard = CandleColumns.from_frame(candles.sort("mint", "timestamp"))
    columns, liquidity = laid_out(shard)
    for number, rules in enumerate(sets.rules):
        config = sets.config(number)
        ranks, first, last = CallsByMint(ordered["mint"]).on(shard)
        told = CallBook(ordered, config, MINUTE_MS).of(ranks, first, last, columns)
        law, options = rules_of(config, MINUTE_MS), options_of(config, MINUTE_MS)
        _, entries = kernel.find_entries(columns, law, options, told, False)  # noqa: FBT003
        counts = sorted({n for n in (options.stop_ranges, options.trail_ranges) if n})
        ranges = [kernel.true_ranges(columns, told, entries, n, reach_of(n + 1, MINUTE_MS)) for n in counts]
        trades, fills, _, pairs = record_trades(
            columns,
            entries,
            build_index(columns, entries),
            readonly(np.array(ranges).reshape(len(counts), len(ranks))),
            plans_of(options, told, entries),
            block_of([rules], counts),
            MINUTE_MS,
        )
        paid = kernel.note_impact(columns, liquidity, law, options, told, entries, trades, fills)
        fills, trades = fills[np.repeat(paid, trades["fills"])], trades[paid]
        _, wanted, wanted_fills, opened = kernel.simulate_calls(columns, liquidity, NO_FINER, law, options, told)
        left = np.unique(pairs[:, 0])
        decided = ~np.isin(wanted["call"], left)
        assert (wanted["trade_no"][decided] == 1).all()  # who buys again is handed back
        assert not set(opened["call"]) - set(left)
        for name in set(kernel.TRADE.names) - set(VALUED):
            assert_same_bits(trades[name], wanted[name][decided], name)
        for name in kernel.FILL.names:
            assert_same_bits(fills[name], wanted_fills[np.repeat(decided, wanted["fills"])][name], name)


def assert_same_bits(left, right, name: str) -> None:
    assert np.ascontiguousarray(left).tobytes() == np.ascontiguousarray(right).tobytes(), (name, left, right)
