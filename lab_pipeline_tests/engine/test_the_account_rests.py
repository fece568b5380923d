"""When the account takes no trade although it has cash and slots, on both engines."""

import polars as pl

from lab_pipeline.domain.strategy import StrategyConfig

from .market import Engine, Prices, calls, candles, flat

STOP = {"exit": {"stopLoss": 0.5, "maxHoldMinutes": 2, "stopFill": {"through": 0}}, "horizonMinutes": 10}
FALLS = [(1, 1, 0.5, 0.5)]


def skipped(engine: Engine, prices: pl.DataFrame, called: pl.DataFrame, **rules: object) -> list[str | None]:
    config = StrategyConfig.parse(STOP | {"portfolio": rules})
    simulation = engine(prices, called, config, timeframe="1m")
    counted = {
        name: getattr(simulation.summary, f"skipped_{name}") for name in simulation.trades["skip_reason"] if name
    }
    assert counted == dict(simulation.trades["skip_reason"].drop_nulls().value_counts().rows())
    return simulation.trades["skip_reason"].to_list()


def steady(rows: int, mint: str = "m") -> pl.DataFrame:
    return candles([flat(1)] * rows, mint=mint)


def falling(mint: str, at: float) -> pl.DataFrame:
    rows: list[Prices] = [*FALLS, *[flat(1)] * 3]
    return candles(rows, mint=mint, minutes=[at, at + 1, at + 2, at + 3])


def test_a_token_has_no_more_positions_than_it_may(engine: Engine):
    called = calls(("a", "m", 0), ("b", "m", 1), ("c", "n", 1), ("d", "m", 2))
    prices = pl.concat([steady(9), steady(9, "n")])
    assert skipped(engine, prices, called, maxPerToken=1) == [None, "max_per_token", None, None]
    assert skipped(engine, prices, called, maxPerToken=2) == [None] * 4


def test_a_slot_is_asked_for_first_and_cash_last(engine: Engine):
    called = calls(("a", "m", 0), ("b", "m", 1))
    rules = {"maxPerToken": 1, "maxOpenPositions": 1}
    assert skipped(engine, steady(9), called, **rules) == [None, "no_slot"]
    poor = {"maxPerToken": 1, "sizing": {"kind": "fixed", "amount": 6_000}}
    assert skipped(engine, steady(9), called, **poor) == [None, "max_per_token"]


def test_a_token_cools_down_after_an_exit(engine: Engine):
    called = calls(("a", "m", 0), ("b", "m", 2), ("c", "m", 3), ("d", "n", 3), ("e", "m", 5))
    prices = pl.concat([steady(12), steady(12, "n")])
    assert skipped(engine, prices, called, cooldownMinutes=3) == [None, "cooldown", "cooldown", None, None]


def test_losses_in_a_row_pause_the_account(engine: Engine):
    prices = pl.concat([falling("m", 0), falling("n", 1), steady(20, "o")])
    called = calls(("a", "m", 0), ("b", "n", 1), ("c", "o", 2), ("d", "o", 5), ("e", "o", 6))
    paused = {"pauseAfterLosses": {"count": 2, "minutes": 5}}
    assert skipped(engine, prices, called, **paused) == [None, None, *["pause_after_losses"] * 2, None]


def test_a_trade_that_wins_starts_the_count_of_losses_anew(engine: Engine):
    rise = candles([flat(1), flat(1), flat(2), flat(2)], mint="n", minutes=[1, 2, 3, 4])
    prices = pl.concat([falling("m", 0), rise, falling("p", 4), steady(20, "o")])
    called = calls(("a", "m", 0), ("b", "n", 1), ("c", "p", 4), ("d", "o", 6))
    paused = {"pauseAfterLosses": {"count": 2, "minutes": 60}}
    assert skipped(engine, prices, called, **paused) == [None] * 4


def test_an_account_that_has_fallen_too_far_buys_nothing_more(engine: Engine):
    prices = pl.concat([falling("m", 0), steady(20, "o")])
    called = calls(("a", "m", 0), ("b", "o", 0), ("c", "o", 1), ("d", "o", 9))
    half = {"sizing": {"kind": "fraction", "fraction": 0.2}}
    # half of a fifth is lost in minute 0, whose candle closes at minute 1
    expected = [None, None, "stop_at_drawdown", "stop_at_drawdown"]
    assert skipped(engine, prices, called, stopAtDrawdown=0.1, **half) == expected
    assert skipped(engine, prices, called, stopAtDrawdown=0.11, **half) == [None] * 4
