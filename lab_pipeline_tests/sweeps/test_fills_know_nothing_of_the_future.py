"""The winner's fills are made again on candles that are others after them."""

from dataclasses import replace

import numpy as np
import pytest

from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.engine import simulator
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps.proofs import RefutedError, look_ahead
from lab_pipeline.sweeps.running import resolve
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline_tests.engine.sweep.walks import walks

STRATEGIES = {
    "plain": {"exit": {"targets": [{"multiple": 1.1, "fraction": 0.5}], "stopLoss": 0.1}},
    "rich": {
        "entry": {"kind": "dip", "fraction": 0.05, "maxWaitMinutes": 20},
        "exit": {
            "targets": [{"multiple": 1.05, "fraction": 0.5}],
            "stopLoss": {"atr": {"n": 5, "k": 3.0}},
            "trailing": {"activation": 1.05, "distance": 0.05},
        },
        "reentry": {"retrace": 0.05, "maxCount": 2},
        "costs": {"feeBps": 50, "slippageBps": 100},
    },
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("world")
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    candles, calls = walks(tokens=30, calls_each=4)
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    for name, rules in STRATEGIES.items():
        strategies.add(Strategy.parse({"id": name, "horizonMinutes": 60, **rules}))
    return lake, strategies


def looked(world, strategy):
    lake, strategies = world
    spec = {"strategy": strategy, "timeframe": "1m", "space": {"exit.maxHoldMinutes": [20, 40]}}
    return look_ahead(resolve(SweepSpec.parse(spec), strategies, lake), 1, lake, strategies)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_happened_happens_again_whatever_comes_after_it(world, strategy):
    assert looked(world, strategy) > 100


def test_a_simulation_that_knows_the_next_candle_is_found_out(world, monkeypatch):
    class Foreseeing(simulator.Simulator):
        """Sees each candle open at the price at which the next one will."""

        def add(self, candles):
            opens = np.append(candles.open[1:], candles.open[-1])
            low, high = np.minimum(candles.low, opens), np.maximum(candles.high, opens)
            return super().add(replace(candles, open=opens, low=low, high=high))

    monkeypatch.setattr(simulator, "Simulator", Foreseeing)
    with pytest.raises(RefutedError, match=r"knew on call c\d+ at") as found:
        looked(world, "plain")
    assert found.value.check == "no_lookahead"
