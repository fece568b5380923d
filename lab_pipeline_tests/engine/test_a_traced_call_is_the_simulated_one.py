"""A call that is looked at: the fills of the run, and the levels that each of its candles was tested against."""

import polars as pl
from hypothesis import given, settings

from lab_pipeline.domain.enums import FillReason, IntrabarPolicy
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import simulate
from lab_pipeline.engine.tracing import POLICIES, can_trace, trace_call

from .chances import RELAXED
from .generated import configs, markets


def physical(calls, number):
    return calls.with_columns(pl.col("called_at").to_physical()).row(number, named=True)


@given(market=markets(mints=3), config=configs())
@settings(max_examples=40, **RELAXED)
def test_fills_and_returns_are_those_of_the_run_under_each_policy(market, config):
    for policy in POLICIES:
        decided = config.model_copy(update={"intrabar": policy})
        run = simulate(market.candles, market.calls, decided, timeframe="1m")
        for number in range(min(3, market.calls.height)):
            call = physical(market.calls, number)
            traced = trace_call(call, market.candles, config, timeframe="1m")[policy]
            mine = run.trades.filter(pl.col("call_id") == call["call_id"]).sort("trade_no")
            assert [trade.net_return for trade in traced.trades] == mine["net_return"].to_list()
            for trade in traced.trades:
                assert len(trade.tested) == len(trade.seen)


def test_levels_are_those_that_a_candle_meets():
    config = StrategyConfig.model_validate(
        {"exit": {"targets": [{"multiple": 2.0, "fraction": 1.0}], "stopLoss": 0.5,
                  "trailing": {"activation": 1.2, "distance": 0.1}}, "horizonMinutes": 60}
    )  # fmt: skip
    rows = [(0, 1.0, 1.1, 0.9, 1.0), (1, 1.0, 1.5, 1.0, 1.4), (2, 1.4, 1.45, 1.2, 1.2)]
    candles = pl.DataFrame(
        [("M", minute * 60_000, *prices, 1.0) for minute, *prices in rows],
        ["mint", "timestamp", "open", "high", "low", "close", "volume"],
        orient="row",
    ).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))
    call = {"call_id": "1", "caller": "ann", "mint": "M", "called_at": 0}
    (trade,) = trace_call(call, candles, config, timeframe="1m")[IntrabarPolicy.STOP_FIRST].trades
    assert [(one.timestamp, one.stop, one.reason) for one in trade.tested] == [
        (0, 0.5, FillReason.STOP_LOSS),
        (60_000, 0.5, FillReason.STOP_LOSS),
        (120_000, 1.5 * (1.0 - 0.1), FillReason.TRAILING_STOP),
    ]
    assert {one.target for one in trade.tested} == {2.0}
    assert trade.exit.reason is FillReason.TRAILING_STOP


def test_a_registered_signal_is_not_followed():
    plain = StrategyConfig.model_validate({"exit": {"stopLoss": 0.5}})
    asking = StrategyConfig.model_validate(
        {"exit": {"stopLoss": 0.5, "when": {"all": [{"kind": "registered", "name": "mine"}]}}}
    )
    assert can_trace(plain)
    assert not can_trace(asking)
