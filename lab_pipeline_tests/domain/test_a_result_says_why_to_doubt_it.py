from datetime import UTC, datetime

import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.doubts import DOUBTS, judge
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.summary import Summary

DAY = 86_400_000
SOUND = {
    "calls": 100, "entered": 100, "trades": 100, "wins": 60, "win_rate": 0.6, "total_return": 0.1,
    "max_drawdown": 0.1, "profit_factor": 2.0, "expectancy": 0.05, "expectancy_low": 0.01, "expectancy_high": 0.09,
    "sharpe": 1.0, "sortino": 1.0, "avg_hold_minutes": 5.0, "avg_exposure": 0.1, "fees_paid": 1.0,
    "ambiguous_candles": 0, "skipped_no_cash": 0, "skipped_no_slot": 0,
}  # fmt: skip


def certainty(*lanes):
    """Lay out lanes: kind, name, mean net return; that of the run is 5 %."""
    rows = [("run", "as run", 0.05), *lanes]
    known = pl.DataFrame(rows, schema={name: frames.FILL_CERTAINTY[name] for name in ("kind", "lane", "expectancy")},
                         orient="row")  # fmt: skip
    return pl.concat([pl.DataFrame(schema=frames.FILL_CERTAINTY), known], how="diagonal")


def doubted(
    *, costs=None, lanes=(), ambiguous=0, without_candles=0, pnl=None, mints=None, days=None, taken=None, **summary
):
    """Return the doubts about a result that is sound but for what is given."""
    pnl = [1.0] * 10 if pnl is None else pnl
    number = len(pnl)
    trades = pl.DataFrame(
        {
            "mint": mints or [f"M{row}" for row in range(number)],
            "exit_time": [day * DAY for day in days or range(number)],
            "pnl": pnl,
            "taken": taken or [True] * number,
        },
        schema_overrides={"pnl": pl.Float64, "taken": pl.Boolean, "mint": pl.String},
    ).with_columns(pl.col("exit_time").cast(pl.Datetime("ms", "UTC")))
    outcomes = pl.DataFrame(
        {
            "outcome": ["no_candles"] * without_candles + ["entered"] * (100 - without_candles),
            "ambiguous_candles": [0] * (100 - ambiguous) + [2] * ambiguous,
        }
    )
    strategy = StrategyConfig.model_validate({"exit": {"stopLoss": 0.3}, "costs": costs or {"feeBps": 30}})
    judged = list(judge(strategy, Summary(**{**SOUND, **summary}), outcomes, trades, certainty(*lanes)))
    assert [one.name for one in judged] == list(DOUBTS)
    return {one.name: one.text for one in judged if not one.passed}


def test_there_is_no_doubt_about_a_sound_result():
    assert doubted() == {}


@pytest.mark.parametrize(
    ("wrong", "name", "text"),
    [
        ({"costs": {"feeBps": 0}}, "has_costs", "0 bp of fees and 0 bp of slippage on every fill"),
        ({"trades": 29}, "has_enough_trades", "29 trades"),
        ({"expectancy_low": -0.01}, "profit_is_told_from_zero", "the interval is -1.00% to +9.00%"),
        ({"expectancy_low": None}, "profit_is_told_from_zero", "trades of one day have no interval"),
        (
            {"lanes": [("stops", "stops at the low", -0.02), ("stress", "50/500 bp", -0.01), ("ended", "dead", 0.01)]},
            "fills_do_not_decide_the_sign",
            "+5.00% as run, but -2.00% with stops at the low",
        ),
        (
            {"lanes": [("stress", "50/500 bp", -0.01)]},
            "fills_do_not_decide_the_sign",
            "+5.00% as run, but -1.00% with fee and slippage of 50/500 bp",
        ),
        ({"ambiguous": 6}, "few_calls_are_ambiguous", "6 of 100 entered calls"),
        ({"without_candles": 21}, "calls_have_candles", "21 of 100 calls"),
        ({"mints": ["A"] * 4 + list("BCDEFG")}, "no_token_makes_the_profit", "A makes 40% of 10.00"),
        ({"days": [0] * 4 + list(range(1, 7))}, "no_day_makes_the_profit", "1970-01-01 makes 40% of 10.00"),
    ],
)
def test_each_doubt_has_its_reason(wrong, name, text):
    assert doubted(**wrong) == {name: text}


def test_what_lies_at_a_limit_is_no_reason():
    assert doubted(trades=30, ambiguous=5, without_candles=20, mints=["A"] * 3 + list("BCDEFGH")) == {}


@pytest.mark.parametrize("high", [-0.01, 0.09, None])
def test_a_mean_loss_promises_no_profit_to_doubt(high):
    assert doubted(expectancy=-0.05, expectancy_low=None if high is None else -0.2, expectancy_high=high) == {}


def test_another_stake_or_a_late_entry_is_no_matter_of_the_fills():
    assert doubted(lanes=[("stake", "5 times the stake", -0.9), ("delay", "10 candles later", -0.9)]) == {}


def test_a_lane_of_which_nothing_is_known_has_no_sign():
    assert doubted(lanes=[("stops", "stops at the low", None)]) == {}


def test_a_loss_is_made_by_nobody():
    assert doubted(pnl=[5.0] + [-1.0] * 9) == {}


def test_trades_that_the_portfolio_skipped_make_no_profit():
    assert doubted(pnl=[0.0] * 10, taken=[False] * 10) == {}
    assert (
        doubted(pnl=[1.0] * 10, mints=["A"] * 4 + list("BCDEFG"), taken=[False] * 4 + [True] * 6, days=range(10)) == {}
    )


def test_a_run_without_a_trade_is_doubted_for_that_alone():
    nothing = {"trades": 0, "entered": 0, "expectancy": None, "expectancy_low": None, "expectancy_high": None}
    assert set(doubted(pnl=[], mints=[], days=[], taken=[], **nothing)) == {"has_enough_trades"}


def test_the_exit_decides_the_day():
    assert datetime.fromtimestamp(0, UTC).date().isoformat() in doubted(days=[0] * 10)["no_day_makes_the_profit"]
