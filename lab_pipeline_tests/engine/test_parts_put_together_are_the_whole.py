import pickle

import numpy as np
import pytest

from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.enums import SizingKind
from lab_pipeline.domain.strategy import FractionSizing, Portfolio
from lab_pipeline.engine import Simulator

from .market import bytes_of
from .whole_numbers import CONFIG, market

FRAMES = ("fills", "trades", "paths", "outcomes", "equity", "fill_certainty", "nulls")
CANDLES, CALLS = market()
MINTS = CANDLES["mint"].unique().sort().to_list()


def simulator(config):
    return Simulator(CALLS, config, timeframe="1m", threads=2, doubt_seed=3)


def shard(mints):
    return CandleColumns.from_frame(CANDLES.filter(CANDLES["mint"].is_in(mints)).sort("mint", "timestamp"))


def part(config, *shards):
    simulating = simulator(config)
    for mints in shards:
        simulating.add(shard(mints))
    return pickle.loads(pickle.dumps(simulating.part()))  # noqa: S301 - as it travels between processes


@pytest.mark.parametrize(
    "portfolio",
    [Portfolio(max_open_positions=3), Portfolio(sizing=FractionSizing(kind=SizingKind.FRACTION, fraction=0.1))],
    ids=["marks of taken trades", "marks of all trades"],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_parts_in_any_order_give_the_bytes_of_the_whole(portfolio, backwards):
    config = CONFIG.model_copy(update={"portfolio": portfolio})
    alone = simulator(config)
    alone.add(shard(MINTS))
    expected = alone.finish()

    parts = [part(config, MINTS[:4], MINTS[4:7]), part(config), part(config, MINTS[7:])]
    together = simulator(config)
    taken = [together.add_part(one) for one in (parts[::-1] if backwards else parts)]
    result = together.finish()

    assert sum(taken) == CALLS.height
    assert expected.trades.height > 100
    for name in FRAMES:
        assert bytes_of(getattr(result, name)) == bytes_of(getattr(expected, name)), name
    assert result.summary == expected.summary


def test_a_part_goes_in_beside_shards_and_can_be_used_twice():
    made = part(CONFIG, MINTS[:10])
    before = made.trades.copy()
    results = []
    for _ in range(2):
        simulating = simulator(CONFIG)
        simulating.add(shard(MINTS[10:]))
        simulating.add_part(made)
        results.append(bytes_of(simulating.finish().trades))
    assert results[0] == results[1]
    assert np.array_equal(made.trades, before)


def test_a_part_comes_once_and_belongs_to_the_calls():
    made = part(CONFIG, MINTS[:10])
    simulating = simulator(CONFIG)
    simulating.add_part(made)
    with pytest.raises(ValueError, match="simulated already"):
        simulating.add_part(made)
    with pytest.raises(ValueError, match="of a simulation of 200 calls, not of 100"):
        Simulator(CALLS.head(100), CONFIG, timeframe="1m").add_part(made)
