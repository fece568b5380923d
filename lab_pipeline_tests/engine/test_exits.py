"""When, why and at what price a trade is sold, where the worked examples do not tell; on both engines."""

import pytest

from lab_pipeline.domain.enums import IntrabarPolicy
from lab_pipeline.domain.strategy import StrategyConfig

from .market import Engine, Prices, calls, candles, flat, strategy


def sold(engine: Engine, rows: list[Prices], config: StrategyConfig, minutes: list[float] | None = None):
    """Return reason and price of every sell."""
    fills = engine(candles(rows, minutes=minutes), calls(), config, timeframe="1m").fills
    return fills.filter(side="sell").select("reason", "price").rows()


def test_prices_that_equal_a_level_reach_it(engine: Engine):
    assert sold(engine, [flat(1), (1, 2, 1, 1)], strategy([(2, 1)], stop=0.5)) == [("target", 2)]
    assert sold(engine, [flat(1), (1, 1, 0.5, 1)], strategy([(2, 1)], stop=0.5)) == [("stop_loss", 0.5)]
    assert sold(engine, [flat(1), flat(0.5)], strategy([(2, 1)], stop=0.5)) == [("stop_loss", 0.5)]


def test_of_equal_levels_the_first_names_the_reason(engine: Engine):
    rows = [(1, 2, 1, 2), (2, 2, 0.5, 0.5)]
    both = strategy([(1.5, 0.5)], trail=(1.0, 0.5), break_even_after=1)
    assert sold(engine, rows, both)[-1] == ("break_even", 1)
    assert sold(engine, [flat(1), flat(0.5)], strategy(stop=0.5, trail=(1.0, 0.5))) == [("stop_loss", 0.5)]


def test_the_highest_level_is_the_stop(engine: Engine):
    rows = [(1, 3, 1, 3), (3, 3, 0.1, 0.1)]
    assert sold(engine, rows, strategy([(1.5, 0.5)], stop=0.2, trail=(1, 0.5), break_even_after=1))[-1] == (
        "trailing_stop",
        1.5,
    )


def test_an_activation_of_one_is_armed_from_the_entry(engine: Engine):
    assert sold(engine, [(1, 1, 0.7, 0.7)], strategy(trail=(1.0, 0.25))) == [("trailing_stop", 0.75)]


def test_the_trail_arms_when_the_peak_equals_the_activation(engine: Engine):
    rows = [(1, 1.5, 1, 1.5), (1.5, 1.5, 0.9, 1)]
    assert sold(engine, rows, strategy(trail=(1.5, 0.25))) == [("trailing_stop", 1.125)]
    assert sold(engine, rows, strategy(trail=(1.75, 0.25))) == [("end_of_data", 1)]


def test_break_even_holds_from_the_next_candle(engine: Engine):
    rows = [flat(1), (1.25, 1.5, 0.75, 1.25), (1.25, 1.25, 0.75, 0.75)]
    assert sold(engine, rows, strategy([(1.5, 0.5)], break_even_after=1)) == [("target", 1.5), ("break_even", 1)]


def test_several_targets_fill_at_one_open(engine: Engine):
    ladder = strategy([(2, 0.25), (3, 0.25), (5, 0.5)])
    assert sold(engine, [flat(1), (4, 4.5, 4, 4)], ladder) == [("target", 4), ("target", 4), ("end_of_data", 4)]


def test_several_targets_fill_in_one_range_each_at_its_level(engine: Engine):
    ladder = strategy([(2, 0.25), (3, 0.25), (5, 0.5)])
    assert sold(engine, [(1, 6, 1, 6)], ladder) == [("target", 2), ("target", 3), ("target", 5)]


def test_target_first_sells_the_rest_at_the_stop(engine: Engine):
    config = strategy([(2, 0.5)], stop=0.5, intrabar=IntrabarPolicy.TARGET_FIRST)
    assert sold(engine, [(1, 2, 0.5, 1)], config) == [("target", 2), ("stop_loss", 0.5)]


@pytest.mark.parametrize(
    ("row", "first"), [((1, 1.5, 0.25, 1), "target"), ((1, 1.75, 0.25, 1), "stop_loss"), ((1, 3, 0.25, 1), "stop_loss")]
)
def test_nearest_open_asks_which_extreme_is_nearer_and_a_tie_is_the_stop(engine: Engine, row: Prices, first: str):
    config = strategy([(1.5, 1)], stop=0.5, intrabar=IntrabarPolicy.NEAREST_OPEN)
    assert sold(engine, [row], config)[0][0] == first


def test_time_comes_before_the_stop_and_never_on_the_entry_candle(engine: Engine):
    config = strategy([(9, 1)], stop=0.5, max_hold=2)
    assert sold(engine, [flat(1), flat(1), (0.4, 9, 0.1, 1)], config) == [("time", 0.4)]
    assert sold(engine, [(1, 1, 1, 1), (2, 2, 2, 2)], strategy(max_hold=1e-9)) == [("time", 2)]


def test_time_is_up_at_the_first_candle_after_a_gap(engine: Engine):
    assert sold(engine, [flat(1), flat(2), flat(3)], strategy(max_hold=5), minutes=[0, 4, 30]) == [("time", 3)]


def test_the_last_candle_of_the_horizon_and_the_end_of_the_data_are_told_apart(engine: Engine):
    rows = [flat(1), flat(2), flat(3)]
    assert sold(engine, rows, strategy([(9, 1)], horizon_minutes=2)) == [("horizon", 2)]
    assert sold(engine, rows, strategy([(9, 1)], horizon_minutes=2.5)) == [("horizon", 3)]
    assert sold(engine, rows, strategy([(9, 1)], horizon_minutes=3)) == [("horizon", 3)]
    assert sold(engine, rows, strategy([(9, 1)], horizon_minutes=3.5)) == [("end_of_data", 3)]


def test_fractions_that_miss_one_by_rounding_close_the_trade(engine: Engine):
    thirds = strategy([(2, 0.1), (3, 0.2), (4, 0.7)], stop=0.5)
    rows = [(1, 9, 1, 9), flat(0.1)]
    assert [reason for reason, _ in sold(engine, rows, thirds)] == ["target"] * 3


def test_a_target_takes_no_more_than_what_remains(engine: Engine):
    slightly_more = strategy([(2, 0.5), (3, 0.5 + 5e-10)])
    fills = engine(candles([(1, 9, 1, 9)]), calls(), slightly_more, timeframe="1m").fills
    assert fills["fraction"].to_list() == [1.0, 0.5, 0.5]


def test_excursions_count_from_the_entry_candle_to_the_exit_candle(engine: Engine):
    rows = [(1, 1.25, 0.75, 1), (1, 3, 0.875, 1), flat(9)]
    trade = engine(candles(rows), calls(), strategy([(2, 1)]), timeframe="1m").trades.row(0, named=True)
    assert (trade["mfe"], trade["mae"]) == (2.0, -0.25)


def test_excursions_of_a_time_exit_count_its_open_only(engine: Engine):
    rows = [flat(1), (1.5, 9, 0.1, 1)]
    trade = engine(candles(rows), calls(), strategy(max_hold=1), timeframe="1m").trades.row(0, named=True)
    assert (trade["mfe"], trade["mae"]) == (0.5, 0.0)


def test_excursions_of_an_inside_entry_count_low_and_close_of_its_candle(engine: Engine):
    config = strategy([(9, 1)], entry={"kind": "dip", "fraction": 0.5})
    trade = engine(candles([(4, 40, 1, 3)]), calls(), config, timeframe="1m").trades.row(0, named=True)
    assert (trade["entry_price"], trade["mfe"], trade["mae"]) == (2.0, 0.5, -0.5)


def test_the_exit_price_weighs_fills_by_size(engine: Engine):
    trade = engine(candles([(1, 3, 1, 1)]), calls(), strategy([(2, 0.25), (3, 0.25)]), timeframe="1m").trades
    assert trade["exit_price"].to_list() == [0.25 * 2 + 0.25 * 3 + 0.5 * 1]
    assert trade["exit_reason"].to_list() == ["end_of_data"]
    assert trade["hold_minutes"].to_list() == [0.0]


@pytest.mark.parametrize("policy", IntrabarPolicy)
def test_an_open_at_the_stop_is_the_stop_whatever_the_high(engine: Engine, policy: IntrabarPolicy):
    finer = "30s" if policy is IntrabarPolicy.FINER else None
    config = strategy([(2, 1)], stop=0.5, intrabar=policy, finer_timeframe=finer)
    simulation = engine(candles([flat(1), (0.5, 3, 0.5, 1)]), calls(), config, timeframe="1m", finer=candles([]))
    assert simulation.trades.select("exit_reason", "exit_price").rows() == [("stop_loss", 0.5)]
    assert simulation.outcomes["ambiguous_candles"].to_list() == [0]
