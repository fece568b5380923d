"""The contract's table of worked examples of what a fill costs and what a caller said, number for number."""

from dataclasses import dataclass, field

import polars as pl
import pytest

from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import Simulation

from .market import Engine, Prices, calls, candles, minute

TOTAL = [{"multiple": 2.0, "fraction": 1.0}]
FINER_ORDER = {"exit": {"targets": TOTAL, "stopLoss": 0.3, "stopFill": {"through": 0}}, "intrabar": "finer"}


@dataclass
class Example:
    number: str
    prices: list[Prices]
    strategy: dict[str, object]
    sold: list[tuple[str, float]]
    """Reason and price of every sell."""
    net: float | None = None
    volume: float = 1.0
    before: list[Prices] = field(default_factory=list)
    """Candles before the call, one a minute."""
    said: dict[str, object] = field(default_factory=dict)
    """What the call says."""
    finer: list[Prices] = field(default_factory=list)
    """Candles of 30 seconds from the call on."""
    slippage: list[float] | None = None
    bought: float | None = None
    """Tokens."""
    resolved: int | None = None


def stopped(through: float) -> dict[str, object]:
    return {"exit": {"stopLoss": 0.3, "stopFill": {"through": through}}}


def staking(amount: float, **costs: object) -> dict[str, object]:
    return {
        "exit": {"targets": TOTAL},
        "costs": costs,
        "portfolio": {"sizing": {"kind": "fixed", "amount": amount}},
    }


FALL = [(1, 1.05, 0.95, 1), (0.95, 1, 0.1, 0.2)]
DOUBLE = [(1, 1, 1, 1), (2, 2, 2, 2)]
EXAMPLES = [
    *(
        Example(f"19 through {through}", FALL, stopped(through), [("stop_loss", price)])
        for through, price in [(0, 0.7), (0.5, 0.4), (1, 0.1)]
    ),
    Example(
        "20",
        DOUBLE,
        staking(25.0, impact={"model": "volume_share", "coefficient": 0.1, "exponent": 0.5}),
        [("target", 2.0)],
        net=0.8118190,
        volume=100.0,
        slippage=[0.05, 0.0487950],
    ),
    Example(
        "21",
        DOUBLE,
        staking(50.0, impact={"model": "amm"}),
        [("target", 2.0)],
        net=0.6110565,
        said={"liquidity_at_call": 1000.0},
        slippage=[0.1, 1 - 1.7721621 / 2],
        bought=45.4545,
    ),
    Example("22", DOUBLE, staking(100.0, fixedFee=1), [("target", 2.0)], net=0.97),
    Example(
        "23",
        [(1, 2.2, 0.6, 1)],
        FINER_ORDER,
        [("stop_loss", 0.7)],
        finer=[(1, 1.1, 0.6, 0.7), (0.7, 2.2, 0.7, 1)],
        resolved=1,
    ),
    Example(
        "24",
        [(1, 2.2, 0.6, 1)],
        FINER_ORDER,
        [("target", 2.0)],
        finer=[(1, 2.2, 0.9, 1), (1, 1, 0.6, 1)],
        resolved=1,
    ),
    Example(
        "25",
        [(1, 1, 0.7, 0.7)],
        {"exit": {"stopLoss": {"atr": {"n": 2, "k": 1}}, "stopFill": {"through": 0}}},
        [("stop_loss", 0.825)],
        before=[(1, 1.1, 0.9, 1), (1, 1.2, 1, 1.1), (1.1, 1.15, 1, 1.05)],
    ),
    Example(
        "26",
        [(1, 1.1, 0.9, 1), (1, 1.3, 1, 1.2)],
        {"exit": {"use": "signal"}},
        [("target", 1.2), ("end_of_data", 1.2)],
        net=0.2,
        said={"targets": [1.2, 1.5, 0.9], "stop_price": 0.8},
    ),
]
TYPES = {"targets": pl.List(pl.Float64()), "stop_price": pl.Float64(), "liquidity_at_call": pl.Float64()}


def run(engine: Engine, example: Example) -> Simulation:
    rows = [*example.before, *example.prices]
    prices = candles(rows, minutes=range(-len(example.before), len(example.prices)), volume=example.volume)
    frame = calls().with_columns(*(pl.Series(name, [value], TYPES[name]) for name, value in example.said.items()))
    finer = candles(example.finer, minutes=[0.5 * number for number in range(len(example.finer))])
    document = example.strategy | ({"finerTimeframe": "30s"} if example.finer else {})
    return engine(prices, frame, StrategyConfig.parse(document), timeframe="1m", finer=finer if example.finer else None)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.number)
def test_example(engine: Engine, example: Example):
    simulation = run(engine, example)

    sells = simulation.fills.filter(side="sell")
    assert sells.select("reason", "price").rows() == [
        (reason, pytest.approx(price, abs=1e-12)) for reason, price in example.sold
    ]
    if example.net is not None:
        assert simulation.trades["net_return"].to_list() == pytest.approx([example.net], abs=5e-8)
    if example.slippage is not None:
        assert simulation.fills["slippage"].to_list() == pytest.approx(example.slippage, abs=5e-8)
    if example.bought is not None:
        assert simulation.fills["quantity"][0] == pytest.approx(example.bought, abs=5e-5)
    if example.resolved is not None:
        outcomes = simulation.outcomes.select("ambiguous_candles", "ambiguous_resolved")
        assert outcomes.rows() == [(1, example.resolved)]
        assert (simulation.summary.ambiguous_resolved, simulation.summary.ambiguous_unresolved) == (1, 0)


def test_half_is_sold_at_the_first_target_and_the_one_below_the_entry_is_dropped(engine: Engine):
    simulation = run(engine, next(example for example in EXAMPLES if example.number == "26"))
    assert simulation.fills["fraction"].to_list() == [1.0, 0.5, 0.5]
    assert simulation.fills["timestamp"].to_list() == [minute(0), minute(1), minute(1)]
