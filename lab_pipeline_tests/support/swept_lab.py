"""A home with random walks, and a sweep of 24 sets over them."""

import pytest

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import load_settings
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline_tests.engine.sweep.walks import walks

STRATEGY = Strategy.parse(
    {
        "id": "mine",
        "horizonMinutes": 60,
        "exit": {"targets": [{"multiple": 1.3, "fraction": 1.0}], "stopLoss": 0.2, "stopFill": {"through": 0}},
    }
)
REQUEST = {
    "strategy": "mine",
    "timeframe": "1m",
    "space": {
        "exit.stopLoss": [0.1, 0.2, 0.3, 0.4],
        "exit.maxHoldMinutes": [None, 15, 30],
        "entry.delayMinutes": [0, 2],
    },
    "objective": {"min_trades": 20, "min_days": 5},
    "validation": {"walk_forward": {"train_days": 10, "test_days": 4, "step_days": 4}, "bootstrap": 200, "placebo": 3},
}
SPEC = SweepSpec.parse(REQUEST)


def stock(settings, **changes):
    """Fill a lab with 100 tokens over 28 days, with four calls each, and a strategy."""
    lake = Lake(settings.lake_dir)
    candles, calls = walks(**{"tokens": 100, "calls_each": 4} | changes)
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    StrategyStore.of(settings).add(STRATEGY)


@pytest.fixture(scope="module")
def lab(tmp_path_factory, clickhouse_url):
    """The home and the instance on it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        patch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
        settings = load_settings()
        stock(settings)
        with open_instance(settings) as instance:
            yield settings, instance
