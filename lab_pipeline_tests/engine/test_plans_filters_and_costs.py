"""What the caller said, which calls are entered at all, and what size costs, on both engines."""

import polars as pl
import pytest

from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import Simulation, Simulator, simulate

from .market import Engine, calls, candles, flat, minute

HOLD = {"maxHoldMinutes": 1e6}
TYPES = {
    "direction": pl.String(),
    "targets": pl.List(pl.Float64()),
    "chain": pl.String(),
}


def told(**columns: object) -> pl.DataFrame:
    """Return one call that says this."""
    return calls().with_columns(
        *(pl.Series(name, [value], TYPES.get(name, pl.Float64())) for name, value in columns.items())
    )


def outcome(simulation: Simulation) -> str:
    return simulation.outcomes["outcome"][0]


def run(engine: Engine, rows, document, frame=None, *, minutes=None, volume=1.0, liquidity=None, **options):
    prices = candles(rows, minutes=minutes, volume=volume)
    if liquidity is not None:
        prices = prices.with_columns(liquidity=pl.Series(liquidity, dtype=pl.Float64()))
    config = StrategyConfig.parse(document)
    return engine(prices, calls() if frame is None else frame, config, timeframe="1m", **options)


@pytest.mark.parametrize(("direction", "becomes"), [("short", "not_long"), ("long", "entered"), (None, "entered")])
def test_a_call_that_is_not_long_is_not_bought(engine: Engine, direction, becomes):
    assert outcome(run(engine, [flat(1)], {"exit": HOLD}, told(direction=direction))) == becomes


def test_a_short_call_without_candles_is_not_long_either(engine: Engine):
    assert outcome(run(engine, [], {"exit": HOLD}, told(direction="short"))) == "not_long"


@pytest.mark.parametrize(
    ("price", "bought"),
    [(0.9, (1, 0.9)), (1.5, (0, 1.0)), (None, (0, 1.0)), (0.5, None)],
    ids=["inside", "below at the open", "market", "never"],
)
def test_an_entry_by_signal_is_a_limit_at_the_callers_price(engine: Engine, price, bought):
    rows = [flat(1), (1, 1, 0.8, 1)]
    simulation = run(engine, rows, {"entry": {"kind": "signal"}, "exit": HOLD}, told(entry_price=price))
    expected = [] if bought is None else [(minute(bought[0]), bought[1])]
    assert simulation.trades.select("entry_time", "entry_price").rows() == expected


def test_the_plans_stop_is_its_price_and_its_fractions_are_cut_and_scaled(engine: Engine):
    document = {"exit": {"use": "signal", "targetFractions": [0.5, 0.25, 0.25], "stopFill": {"through": 0}}}
    frame = told(targets=[3.0, 2.0], stop_price=0.4)
    simulation = run(engine, [flat(1), (1, 2.5, 1, 1), (1, 1, 0.1, 0.1)], document, frame)
    sells = simulation.fills.filter(side="sell")
    assert sells.select("reason", "price").rows() == [("target", 2.0), ("stop_loss", 0.4)]
    assert sells["fraction"].to_list() == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("said", "rules", "becomes"),
    [
        ({"stop_price": 1.0}, {}, "invalid_plan"),
        ({"stop_price": 2.0, "targets": [3.0]}, {"stopLoss": 0.5}, "invalid_plan"),
        ({}, {}, "invalid_plan"),
        ({"targets": []}, {}, "invalid_plan"),
        ({}, {"stopLoss": 0.5}, "entered"),
        ({"targets": [0.5]}, {}, "entered"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_not_entered(engine: Engine, said, rules, becomes):
    assert outcome(run(engine, [flat(1)], {"exit": {"use": "signal", **rules}}, told(**said))) == becomes


def test_a_call_without_a_plan_follows_the_rules_and_one_with_a_plan_does_not(engine: Engine):
    document = {"exit": {"use": "signal", "stopLoss": 0.5, "stopFill": {"through": 0}}}
    rows = [flat(1), (1, 1, 0.45, 0.6), (0.6, 0.6, 0.1, 0.2)]
    exits = [run(engine, rows, document, frame).trades["exit_price"][0] for frame in (told(), told(stop_price=0.25))]
    assert exits == [0.5, 0.25]


def test_without_enough_candles_before_there_is_no_true_range(engine: Engine):
    document = {"exit": {"stopLoss": {"atr": {"n": 2, "k": 1}}}}
    rows = [flat(1)] * 4
    assert outcome(run(engine, rows, document, minutes=[-3, -2, -1, 0])) == "entered"
    assert outcome(run(engine, rows, document, minutes=[-1, 0, 1, 2])) == "no_history"
    assert outcome(run(engine, rows, document, minutes=[-1500, -2, -1, 0])) == "no_history"  # a day is the reach


def test_levels_by_true_range_lie_at_a_hundredth_of_the_entry_at_the_lowest(engine: Engine):
    rows = [flat(1), (1, 3, 1, 1), (1, 1, 0.001, 0.5)]
    document = {"exit": {"stopLoss": {"atr": {"n": 1, "k": 9}}, "stopFill": {"through": 0}}}
    assert run(engine, rows, document, minutes=[-2, -1, 0]).trades["exit_price"].to_list() == [0.01]


def test_a_trail_by_true_range_lies_below_the_peak(engine: Engine):
    rows = [flat(1), (1, 1.25, 1, 1), (1, 2, 1, 2), (2, 2, 1, 1)]
    trailing = {"activation": 1.0, "distance": {"atr": {"n": 1, "k": 2}}}
    document = {"exit": {"trailing": trailing, "stopFill": {"through": 0}}}
    trades = run(engine, rows, document, minutes=[-2, -1, 0, 1]).trades
    assert trades.select("exit_reason", "exit_price").rows() == [("trailing_stop", 1.5)]


BREAKOUT = {"all": [{"kind": "breakout", "n": 2}]}
BREAKDOWN = {"any": [{"kind": "breakout", "n": 2, "direction": "down"}]}
CLIMB = [flat(1), flat(1), flat(2), flat(3), flat(4), flat(1), flat(5)]


def test_a_signal_buys_at_the_open_after_the_candle_that_gave_it(engine: Engine):
    document = {"entry": {"when": BREAKOUT}, "exit": HOLD}
    assert run(engine, CLIMB, document).trades["entry_time"].to_list() == [minute(3)]
    late = document | {"entry": {"when": BREAKOUT, "maxWaitMinutes": 3}}
    assert outcome(run(engine, CLIMB, late)) == "no_entry"


def test_a_signal_may_come_from_the_last_candle_before_the_call(engine: Engine):
    document = {"entry": {"when": BREAKOUT}, "exit": HOLD}
    minutes = range(-3, len(CLIMB) - 3)
    assert run(engine, CLIMB, document, minutes=minutes).trades["entry_time"].to_list() == [minute(0)]


def test_a_signal_sells_everything_at_the_open_after_the_candle_that_gave_it(engine: Engine):
    trades = run(engine, CLIMB, {"exit": {"when": BREAKDOWN}}).trades
    assert trades.select("exit_reason", "exit_time", "exit_price").rows() == [("signal", minute(6), 5.0)]
    held = run(engine, CLIMB, {"exit": {"when": BREAKDOWN, "maxHoldMinutes": 6}}).trades
    assert held["exit_reason"].to_list() == ["time"]


@pytest.mark.parametrize(
    ("one", "fits"),
    [
        ({"field": "market_cap_at_call", "min": 10.0}, True),
        ({"field": "market_cap_at_call", "max": 9.0}, False),
        ({"field": "price_at_call", "min": 0.0}, False),
        ({"field": "chain", "in": ["sol", "eth"]}, True),
        ({"field": "chain", "in": ["eth"]}, False),
        ({"field": "hour_of_day", "in": [0]}, True),
        ({"field": "pre_volume_1h", "min": 2.0}, True),
        ({"field": "pre_volatility_1h", "min": 0.0}, False),
        ({"field": "call_number_on_token", "max": 1}, False),
        ({"field": "caller_calls_before", "min": 2}, True),
        ({"field": "token_age_minutes", "min": 30, "max": 30}, True),
    ],
    ids=str,
)
def test_a_filter_keeps_calls_of_which_it_holds_and_null_passes_none(engine: Engine, one, fits):
    frame = told(market_cap_at_call=10.0, price_at_call=None, chain="sol")
    others = calls(("x", "m", -30), ("y", "n", -20))
    simulation = run(
        engine, [flat(1)] * 3, {"exit": HOLD, "filters": [one]}, frame, minutes=[-2, -1, 0], all_calls=others
    )
    assert outcome(simulation) == ("entered" if fits else "filtered")
    assert (len(simulation.trades), len(simulation.paths)) == (int(fits), int(fits))


def test_what_fails_a_filter_but_was_never_bought_keeps_its_outcome(engine: Engine):
    document = {"exit": HOLD, "filters": [{"field": "hour_of_day", "in": [5]}]}
    assert outcome(run(engine, [], document)) == "no_candles"


STAKE = {"sizing": {"kind": "fixed", "amount": 100.0}}
AMM = {"costs": {"impact": {"model": "amm"}}, "portfolio": STAKE}
SHARE = {"costs": {"impact": {"model": "volume_share", "maxShare": 0.25}}, "portfolio": STAKE}


def test_a_stake_that_the_fixed_fee_eats_buys_nothing(engine: Engine):
    assert outcome(run(engine, [flat(1)], {"exit": HOLD, "costs": {"fixedFee": 100}})) == "stake_too_small"
    assert outcome(run(engine, [flat(1)], {"exit": HOLD, "costs": {"fixedFee": 99}})) == "entered"


def test_a_buy_takes_no_more_than_its_share_of_the_volume(engine: Engine):
    simulation = run(engine, [flat(2), flat(2)], {"exit": HOLD} | SHARE, volume=100.0)
    fills = simulation.fills
    assert fills["filled"].to_list() == [0.5, 1.0]  # 50 of the 100 wanted, a quarter of 200
    assert simulation.trades["invested"].to_list() == [50.0]
    assert outcome(run(engine, [flat(2)], {"exit": HOLD} | SHARE, volume=0.0)) == "no_liquidity"


def test_a_candle_without_volume_costs_the_most_that_slippage_may(engine: Engine):
    document = {"exit": HOLD, "costs": {"impact": {"model": "volume_share", "maxSlippage": 0.25}}}
    assert run(engine, [flat(1)], document, volume=0.0).fills["slippage"].to_list() == [0.25, 0.25]


def test_a_sell_into_an_empty_pool_brings_nothing(engine: Engine):
    simulation = run(engine, [flat(1)] * 3, {"exit": HOLD} | AMM, minutes=[-1, 0, 1], liquidity=[1e6, 1e6, 0.0])
    assert simulation.trades["net_return"].to_list() == [-1.0]
    assert simulation.trades["pnl"].to_list() == [-100.0]


def test_the_pool_of_a_candle_is_known_when_it_closes_and_for_an_hour(engine: Engine):
    rows, amm = [flat(1)] * 3, {"exit": HOLD} | AMM
    known = run(engine, rows, amm, minutes=[-61, 0, 1], liquidity=[2000.0, None, 4000.0]).fills["slippage"].to_list()
    assert known == pytest.approx([100 / 1000, 1 - 1 / (1 + 100 / 1.1 / 2000)])
    assert outcome(run(engine, rows, amm, minutes=[-62, 0, 1], liquidity=[2000.0, None, 4000.0])) == "no_liquidity"
    assert outcome(run(engine, rows, amm, minutes=[0, 1, 2], liquidity=[2000.0, None, 4000.0])) == "no_liquidity"


def test_what_is_sold_because_candles_end_loses_the_haircut(engine: Engine):
    simulation = run(engine, [flat(1)], {"exit": HOLD, "endOfData": {"haircut": 0.25}})
    assert simulation.trades.select("exit_reason", "exit_price").rows() == [("end_of_data", 0.75)]
    horizon = {"exit": HOLD, "endOfData": {"haircut": 0.25}, "horizonMinutes": 1}
    assert run(engine, [flat(1)], horizon).trades["exit_price"].to_list() == [1.0]
    assert (simulation.summary.expectancy_if_dead, simulation.summary.ended_trades) == (-1.0, 1)


def test_what_does_not_fit_is_named_by_its_path():
    finer = StrategyConfig.parse({"exit": HOLD, "intrabar": "finer", "finerTimeframe": "1m"})
    with pytest.raises(InvalidConfigError, match="finerTimeframe: candles of 1m do not divide"):
        Simulator(calls(), finer, timeframe="1m", finer=lambda wanted: wanted)
    finer = StrategyConfig.parse({"exit": HOLD, "intrabar": "finer", "finerTimeframe": "30s"})
    with pytest.raises(InvalidConfigError, match="finerTimeframe: there are no candles of 30s"):
        Simulator(calls(), finer, timeframe="1m")
    filtered = StrategyConfig.parse({"exit": HOLD, "filters": [{"field": "chain", "in": ["sol"]}]})
    with pytest.raises(InvalidConfigError, match=r"filters\[0\].field: the calls have no column chain"):
        Simulator(calls(), filtered, timeframe="1m")
    with pytest.raises(InvalidConfigError, match=r"liquidity: nothing tells what the pool holds"):
        run(simulate, [flat(1)], {"exit": HOLD} | AMM)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"stop_price": -1.0}, "column stop_price is -1.0 in row 0"),
        ({"targets": [2.0, 0.0]}, "column targets is"),
        ({"liquidity_at_call": -1.0}, "column liquidity_at_call is -1.0 in row 0"),
        ({"entry_price": float("nan")}, "column entry_price is nan in row 0"),
    ],
)
def test_numbers_that_calls_cannot_bring_are_refused(said, problem):
    with pytest.raises(LabError, match=problem):
        run(simulate, [flat(1)], {"exit": HOLD}, told(**said))
    with pytest.raises(LabError, match=r"column liquidity is -1.0"):
        run(simulate, [flat(1)], {"exit": HOLD}, liquidity=[-1.0])


def test_only_the_finer_candles_of_ambiguous_candles_are_asked_for():
    rows = [(1, 1.2, 0.9, 1), (1, 2.2, 0.6, 1), flat(1)]
    asked = []

    def source(wanted: pl.DataFrame) -> pl.DataFrame:
        asked.extend(wanted["timestamp"])
        return candles([(1, 2.2, 0.9, 1)], minutes=[1])

    document = {"exit": {"targets": [{"multiple": 2, "fraction": 1}], "stopLoss": 0.3}}
    config = StrategyConfig.parse(document | {"intrabar": "finer", "finerTimeframe": "30s"})
    simulator = Simulator(calls(), config, timeframe="1m", finer=source)
    simulator.add(CandleColumns.from_frame(candles(rows)))
    assert simulator.finish().trades["exit_reason"].to_list() == ["target"]
    assert asked == [minute(1)]
