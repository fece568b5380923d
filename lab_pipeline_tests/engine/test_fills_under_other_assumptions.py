"""The lanes of a run, worked out by hand and held to runs that assume what they assume."""

import polars as pl
import pytest

from lab_pipeline.domain.strategy import Costs, EndOfData, Portfolio, StrategyConfig
from lab_pipeline.engine import simulate

from .market import calls, candles, flat, strategy
from .whole_numbers import CONFIG, market

DAY = 1440
STOPPED = [(1, 1.05, 0.95, 1), (0.95, 1, 0.1, 0.2)]


def lanes(prices, frame, config, **options):
    table = simulate(prices, frame, config, timeframe="1m", doubted=True, **options).fill_certainty
    return {row["lane"]: row for row in table.to_dicts()}


def test_a_stop_at_its_level_half_way_and_at_the_low():
    """The worked example 19 of the contract."""
    found = lanes(candles(STOPPED), calls(), strategy(stop=0.3))
    assert found["as run"]["expectancy"] == pytest.approx(-0.3)
    assert found["stops at their level"]["expectancy"] == pytest.approx(-0.3)
    assert found["stops half way to the low"]["expectancy"] == pytest.approx(-0.6)
    assert found["stops at the low"]["expectancy"] == pytest.approx(-0.9)
    assert found["stops at the low"]["total_return"] == pytest.approx(100 * -0.9 / 10_000)


def test_ended_tokens_are_worth_nothing():
    found = lanes(candles([flat(1), flat(2)]), calls(), strategy(stop=0.3))
    assert found["as run"]["expectancy"] == pytest.approx(1.0)
    assert found["ended tokens worthless"]["expectancy"] == -1.0


def test_costs_under_stress_are_never_below_the_strategys_own():
    prices = candles([flat(1), flat(2)])
    found = lanes(prices, calls(), strategy([(2, 1)], costs=Costs(fee_bps=30, slippage_bps=300)))
    fee, slip = 0.005, 0.03
    expected = 2 * (1 - slip) * (1 - fee) / ((1 + slip) * (1 + fee)) - 1
    assert found["50/100 bp"]["expectancy"] == pytest.approx(expected)
    assert (found["50/100 bp"]["fee_bps"], found["50/100 bp"]["slippage_bps"]) == (50, 300)


def test_a_late_entry_buys_at_a_later_open():
    prices = candles([flat(1), flat(1.25), flat(1.6), flat(2)])
    found = lanes(prices, calls(), strategy(max_hold=100))
    assert found["0 candles later"]["expectancy"] == pytest.approx(1.0)
    assert found["1 candle later"]["expectancy"] == pytest.approx(2 / 1.25 - 1)
    assert found["3 candles later"]["expectancy"] == pytest.approx(0.0)
    assert found["4 candles later"]["trades"] == 0
    assert found["4 candles later"]["expectancy"] is None
    assert found["4 candles later"]["total_return"] is None


def test_what_size_does_is_not_said_where_costs_do_not_know_it():
    found = lanes(candles([flat(1), flat(2)]), calls(), strategy([(2, 1)]))
    assert found["1 times the stake"]["expectancy"] == pytest.approx(1.0)
    assert [found[f"{stake} times the stake"]["expectancy"] for stake in ("0.5", "2", "5")] == [None] * 3


def test_a_stake_below_the_fixed_fee_buys_nothing():
    config = strategy([(2, 1)], costs=Costs(fixed_fee=60))
    found = lanes(candles([flat(1), flat(2)]), calls(), config)
    # 40 of the stake of 100 buy tokens that bring 80 less 60; of 50 nothing is left
    assert found["1 times the stake"]["expectancy"] == pytest.approx(20 / 100 - 1)
    assert found["0.5 times the stake"]["expectancy"] is None
    assert found["2 times the stake"]["expectancy"] == pytest.approx((140 * 2 - 60) / 200 - 1)


def test_gains_of_candles_that_traded_less_than_the_stake():
    thin = candles([flat(1), flat(2)], mint="thin", volume=10)
    thick = candles([flat(1), flat(4)], mint="thick", volume=1_000)
    frame = calls(("a", "thin", 0), ("b", "thick", 0))
    found = lanes(pl.concat([thin, thick]), frame, strategy([(2, 1)]))["without thin candles"]
    # 1.0 is won on the thin one, 3.0 on the thick one, which opens above its target
    assert found["thin_share"] == pytest.approx(0.25)
    assert found["trades"] == 1
    assert found["expectancy"] == pytest.approx(3.0)


def test_without_trades_nothing_is_said():
    table = simulate(candles([]), calls(), strategy([(2, 1)]), timeframe="1m", doubted=True).fill_certainty
    assert table["trades"].to_list() == [0] * len(table)
    unsaid = table.select("expectancy", "expectancy_low", "expectancy_high", "total_return", "thin_share")
    assert unsaid.null_count().row(0) == (len(table),) * 5


def test_there_are_no_lanes_unless_they_are_asked_for():
    result = simulate(candles(STOPPED), calls(), strategy(stop=0.3), timeframe="1m")
    assert result.fill_certainty.is_empty()
    assert result.nulls.is_empty()


CANDLES, CALLS = market()
UNLIMITED = Portfolio(initial_capital=1e9, max_open_positions=None)
BASE = CONFIG.model_copy(update={"portfolio": UNLIMITED, "reentry": None})
SIZED = Costs.model_validate({"feeBps": 30, "slippageBps": 10, "fixedFee": 1, "impact": {"model": "volume_share"}})


def changed(config: StrategyConfig, block: str, **fields) -> StrategyConfig:
    return config.model_copy(update={block: getattr(config, block).model_copy(update=fields)})


@pytest.mark.parametrize("costs", [BASE.costs, SIZED], ids=["plain", "by size"])
def test_lanes_are_what_runs_with_their_assumptions_return(costs):
    config = BASE.model_copy(update={"costs": costs})
    found = lanes(CANDLES, CALLS, config)
    entry = config.entry.delay_minutes
    stop = config.exit.stop_fill
    others = {
        "stops at their level": changed(config, "exit", stop_fill=stop.model_copy(update={"through": 0.0})),
        "stops half way to the low": changed(config, "exit", stop_fill=stop.model_copy(update={"through": 0.5})),
        "stops at the low": changed(config, "exit", stop_fill=stop.model_copy(update={"through": 1.0})),
        "ended tokens worthless": config.model_copy(update={"end_of_data": EndOfData(haircut=1)}),
        "50/500 bp": changed(config, "costs", fee_bps=50.0, slippage_bps=500.0),
        "7 candles later": changed(config, "entry", delay_minutes=entry + 7),
        "100/250 bp, 2 candles later": changed(
            changed(config, "entry", delay_minutes=entry + 2), "costs", fee_bps=100.0, slippage_bps=250.0
        ),
    }
    if costs.by_size:
        sizing = config.portfolio.sizing
        five = sizing.model_copy(update={"amount": 5 * sizing.amount})
        others["5 times the stake"] = changed(config, "portfolio", sizing=five)
    for lane, other in others.items():
        run = simulate(CANDLES, CALLS, other, timeframe="1m").summary
        assert found[lane]["trades"] == run.trades, lane
        assert found[lane]["expectancy"] == pytest.approx(run.expectancy, rel=1e-9), lane
        if "later" not in lane:  # of these some have no counterpart in the run, which the account took
            assert found[lane]["total_return"] == pytest.approx(run.total_return, rel=1e-6), lane


def test_more_costs_and_deeper_stops_never_raise_the_expectancy():
    found = {name: row["expectancy"] for name, row in lanes(CANDLES, CALLS, BASE).items()}
    assert found["stops at the low"] <= found["stops half way to the low"] <= found["stops at their level"]
    assert found["50/500 bp"] <= found["50/200 bp"] <= found["50/100 bp"]


def test_two_days_have_an_interval_and_one_has_none():
    config = strategy(horizon_minutes=10)
    prices = candles([flat(1), flat(1.2), flat(1), flat(1.4)], minutes=[0, 1, DAY, DAY + 1])
    both = lanes(prices, calls(("a", "m", 0), ("b", "m", DAY)), config)["as run"]
    assert both["expectancy_low"] <= both["expectancy"] <= both["expectancy_high"]
    alone = lanes(prices, calls(("a", "m", 0)), config)["as run"]
    assert (alone["expectancy"], alone["expectancy_low"]) == (pytest.approx(0.2), None)
