"""The return of every trade of every set, and the same sets under other assumptions about their fills."""

import pickle

import polars as pl
import pytest

from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.enums import IntrabarPolicy
from lab_pipeline.domain.space import Space
from lab_pipeline.domain.strategy import Exit, StopFill, StrategyConfig
from lab_pipeline.engine import simulate
from lab_pipeline.engine.sweep import Sets, Sweeper
from lab_pipeline_tests.engine.market import assert_identical

from .walks import walks

SPACE = {
    "exit.stopLoss": [0.1, 0.3],
    "exit.targets": [[], [{"multiple": 1.02, "fraction": 1.0}]],
    "costs.fixedFee": [0, 1],
    "reentry": [None, {"retrace": 0.1, "maxCount": 2}],
}
CANDLES, CALLS = walks(tokens=30, calls_each=4)
SETS = Sets(StrategyConfig(exit=Exit(stop_loss=0.3), horizon_minutes=240), Space.parse(SPACE))


def sweeper(sets=SETS, *, returns=True, threads=2):
    return Sweeper(CALLS, sets, timeframe="1m", threads=threads, returns=returns)


def pieces(count):
    mints = sorted(set(CANDLES["mint"]))
    return [
        CandleColumns.from_frame(CANDLES.filter(pl.col("mint").is_in(mints[one::count])).sort("mint", "timestamp"))
        for one in range(count)
    ]


def swept(sets=SETS, shards=1, threads=2):
    one = sweeper(sets, threads=threads)
    for piece in pieces(shards):
        one.add(piece)
    return one.finish()


def trades_of(made, sets_at_once=100):
    return pl.concat(made.returns.frames(sets_at_once))


@pytest.fixture(scope="module")
def once():
    return swept()


def test_every_trade_is_that_of_a_backtest(once):
    told = trades_of(once)
    assert told["trade_no"].max() == 3
    for number in range(len(SETS)):
        trades = simulate(CANDLES, CALLS, SETS.config(number), timeframe="1m").trades
        mine = told.filter(pl.col("set_id") == number).drop("set_id")
        assert_identical(mine, trades.select("call_id", "trade_no", "net_return"))


def test_sums_by_call_are_those_of_its_trades(once):
    net, trades = once.returns.sums()
    order = CALLS.sort("called_at", "call_id")["call_id"]
    told = trades_of(once).group_by("set_id", "call_id").agg(pl.col("net_return").sum(), pl.len().alias("trades"))
    for number, call, total, count in told.iter_rows():
        place = order.index_of(call)
        assert trades[place, number] == count
        assert net[place, number] == pytest.approx(total, abs=1e-12)
    assert trades.sum() == told["trades"].sum() == once.sets["trades"].sum()
    assert once.callers[once.returns.caller[0]] == CALLS.sort("called_at", "call_id")["caller"][0]


def test_threads_shards_and_parts_change_nothing(once):
    told = trades_of(once)
    assert_identical(trades_of(swept(shards=4, threads=1)), told)
    assert_identical(trades_of(once, sets_at_once=3), told)
    gathering = sweeper()
    for piece in pieces(3):
        worker = sweeper(threads=1)
        worker.add(piece)
        gathering.add_part(pickle.loads(pickle.dumps(worker.part())))  # noqa: S301 - its own
    assert_identical(trades_of(gathering.finish()), told)


def test_a_part_without_returns_is_refused():
    worker = sweeper(returns=False)
    worker.add(pieces(1)[0])
    with pytest.raises(ValueError, match="did not keep its returns"):
        sweeper().add_part(worker.part())
    assert swept().returns is not None
    bare = sweeper(returns=False)
    bare.add(pieces(1)[0])
    assert bare.finish().returns is None


@pytest.mark.parametrize(
    "assumed", [{"through": 0.0}, {"through": 1.0}, *({"intrabar": one} for one in list(IntrabarPolicy)[:3])]
)
def test_sets_under_another_assumption_are_backtests_under_it(assumed, once):
    others = SETS.assuming(**assumed)
    made = swept(others)
    assert others.hashes == SETS.hashes
    for number in range(len(SETS)):
        config = SETS.config(number)
        if "through" in assumed:
            leave = config.exit.model_copy(update={"stop_fill": StopFill(through=assumed["through"])})
            config = config.model_copy(update={"exit": leave})
        else:
            config = config.model_copy(update=assumed)
        summary = simulate(CANDLES, CALLS, config, timeframe="1m").summary
        told = made.sets.row(number, named=True)
        assert (told["trades"], told["expectancy"]) == (summary.trades, summary.expectancy)
    assert_identical(swept().sets, once.sets)


def test_an_assumption_is_of_every_set_that_finer_candles_decide():
    space = Space.parse({"exit.stopLoss": [0.1, 0.2], "intrabar": ["finer", "stop_first"], "finerTimeframe": ["1s"]})
    sets = Sets(StrategyConfig(exit=Exit(stop_loss=0.3), intrabar="finer", finer_timeframe="1s"), space)
    assert {sets.assuming(intrabar=IntrabarPolicy.TARGET_FIRST).config(number).intrabar for number in range(2)} == {
        "target_first"
    }
