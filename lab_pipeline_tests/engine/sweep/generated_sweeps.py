"""Generated sweeps: whole blocks of generated strategies, mixed, so that any rule meets any other."""

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from lab_pipeline.domain.space import Space
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import Simulation, simulate
from lab_pipeline.engine.sweep import Sets, Sweep
from lab_pipeline_tests.engine.generated import configs
from lab_pipeline_tests.engine.generated_fills import rich_configs

PLAIN = ("entry", "exit", "reentry", "costs", "intrabar", "horizonMinutes")
RICH = (*PLAIN, "endOfData", "filters")


@dataclass(frozen=True)
class Swept:
    base: StrategyConfig
    space: Space
    sets: Sets


@st.composite
def sweeps(draw, *, rich: bool = False, most: int = 12) -> Swept:
    """Draw a few strategies, and sets that have each block of one of them."""
    drawn = draw(st.lists(rich_configs() if rich else configs(), min_size=2, max_size=4))
    documents = [config.to_json_dict() for config in drawn]
    blocks = RICH if rich else PLAIN
    space = Space.parse({name: [document[name] for document in documents] for name in blocks})
    base = StrategyConfig.parse(documents[0] | {"intrabar": "stop_first", "finerTimeframe": None})
    if rich and any(document["finerTimeframe"] for document in documents):
        base = StrategyConfig.parse(documents[0] | {"intrabar": "finer", "finerTimeframe": "20s"})
        space = Space.parse({name: [document[name] for document in documents] for name in blocks if name != "intrabar"})
    picks = st.tuples(*(st.sampled_from(dimension.values) for dimension in space.dimensions))
    points = [tuple(dimension.values[number] for dimension in space.dimensions) for number in range(len(drawn))]
    points += draw(st.lists(picks, max_size=most))
    return Swept(base, space, Sets(base, space, [points[0], *points]))


def assert_set_is_the_backtest(swept: Sweep, number: int, backtest: Simulation) -> None:
    """Hold a row of a sweep, and its cells, to a simulation of the same configuration."""
    row, summary, trades = swept.sets.row(number, named=True), backtest.summary, backtest.trades
    names = ("trades", "entered", "wins", "win_rate", "expectancy", "profit_factor")
    assert {name: row[name] for name in names} == {name: getattr(summary, name) for name in names}
    assert row["ambiguous"] == summary.ambiguous_candles
    assert row["hold_minutes"] is None or math.isclose(row["hold_minutes"], summary.avg_hold_minutes, rel_tol=1e-12)
    day = trades["called_at"].to_physical().to_numpy() // 86_400_000 * 86_400_000
    net, caller = trades["net_return"].to_numpy(), trades["caller"].to_numpy()
    for place, midnight in enumerate(swept.days):
        of_day = net[day == midnight].tolist()
        assert swept.day_trades[number, place] == len(of_day)
        assert swept.day_net[number, place] == math.fsum(of_day)
        assert math.isclose(
            swept.day_squares[number, place], math.fsum(x * x for x in of_day), rel_tol=1e-9, abs_tol=1e-12
        )
    for place, name in enumerate(swept.callers):
        of_caller = net[caller == name].tolist()
        assert swept.caller_trades[number, place] == len(of_caller)
        assert swept.caller_wins[number, place] == sum(x > 0 for x in of_caller)
        assert swept.caller_net[number, place] == math.fsum(of_caller)
    assert swept.reasons[number].sum() == swept.bins[number].sum() == len(trades)


def backtest_of(swept: Swept, number: int, candles, calls, finer=None) -> Simulation:
    config = swept.sets.config(number)
    return simulate(candles, calls, config, timeframe="1m", threads=1, finer=finer if config.finer_timeframe else None)


def cells_of(sweep: Sweep) -> list[bytes]:
    arrays = (sweep.day_trades, sweep.day_net, sweep.day_squares, sweep.caller_trades, sweep.caller_net)
    arrays += (sweep.caller_wins, sweep.caller_squares, sweep.reasons, sweep.bins)
    return [np.ascontiguousarray(array).tobytes() for array in arrays]
