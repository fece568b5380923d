"""Sweeps of random walks, as they are published, for the tests of their page."""

import json
import re
from types import SimpleNamespace

import polars as pl
import pytest

from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps import running
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline_tests.engine.sweep.walks import walks
from lab_pipeline_tests.support.sweeps import sweeps_of

BASE = {"id": "mine", "horizonMinutes": 60, "exit": {"targets": [{"multiple": 1.3, "fraction": 1.0}], "stopLoss": 0.2}}
SPACE = {
    "exit.stopLoss": [0.05, 0.1, 0.2, 0.4],
    "exit.trailing": [None, {"activation": 1.1, "distance": 0.05}],
    "exit.maxHoldMinutes": [None, 15, 30],
    "reentry": [None],
}
REQUEST = {
    "strategy": "mine",
    "timeframe": "1m",
    "space": SPACE,
    "objective": {"min_trades": 20, "min_days": 5},
    "validation": {"walk_forward": {"train_days": 10, "test_days": 4, "step_days": 4}, "bootstrap": 200, "placebo": 19},
    "keep": {"top": 2},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("world")
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    candles, calls = walks(tokens=100, calls_each=4)
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    strategies.add(Strategy.parse(BASE))

    def sweep(directory, **changes):
        spec = SweepSpec.parse({**REQUEST, **changes})
        store = sweeps_of(directory)
        manifest, _ = running.run_sweep(spec, lake=lake, strategies=strategies, store=store)
        return published(store.directory / manifest.sweep_id)

    return sweep


def published(directory):
    """Return what is published of a sweep, as `render_sweep` takes it."""
    manifest = json.loads((directory / "manifest.json").read_bytes())
    identity = ("strategy_version", "fingerprint", "snapshot", "engine_version")
    return SimpleNamespace(
        frames={path.stem: pl.read_parquet(path) for path in directory.glob("*.parquet")},
        selection=json.loads((directory / "selection.json").read_bytes()),
        space=json.loads((directory / "space.json").read_bytes()),
        spec=manifest["spec"],
        identity={name: manifest[name] for name in identity},
        html=(directory / "report.html").read_text(),
    )


@pytest.fixture(scope="module")
def once(world, tmp_path_factory):
    return world(tmp_path_factory.mktemp("once"))


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])
