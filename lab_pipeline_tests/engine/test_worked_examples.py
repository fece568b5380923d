"""The contract's table of worked examples, number for number."""

from dataclasses import dataclass, field

import pytest

from lab_pipeline.domain.enums import EntryKind, IntrabarPolicy
from lab_pipeline.domain.strategy import Costs, Entry, Reentry, StrategyConfig

from .market import Engine, Prices, calls, candles, minute, strategy

Sold = tuple[str, float, float]


@dataclass
class Example:
    number: str
    prices: list[Prices]
    config: StrategyConfig
    sold: list[Sold]
    """Reason, price and minute of every sell."""
    net: list[float]
    """Net return of every trade."""
    bought: list[tuple[float, float]] = field(default_factory=lambda: [(1.0, 0.0)])
    """Price and minute of every buy."""
    ambiguous: int = 0
    mae: float | None = None
    gross: float | None = None


ALL = 1.0
GAP_DOWN = [(1, 1.05, 0.95, 1), (0.5, 0.55, 0.4, 0.5)]
BOTH = [(1, 2.1, 0.4, 1)]

EXAMPLES = [
    Example(
        "1",
        [(1, 1.1, 0.9, 1.05), (1.05, 1.2, 1, 1.15), (1.15, 2.1, 1.1, 2)],
        strategy([(2, ALL)], stop=0.25),
        [("target", 2.0, 2)],
        [1.0],
    ),
    Example("2", [(1, 1, 0.7, 0.75)], strategy([(2, ALL)], stop=0.25), [("stop_loss", 0.75, 0)], [-0.25], mae=-0.3),
    Example(
        "3",
        [(1, 1.1, 0.9, 1.05), (1.05, 1.6, 1, 1.5), (1.5, 1.5, 1.1, 1.125)],
        strategy(stop=0.25, trail=(1.5, 0.25)),
        [("trailing_stop", 1.2, 2)],
        [0.2],
    ),
    Example(
        "4",
        [(1, 1.1, 0.9, 1.05), (1.05, 1.5, 1, 1.5), (1.5, 2, 1.4, 2), (2, 3, 1.9, 3)],
        strategy([(1.5, 0.33), (2, 0.33), (3, 0.34)]),
        [("target", 1.5, 1), ("target", 2.0, 2), ("target", 3.0, 3)],
        [1.175],
    ),
    *(
        Example(
            f"5 {policy}",
            BOTH,
            strategy([(2, ALL)], stop=0.5, intrabar=policy),
            [sold],
            [net],
            ambiguous=1,
        )
        for policy, sold, net in [
            (IntrabarPolicy.STOP_FIRST, ("stop_loss", 0.5, 0.0), -0.5),
            (IntrabarPolicy.TARGET_FIRST, ("target", 2.0, 0.0), 1.0),
            (IntrabarPolicy.NEAREST_OPEN, ("stop_loss", 0.5, 0.0), -0.5),
        ]
    ),
    Example("6", GAP_DOWN, strategy(stop=0.2), [("stop_loss", 0.5, 1)], [-0.5]),
    Example(
        "7",
        [(1, 1.05, 0.95, 1), (2.4, 2.5, 2.2, 2.3)],
        strategy([(2, 0.5)]),
        [("target", 2.4, 1), ("end_of_data", 2.3, 1)],
        [1.35],
    ),
    Example(
        "8",
        [(1, 1, 1, 1), (1, 2, 1, 2)],
        strategy([(2, ALL)], costs=Costs(fee_bps=30, slippage_bps=50)),
        [("target", 2.0, 1)],
        [0.968254],
        gross=1.0,
    ),
    Example(
        "9",
        [(1, 1.02, 0.9, 0.95), (0.95, 0.96, 0.68, 0.7), (0.7, 1.5, 0.69, 1.4)],
        strategy([(2, ALL)], stop=0.5, entry=Entry(kind=EntryKind.DIP, fraction=0.3)),
        [("target", 1.4, 2)],
        [1.0],
        bought=[(0.7, 1)],
    ),
    Example(
        "10",
        [(1, 1.02, 0.8, 0.82), (0.82, 0.9, 0.81, 0.89), (0.89, 1.2, 0.88, 1.1), (1.1, 1.9, 1.05, 1.8)],
        strategy([(2, ALL)], entry=Entry(kind=EntryKind.REBOUND, fraction=0.1)),
        [("target", 1.76, 3)],
        [1.0],
        bought=[(0.88, 1)],
    ),
    Example(
        "11",
        [(1, 1.2, 0.98, 1.1), (1.1, 1.6, 1.05, 1.5), (1.5, 1.5, 0.9, 0.95)],
        strategy([(1.5, 0.5), (3, 0.5)], stop=0.3, break_even_after=1),
        [("target", 1.5, 1), ("break_even", 1.0, 2)],
        [0.25],
    ),
    Example(
        "12",
        [(1, 1.1, 0.9, 1), (1, 1.1, 0.9, 1.02), (1.03, 1.1, 0.9, 1), (1.04, 1.2, 1, 1.1)],
        strategy(max_hold=3),
        [("time", 1.04, 3)],
        [0.04],
    ),
    Example(
        "13",
        [(1, 1, 1, 1)],
        strategy([(2, ALL)], costs=Costs(fee_bps=30, slippage_bps=10)),
        [("end_of_data", 1.0, 0)],
        [-0.007968],
    ),
    Example(
        "14",
        [(1, 1.1, 0.9, 1.05), (1.05, 2.1, 1, 2), (2, 2, 1, 1), (1, 1.5, 0.9, 1.4)],
        strategy([(2, ALL)], stop=0.25, reentry=Reentry(retrace=0.5, max_count=1)),
        [("target", 2.0, 1), ("end_of_data", 1.4, 3)],
        [1.0, 0.4],
        bought=[(1.0, 0), (1.0, 2)],
    ),
    Example(
        "15",
        [(1, 1.5, 1, 1.4), (1.4, 1.45, 1.3, 1.35)],
        strategy(trail=(1.2, 0.1)),
        [("trailing_stop", 1.35, 1)],
        [0.35],
    ),
    Example(
        "16",
        [(1, 2.2, 0.95, 2.1), (2.1, 4, 2, 3.9), (3.9, 4, 2.7, 2.8)],
        strategy([(2, 0.2), (3, 0.2)], stop=0.4, trail=(3, 0.3)),
        [("target", 2.0, 0), ("target", 3.0, 1), ("trailing_stop", 2.8, 2)],
        [1.68],
    ),
    Example(
        "17",
        [(1, 1.05, 0.95, 1), (2.2, 2.3, 0.6, 0.7)],
        strategy([(2, 0.5), (3, 0.5)], stop=0.3),
        [("target", 2.2, 1), ("stop_loss", 0.7, 1)],
        [0.45],
    ),
    Example(
        "18",
        [(1, 1.05, 0.95, 1), (0.6, 2.3, 0.5, 0.7)],
        strategy([(2, ALL)], stop=0.3, intrabar=IntrabarPolicy.TARGET_FIRST),
        [("stop_loss", 0.6, 1)],
        [-0.4],
    ),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.number)
def test_example(engine: Engine, example: Example):
    simulation = engine(candles(example.prices), calls(), example.config, timeframe="1m")

    fills = simulation.fills
    sells = [(row["reason"], row["price"], row["timestamp"]) for row in fills.rows(named=True) if row["side"] == "sell"]
    buys = [(row["price"], row["timestamp"]) for row in fills.rows(named=True) if row["side"] == "buy"]
    assert sells == [(reason, pytest.approx(price, abs=1e-12), minute(at)) for reason, price, at in example.sold]
    assert buys == [(pytest.approx(price, abs=1e-12), minute(at)) for price, at in example.bought]
    assert simulation.trades["net_return"].to_list() == pytest.approx(example.net, abs=5e-7)
    assert simulation.outcomes["ambiguous_candles"].to_list() == [example.ambiguous]
    if example.mae is not None:
        assert simulation.trades["mae"].to_list() == pytest.approx([example.mae], abs=1e-12)
    if example.gross is not None:
        assert simulation.trades["gross_return"].to_list() == pytest.approx([example.gross], abs=1e-12)


def test_the_net_returns_without_costs_are_exact(engine: Engine):
    for example in EXAMPLES:
        if example.config.costs == Costs():
            trades = engine(candles(example.prices), calls(), example.config, timeframe="1m").trades
            assert trades["net_return"].to_list() == pytest.approx(example.net, abs=1e-15)
            assert trades["net_return"].to_list() == trades["gross_return"].to_list()
