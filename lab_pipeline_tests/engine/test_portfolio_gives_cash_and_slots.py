"""The portfolio pass on trades that can be followed by hand, on both engines."""

import polars as pl
import pytest

from lab_pipeline.domain.enums import SizingKind
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.results import check
from lab_pipeline.domain.strategy import Costs, FixedSizing, FractionSizing, Portfolio, RiskSizing
from lab_pipeline.engine import portfolio as portfolio_module
from lab_pipeline.engine import simulate

from .market import Engine, calls, candles, flat, minute, strategy

RISING = [flat(1), flat(1.5), (1.5, 2, 1.5, 2)]
"""Sold at 2 in minute 2 by a target of 2x."""


def account(capital: float = 1000.0, slots: int | None = None, **sizing: float) -> Portfolio:
    return Portfolio(
        initial_capital=capital, sizing=FixedSizing(**sizing) if sizing else FixedSizing(), max_open_positions=slots
    )


def fraction_of_equity(fraction: float) -> Portfolio:
    sizing = FractionSizing(kind=SizingKind.FRACTION, fraction=fraction)
    return Portfolio(initial_capital=1000, sizing=sizing, max_open_positions=None)


def test_a_fixed_amount_includes_its_costs(engine: Engine):
    config = strategy([(2, 1)], costs=Costs(fee_bps=100, slippage_bps=200), portfolio=account(amount=100))
    simulation = engine(candles(RISING), calls(), config, timeframe="1m")

    quantity = 100 / (1 * 1.02 * 1.01)
    (trade,) = simulation.trades.rows(named=True)
    assert trade["invested"] == 100
    assert trade["quantity"] == pytest.approx(quantity)
    assert trade["pnl"] == pytest.approx(quantity * 2 * 0.98 * 0.99 - 100)
    assert simulation.fills["fee"].to_list() == pytest.approx([quantity * 1.02 * 0.01, quantity * 2 * 0.98 * 0.01])
    assert simulation.summary.fees_paid == pytest.approx(simulation.fills["fee"].sum())
    assert simulation.equity["equity"][-1] == pytest.approx(1000 + trade["pnl"])


def test_the_series_has_a_point_at_every_close_from_the_first_entry_to_the_last_exit(engine: Engine):
    config = strategy([(2, 1)], portfolio=account(amount=100))
    equity = engine(candles(RISING), calls(), config, timeframe="1m").equity

    assert equity["timestamp"].to_list() == [minute(1), minute(2), minute(3)]
    assert equity["equity"].to_list() == [1000, 1050, 1100]
    assert equity["cash"].to_list() == [900, 900, 1100]
    assert equity["exposure"].to_list() == [100 / 1000, 150 / 1050, 0]
    assert equity["open_positions"].to_list() == [1, 1, 0]


def test_drawdown_counts_from_the_initial_capital_or_a_later_high(engine: Engine):
    config = strategy(stop=0.9, portfolio=account(amount=1000))
    prices = [(1, 1, 0.5, 0.5), flat(0.8), flat(2), flat(1)]
    equity = engine(candles(prices), calls(), config, timeframe="1m").equity

    assert equity["drawdown"].to_list() == pytest.approx([-0.5, -0.2, 0, -0.5])
    assert engine(candles(prices), calls(), config, timeframe="1m").summary.max_drawdown == pytest.approx(0.5)


def test_a_mint_without_a_candle_keeps_its_last_close(engine: Engine):
    prices = [flat(1), flat(1.5), (1.5, 2, 1.5, 2)]
    config = strategy([(2, 1)], portfolio=account(amount=100))
    equity = engine(candles(prices, minutes=[0, 3, 6]), calls(), config, timeframe="1m").equity

    assert equity["timestamp"].to_list() == [minute(count) for count in range(1, 8)]
    assert equity["equity"].to_list() == [1000, 1000, 1000, 1050, 1050, 1050, 1100]


def test_a_day_without_positions_is_part_of_the_series(engine: Engine):
    config = strategy([(2, 1)], portfolio=account(amount=100))
    prices = candles([*RISING, *RISING], minutes=[0, 1, 2, 1440, 1441, 1442])
    equity = engine(prices, calls(("a", "m", 0), ("b", "m", 1440)), config, timeframe="1m").equity

    assert len(equity) == 1443
    assert set(equity["equity"][2:1440]) == {1100}
    assert equity["equity"][-1] == 1200


def test_a_buy_beyond_the_cash_is_skipped_and_counted(engine: Engine):
    config = strategy([(2, 1)], portfolio=account(capital=150, amount=100))
    simulation = engine(candles(RISING), calls(("a", "m", 0), ("b", "m", 0)), config, timeframe="1m")

    assert simulation.trades["taken"].to_list() == [True, False]
    assert simulation.trades["skip_reason"].to_list() == [None, "no_cash"]
    skipped = simulation.trades.row(1, named=True)
    assert (skipped["quantity"], skipped["invested"], skipped["pnl"]) == (0.0, 0.0, 0.0)
    assert simulation.fills.filter(call_id="b")["quantity"].to_list() == [0.0, 0.0]
    assert simulation.fills.filter(call_id="b")["fee"].to_list() == [0.0, 0.0]
    assert (simulation.summary.skipped_no_cash, simulation.summary.skipped_no_slot) == (1, 0)


def test_exactly_the_cash_is_enough(engine: Engine):
    config = strategy([(2, 1)], portfolio=account(capital=100, amount=100))
    assert engine(candles(RISING), calls(), config, timeframe="1m").trades["taken"].to_list() == [True]


SLICES = range(2, 41)


def at_once(count: int) -> pl.DataFrame:
    return calls(*((f"c{number:02d}", "m", 0.0) for number in range(count)))


def equal_slices(kind: SizingKind, count: int, *, capital: float = 10_000.0) -> Portfolio:
    sizing: FixedSizing | FractionSizing | RiskSizing
    match kind:
        case SizingKind.FIXED:
            sizing = FixedSizing(amount=capital / count)
        case SizingKind.FRACTION:
            sizing = FractionSizing(kind=kind, fraction=1 / count)
        case SizingKind.RISK:
            sizing = RiskSizing(kind=kind, fraction=0.3 / count)
    return Portfolio(initial_capital=capital, sizing=sizing, max_open_positions=None)


@pytest.mark.parametrize("price", [1.0, 0.3, 7.7e-6])
@pytest.mark.parametrize("kind", SizingKind)
def test_equal_slices_of_the_cash_are_all_bought(engine: Engine, kind: SizingKind, price: float):
    prices = candles([flat(price), flat(price), flat(price)])
    for count in SLICES:
        config = strategy([(2, 1)], stop=0.3, portfolio=equal_slices(kind, count))
        simulation = engine(prices, at_once(count), config, timeframe="1m")
        assert simulation.trades["taken"].all(), count
        assert simulation.trades["invested"].to_list() == pytest.approx([10_000 / count] * count, rel=1e-12)
        assert simulation.equity["cash"].min() >= -1e-9 * 10_000
        assert simulation.equity["exposure"].max() <= 1
        check("equity", simulation.equity)


@pytest.mark.parametrize("kind", SizingKind)
def test_one_slice_too_many_is_skipped(engine: Engine, kind: SizingKind):
    prices = candles([flat(0.3), flat(0.3), flat(0.3)])
    for count in SLICES:
        config = strategy([(2, 1)], stop=0.3, portfolio=equal_slices(kind, count))
        simulation = engine(prices, at_once(count + 1), config, timeframe="1m")
        assert simulation.trades["taken"].to_list() == [True] * count + [False], count
        assert simulation.summary.skipped_no_cash == 1


@pytest.mark.parametrize("capital", [1e-3, 100.0, 1e12])
@pytest.mark.parametrize(("excess", "reason"), [(0.9e-9, None), (1.1e-9, "no_cash")])
def test_an_order_may_exceed_the_cash_by_a_billionth_of_itself(
    engine: Engine, capital: float, excess: float, reason: str | None
):
    config = strategy([(2, 1)], portfolio=account(capital=capital, amount=capital * (1 + excess)))
    simulation = engine(candles(RISING), calls(), config, timeframe="1m")
    assert simulation.trades["skip_reason"].to_list() == [reason]


def test_a_small_order_may_not_lack_a_billionth_of_the_capital(engine: Engine):
    config = strategy([(2, 1)], portfolio=account(capital=100.0, amount=1 + 1e-10))
    trades = engine(candles(RISING), at_once(100), config, timeframe="1m").trades
    assert trades["taken"].to_list() == [True] * 99 + [False]  # 1e-8 is lacking, a billionth of the capital is 1e-7


def test_an_account_below_zero_buys_nothing(engine: Engine):
    """Seven slices leave less than nothing, and the token is worth less than what is lacking."""
    prices = pl.concat([candles([flat(1), flat(1e-30), flat(1e-30)]), candles([flat(1)] * 5, mint="n")])
    sizing = RiskSizing(kind=SizingKind.RISK, fraction=0.3 / 7)
    portfolio = Portfolio(initial_capital=10_000, sizing=sizing, max_open_positions=None)
    slices = [(f"c{number:02d}", "m", 0.0) for number in range(7)]
    simulation = engine(prices, calls(*slices, ("z", "n", 3)), strategy(stop=0.3, portfolio=portfolio), timeframe="1m")
    assert simulation.equity["cash"][-1] < 0
    assert simulation.trades["skip_reason"].to_list() == [None] * 7 + ["no_cash"]
    check("equity", simulation.equity)


def test_slots_go_to_the_earlier_call_then_the_smaller_call_id(engine: Engine):
    config = strategy([(2, 1)], portfolio=account(slots=2), entry={"max_wait_minutes": 5})
    prices = candles(RISING, minutes=[1, 2, 3])
    simulation = engine(prices, calls(("c", "m", 0), ("b", "m", 0), ("z", "m", -1)), config, timeframe="1m")

    assert simulation.trades["call_id"].to_list() == ["z", "b", "c"]
    assert simulation.trades["skip_reason"].to_list() == [None, None, "no_slot"]
    assert simulation.summary.skipped_no_slot == 1


def test_a_trade_that_lacks_slot_and_cash_counts_as_no_slot(engine: Engine):
    config = strategy([(2, 1)], portfolio=account(capital=100, slots=1, amount=100))
    simulation = engine(candles(RISING), calls(("a", "m", 0), ("b", "m", 0)), config, timeframe="1m")
    assert simulation.trades["skip_reason"].to_list() == [None, "no_slot"]


def test_a_sell_frees_slot_and_cash_for_a_buy_of_the_same_time(engine: Engine):
    config = strategy([(2, 1)], portfolio=account(capital=100, slots=1, amount=100))
    prices = candles([*RISING, flat(2)])
    simulation = engine(prices, calls(("a", "m", 0), ("b", "m", 2)), config, timeframe="1m")
    assert simulation.trades["taken"].to_list() == [True, True]


def test_a_round_trip_in_one_candle_frees_nothing_for_that_candle(engine: Engine):
    config = strategy([(2, 1)], portfolio=account(slots=1))
    prices = candles([(1, 2, 1, 2), flat(2)])
    simulation = engine(prices, calls(("a", "m", 0), ("b", "m", 0), ("c", "m", 1)), config, timeframe="1m")
    assert simulation.trades["skip_reason"].to_list() == [None, "no_slot", None]


def test_a_fraction_is_of_the_equity_at_the_last_close_before_the_buy(engine: Engine):
    prices = [flat(1), flat(1.5), (1.2, 9, 1.2, 9), flat(9)]
    config = strategy([(20, 1)], portfolio=fraction_of_equity(0.4))
    trades = engine(candles(prices), calls(("a", "m", 0), ("b", "m", 2)), config, timeframe="1m").trades
    # the 400 of the first buy are worth 600 at the close of minute 1; of minute 2 nothing is known yet
    assert trades["invested"].to_list() == pytest.approx([400, 0.4 * (600 + 600)])


def test_a_fraction_of_the_equity_above_the_cash_is_skipped(engine: Engine):
    prices = candles([flat(1), flat(1), flat(1)])
    config = strategy([(20, 1)], portfolio=fraction_of_equity(0.6))
    trades = engine(prices, calls(("a", "m", 0), ("b", "m", 1)), config, timeframe="1m").trades
    assert trades["skip_reason"].to_list() == [None, "no_cash"]


def test_a_position_without_a_close_counts_at_its_entry_price(engine: Engine):
    config = strategy([(20, 1)], portfolio=fraction_of_equity(0.5))
    prices = candles([(1, 4, 1, 4), flat(4)])
    trades = engine(prices, calls(("a", "m", 0), ("b", "m", 0)), config, timeframe="1m").trades
    assert trades["invested"].to_list() == [500, 500]


@pytest.mark.parametrize(("cap", "invested"), [(1.0, 400.0), (0.25, 250.0)])
def test_risk_is_divided_by_the_stop_distance_and_capped(engine: Engine, cap: float, invested: float):
    risk = Portfolio(initial_capital=1000, sizing=RiskSizing(kind=SizingKind.RISK, fraction=0.1, max_fraction=cap))
    config = strategy([(2, 1)], stop=0.25, portfolio=risk)
    trades = engine(candles(RISING), calls(), config, timeframe="1m").trades
    assert trades["invested"].to_list() == [invested]


def test_a_re_entry_is_a_position_of_its_own(engine: Engine):
    config = strategy([(2, 1)], reentry={"retrace": 0.5}, portfolio=account(slots=1, amount=100))
    prices = [flat(1), (1, 2, 1, 2), (2, 2, 1, 1), (1, 1.5, 0.9, 1.4)]
    simulation = engine(candles(prices), calls(), config, timeframe="1m")
    assert simulation.trades["trade_no"].to_list() == [1, 2]
    assert simulation.trades["pnl"].to_list() == pytest.approx([100, 40])
    assert simulation.equity["equity"].to_list() == pytest.approx([1000, 1100, 1100, 1140])


def test_no_trade_means_no_series(engine: Engine):
    simulation = engine(candles([flat(1)]), calls(("a", "unknown", 0)), strategy([(2, 1)]), timeframe="1m")
    assert len(simulation.equity) == 0
    assert simulation.summary.total_return == 0.0
    assert simulation.summary.max_drawdown == 0.0
    assert simulation.summary.avg_exposure is None


def test_a_series_too_long_to_hold_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(portfolio_module, "MAX_POINTS", 10)
    prices = candles([flat(1), flat(1)], minutes=[0, 60])
    with pytest.raises(LabError, match=r"61 points, at most 10 .* longer timeframe"):
        simulate(prices, calls(), strategy([(2, 1)]), timeframe="1m")
