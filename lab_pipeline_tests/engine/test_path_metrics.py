"""The path after the entry and the hour before it, on both engines."""

import math

import pytest

from lab_pipeline.domain.strategy import Entry

from .market import Engine, calls, candles, flat, strategy

HOLD = strategy([(1.01, 1)])


def path(engine: Engine, rows, *, minutes=None, at=0.0, config=HOLD, volume=1.0):
    frame = candles(rows, minutes=minutes, volume=volume)
    return engine(frame, calls(("c", "m", at)), config, timeframe="1m").paths.row(0, named=True)


def test_the_path_goes_on_after_the_exit(engine: Engine):
    rows = [flat(1), (1, 2.5, 0.5, 2), (2, 6, 2, 5), (5, 12, 0.25, 4)]
    found = path(engine, rows)
    assert found["ath_multiple"] == 12
    assert found["time_to_ath_minutes"] == 3
    assert [found[f"time_to_{multiple}x_minutes"] for multiple in (2, 3, 5, 10)] == [1, 2, 2, 3]
    assert found["min_multiple_before_2x"] == 0.5
    assert found["final_multiple"] == 4


def test_a_multiple_that_is_never_reached_is_null(engine: Engine):
    found = path(engine, [flat(1), (1, 1.999, 0.5, 1)])
    assert [found[f"time_to_{multiple}x_minutes"] for multiple in (2, 3, 5, 10)] == [None] * 4
    assert found["min_multiple_before_2x"] is None


def test_the_first_of_equal_highs_is_the_ath(engine: Engine):
    rows = [flat(1)] + [(1, 1.5, 1, 1)] * 150
    assert path(engine, rows)["time_to_ath_minutes"] == 1


def test_a_price_that_is_never_exceeded_is_its_own_ath(engine: Engine):
    found = path(engine, [flat(1), flat(0.5), flat(1)])
    assert (found["ath_multiple"], found["time_to_ath_minutes"]) == (1, 0)


def test_an_inside_entry_counts_low_and_close_of_its_candle_not_its_high(engine: Engine):
    config = strategy([(1.01, 1)], entry=Entry(kind="dip", fraction=0.5))
    found = path(engine, [(4, 100, 1, 3), flat(3)], config=config)
    assert found["ath_multiple"] == 1.5
    assert found["time_to_ath_minutes"] == 0
    doubled = path(engine, [(4, 100, 1, 4), flat(4)], config=config)
    assert doubled["time_to_2x_minutes"] == 0
    assert doubled["min_multiple_before_2x"] == 0.5


def test_the_path_ends_with_the_horizon(engine: Engine):
    config = strategy([(1.01, 1)], horizon_minutes=2)
    found = path(engine, [flat(1), flat(1.5), flat(9)], config=config)
    assert (found["ath_multiple"], found["final_multiple"]) == (1.5, 1.5)


def test_the_hour_before_ends_before_the_entry_candle(engine: Engine):
    rows = [flat(8), (2, 2, 1, 1), flat(2), flat(4), flat(100)]
    found = path(engine, rows, minutes=[-61, -60, -30, -1, 0], volume=2.5)
    returns = [math.log(2), math.log(2)]
    assert found["pre_return_1h"] == 4 / 2 - 1
    assert found["pre_volume_1h"] == 7.5
    assert found["pre_volatility_1h"] == pytest.approx(math.sqrt(sum((r - returns[0]) ** 2 for r in returns)))


def test_the_volatility_is_that_of_log_returns_with_ddof_1(engine: Engine):
    rows = [flat(price) for price in (1, 2, 3, 1, 5)]
    found = path(engine, rows, minutes=[-4, -3, -2, -1, 0])
    returns = [math.log(2), math.log(1.5), math.log(1 / 3)]
    mean = sum(returns) / 3
    assert found["pre_volatility_1h"] == pytest.approx(math.sqrt(sum((r - mean) ** 2 for r in returns) / 2))


def test_without_candles_before_the_entry_the_features_are_null(engine: Engine):
    found = path(engine, [flat(1), flat(1)])
    assert [found[name] for name in ("pre_return_1h", "pre_volatility_1h", "pre_volume_1h")] == [None] * 3


def test_two_candles_before_the_entry_have_no_volatility(engine: Engine):
    found = path(engine, [flat(1), flat(2), flat(1)], minutes=[-2, -1, 0])
    assert (found["pre_return_1h"], found["pre_volatility_1h"], found["pre_volume_1h"]) == (1.0, None, 2.0)


def test_candles_between_call_and_entry_are_known_before_the_entry(engine: Engine):
    config = strategy([(9, 1)], entry=Entry(kind="dip", fraction=0.5))
    found = path(engine, [flat(4), flat(3), flat(2)], config=config)
    assert found["pre_return_1h"] == 3 / 4 - 1


def test_the_hour_of_day_is_that_of_the_entry_in_utc(engine: Engine):
    assert path(engine, [flat(1)], minutes=[60 * 49.5], at=60 * 49)["hour_of_day"] == 1
