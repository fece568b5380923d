# ruff: noqa: RUF001 - the page's own times sign
import pytest

from lab_pipeline.domain.backtest import AllUniverse, CallersUniverse, TokensUniverse
from lab_pipeline.domain.enums import EntryKind, IntrabarPolicy, SizingKind
from lab_pipeline.domain.strategy import (
    Costs,
    Entry,
    Exit,
    FractionSizing,
    Portfolio,
    Reentry,
    RiskSizing,
    StrategyConfig,
    Target,
    TrailingStop,
)  # fmt: skip
from lab_pipeline.reports.wording import sentences, universe_text

EVERYTHING = StrategyConfig(
    entry=Entry(kind=EntryKind.DIP, fraction=0.3, delay_minutes=5.0, max_wait_minutes=90.0),
    exit=Exit(
        targets=(Target(multiple=2.0, fraction=0.5), Target(multiple=3.5, fraction=0.3)),
        stop_loss=0.125,
        trailing=TrailingStop(activation=1.5, distance=0.25),
        break_even_after=1,
        max_hold_minutes=1440.0,
    ),
    reentry=Reentry(retrace=0.4, max_count=2),
    costs=Costs(fee_bps=30.0, slippage_bps=2.5),
    intrabar=IntrabarPolicy.NEAREST_OPEN,
    horizon_minutes=4320.0,
    portfolio=Portfolio(initial_capital=25_000.0, max_open_positions=None),
)


def test_every_block_of_a_strategy_is_said():
    assert dict(sentences(EVERYTHING)) == {
        "Buy": "With a limit 30% below the first open from 5 min after the call on, for at most 1 h 30 min.",
        "Take profit": "Sell 50% at 2×, 30% at 3.5× the entry price.",
        "Stop loss": "Sell everything 12.5% below the entry price.",
        "Trail": "Once the price has reached 1.5×, sell everything 25% below the peak.",
        "Break even": "Once one target has filled, the stop is at the entry price.",
        "Time": "Sell everything at the first open 24 h after the entry.",
        "Finally": "Whatever is left 3 d after the call is sold at the last close.",
        "Buy again": "After a target or a stop, up to 2 times, with a limit 40% below the last fill.",
        "Costs": "30 bp fee and 2.5 bp slippage on every fill.",
        "Ambiguity": (
            "When one candle reaches both a target and the stop, the side nearer to the open is taken to come first."
        ),
        "Account": "Starts with 25,000, 100 a buy, no limit on open positions.",
    }


def test_a_short_strategy_says_no_more_than_it_does():
    said = dict(sentences(StrategyConfig(exit=Exit(stop_loss=0.2))))
    assert said.keys() == {"Buy", "Stop loss", "Finally", "Costs", "Ambiguity", "Account"}
    assert said["Buy"] == "At the open of the first candle from the call on, if one comes within 1 h."


@pytest.mark.parametrize(
    ("sizing", "says"),
    [
        (FractionSizing(kind=SizingKind.FRACTION, fraction=0.02), "2% of the equity a buy"),
        (
            RiskSizing(kind=SizingKind.RISK, fraction=0.01, max_fraction=0.2),
            "as much a buy as loses 1% of the equity at the stop, at most 20% of it",
        ),
    ],
)
def test_sizing_is_said(sizing, says):
    strategy = StrategyConfig(exit=Exit(stop_loss=0.2), portfolio=Portfolio(sizing=sizing))
    assert says in dict(sentences(strategy))["Account"]


def test_a_rebound_and_a_trail_from_the_entry_are_said():
    strategy = StrategyConfig(
        entry=Entry(kind=EntryKind.REBOUND, fraction=0.1),
        exit=Exit(trailing=TrailingStop(activation=1.0, distance=0.2)),
    )
    said = dict(sentences(strategy))
    assert said["Buy"] == "When the price has risen 10% from its low since the call, for at most 1 h."
    assert said["Trail"] == "From the entry on, sell everything 20% below the peak."


def test_the_universe_is_said():
    assert universe_text(AllUniverse()) == "every call"
    assert universe_text(TokensUniverse(mints=("AAA",))) == "1 token: AAA"
    many = CallersUniverse(callers=tuple(f"c{i}" for i in range(1200)))
    assert universe_text(many) == "1,200 callers: c0, c1, c2, c3, c4, c5 and 1,194 more"
