"""When and at what price a call buys, on both engines."""

import pytest

from lab_pipeline.domain.enums import EntryKind
from lab_pipeline.domain.strategy import Entry, Reentry

from .market import Engine, Prices, calls, candles, flat, minute, strategy

TARGET = [(20.0, 1.0)]


def entry(
    kind: EntryKind = EntryKind.MARKET, fraction: float | None = None, delay: float = 0, wait: float = 60
) -> Entry:
    return Entry(kind=kind, fraction=fraction, delay_minutes=delay, max_wait_minutes=wait)


def bought(
    engine: Engine, rows: list[Prices], rule: Entry, minutes: list[float] | None = None, at: float = 0, **blocks
):
    """Return outcome, and minute and price of the buy."""
    simulation = engine(
        candles(rows, minutes=minutes), calls(("c", "m", at)), strategy(TARGET, entry=rule, **blocks), timeframe="1m"
    )
    times = [(time - minute(0)).total_seconds() / 60 for time in simulation.trades["entry_time"]]
    return simulation.outcomes["outcome"][0], *times, *simulation.trades["entry_price"]


RISE = [flat(price) for price in (1.0, 2.0, 3.0, 4.0)]


def test_a_call_between_candles_buys_at_the_next_open(engine: Engine):
    assert bought(engine, RISE, entry(), at=0.5) == ("entered", 1, 2.0)


def test_a_call_at_an_open_buys_at_that_open(engine: Engine):
    assert bought(engine, RISE, entry(), at=1) == ("entered", 1, 2.0)


def test_the_delay_moves_the_first_candle(engine: Engine):
    assert bought(engine, RISE, entry(delay=1.5)) == ("entered", 2, 3.0)


def test_a_market_entry_obeys_the_deadline(engine: Engine):
    assert bought(engine, RISE, entry(wait=5), minutes=[5, 6, 7, 8]) == ("no_entry",)
    assert bought(engine, RISE, entry(wait=5.1), minutes=[5, 6, 7, 8]) == ("entered", 5, 1.0)


def test_the_deadline_counts_from_the_delay(engine: Engine):
    assert bought(engine, RISE, entry(delay=2, wait=4), minutes=[5, 6, 7, 8]) == ("entered", 5, 1.0)


def test_a_window_without_candles(engine: Engine):
    assert bought(engine, RISE, entry(), at=4) == ("no_candles",)
    assert bought(engine, RISE, entry(), at=-30, horizon_minutes=30) == ("no_candles",)
    assert bought(engine, RISE, entry(), at=-30, horizon_minutes=30.5) == ("entered", 0, 1.0)


def test_a_dip_is_measured_from_the_first_open_of_the_window(engine: Engine):
    rows = [flat(8), (4, 4, 3.5, 3.5), (3.5, 3.5, 2.9, 3)]
    assert bought(engine, rows, entry(EntryKind.DIP, 0.25, delay=1)) == ("entered", 2, 3.0)


def test_a_dip_that_opens_below_the_limit_fills_at_the_open(engine: Engine):
    assert bought(engine, [flat(4), flat(2)], entry(EntryKind.DIP, 0.25)) == ("entered", 1, 2.0)


def test_a_dip_fills_inside_the_very_first_candle(engine: Engine):
    assert bought(engine, [(4, 4, 3, 3.5)], entry(EntryKind.DIP, 0.25)) == ("entered", 0, 3.0)


def test_a_dip_after_the_deadline_does_not_fill(engine: Engine):
    rows = [flat(4), flat(4), flat(2)]
    assert bought(engine, rows, entry(EntryKind.DIP, 0.25, wait=2)) == ("no_entry",)
    assert bought(engine, rows, entry(EntryKind.DIP, 0.25, wait=2.5)) == ("entered", 2, 2.0)


def test_a_rebound_uses_the_trough_of_earlier_candles_only(engine: Engine):
    rows = [(4, 4, 4, 4), (4, 4.5, 2, 4.5), (2.25, 2.6, 2.25, 2.5)]
    assert bought(engine, rows, entry(EntryKind.REBOUND, 0.25)) == ("entered", 2, 2.5)


def test_a_high_that_equals_the_level_is_a_rebound(engine: Engine):
    assert bought(engine, [flat(4), (4, 5, 4, 4.5)], entry(EntryKind.REBOUND, 0.25)) == ("entered", 1, 5.0)
    assert bought(engine, [flat(4), flat(5)], entry(EntryKind.REBOUND, 0.25)) == ("entered", 1, 5.0)


def test_a_rebound_that_opens_above_its_level_fills_at_the_open(engine: Engine):
    assert bought(engine, [flat(4), flat(6)], entry(EntryKind.REBOUND, 0.25)) == ("entered", 1, 6.0)


@pytest.mark.parametrize(("low", "sold"), [(2.25, [("stop_loss", 0, 2.25)]), (2.3, [("end_of_data", 0, 9.0)])])
def test_inside_the_entry_candle_only_the_stop_fills(engine: Engine, low: float, sold: list[tuple[str, int, float]]):
    rule = strategy([(1.5, 1)], stop=0.25, entry=entry(EntryKind.DIP, 0.25))
    simulation = engine(candles([(4, 9, low, 9)]), calls(), rule, timeframe="1m")
    sells = simulation.fills.filter(side="sell")
    assert [(row["reason"], row["timestamp"], row["price"]) for row in sells.rows(named=True)] == [
        (reason, minute(at), price) for reason, at, price in sold
    ]
    assert simulation.outcomes["ambiguous_candles"].to_list() == [0]


def test_the_high_of_the_entry_candle_does_not_raise_the_peak_after_an_inside_fill(engine: Engine):
    rule = strategy(trail=(1.0, 0.5), entry=entry(EntryKind.DIP, 0.25))
    simulation = engine(candles([(4, 40, 3, 3), (3, 3, 2, 2), (2, 2, 1, 1)]), calls(), rule, timeframe="1m")
    assert simulation.trades.select("exit_reason", "exit_price").rows() == [("trailing_stop", 1.5)]


def test_a_re_entry_waits_below_the_last_fill_without_a_deadline(engine: Engine):
    rule = strategy([(2, 1)], entry=entry(wait=1), reentry=Reentry(retrace=0.5, max_count=1))
    rows = [flat(1), flat(3), (3, 3, 1.4, 2), flat(4)]
    simulation = engine(candles(rows, minutes=[0, 1, 500, 501]), calls(), rule, timeframe="1m")
    # sold at the open of 3, bought again at half of that, inside the candle
    assert simulation.trades["entry_price"].to_list() == [1, 1.5]
    assert simulation.trades["exit_price"].to_list() == [3, 4]
    assert simulation.fills["reason"].to_list() == ["entry", "target", "reentry", "target"]


def test_a_re_entry_does_not_use_the_candle_of_the_exit(engine: Engine):
    rule = strategy([(2, 1)], reentry=Reentry(retrace=0.5))
    assert len(engine(candles([flat(1), (1, 2, 0.9, 0.9)]), calls(), rule, timeframe="1m").trades) == 1


def test_re_entries_are_counted_a_call(engine: Engine):
    rule = strategy([(2, 1)], reentry=Reentry(retrace=0.5, max_count=2))
    swings = [flat(1), (1, 2, 1, 2), (2, 2, 1, 1)] + [(1, 2, 1, 2), (2, 2, 1, 1)] * 4
    simulation = engine(candles(swings), calls(), rule, timeframe="1m")
    assert simulation.outcomes["trades"].to_list() == [3]
    assert simulation.trades["trade_no"].to_list() == [1, 2, 3]


def test_no_re_entry_after_a_time_exit(engine: Engine):
    rule = strategy(max_hold=1, reentry=Reentry(retrace=0.5))
    simulation = engine(candles([flat(1), flat(1), flat(0.1)]), calls(), rule, timeframe="1m")
    assert simulation.trades["exit_reason"].to_list() == ["time"]
