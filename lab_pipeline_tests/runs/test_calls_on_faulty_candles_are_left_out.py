"""`universe.withoutFaults`: a call whose candles no market makes is no result."""

import polars as pl
import pytest

from lab_pipeline.domain.backtest import AllUniverse, BacktestSpec
from lab_pipeline.domain.enums import Fault
from lab_pipeline.lake import Lake
from lab_pipeline.reports.wording import universe_text
from lab_pipeline.runs.backtest import resolve
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline_tests.support.markets import calls, candles

HORIZON = 30
"""Minutes for which the strategy may hold, and so read candles."""


@pytest.fixture
def world(tmp_path):
    """A lake in which AAA has a spike at minute 60, and three calls: on AAA at 0, on BBB at 10 and 20."""
    time = pl.Datetime("ms", "UTC")
    high = pl.when(pl.int_range(pl.len()) == 60).then(pl.col("high") * 9).otherwise("high")
    market = pl.concat([candles(["AAA"]).with_columns(high), candles(["BBB"])])
    lake = Lake(tmp_path / "lake")
    lake.write_candles(market.with_columns(pl.col("timestamp").cast(time)), "1m")
    lake.write_calls(calls().with_columns(pl.col("called_at").cast(time)))
    return lake, StrategyStore(tmp_path / "catalog.duckdb", tmp_path / "signals")


def resolved(world, horizon, **universe):
    lake, strategies = world
    document = {
        "strategyId": "ladder",
        "timeframe": "1m",
        "universe": {"type": "all", **universe},
        "range": {"start": "2018-01-10T00:00:00Z", "end": "2018-01-11T00:00:00Z"},
        "params": {"horizonMinutes": horizon},
    }
    return resolve(BacktestSpec.parse(document, subject="request"), strategies, lake)


def test_a_call_whose_candles_have_the_fault_is_left_out_and_counted(world):
    found = resolved(world, 120, withoutFaults=["spike"])
    assert found.calls["call_id"].to_list() == ["c2", "c3"]
    assert found.faulty == 1


def test_a_fault_that_no_candle_of_the_call_has_leaves_it_in(world):
    assert resolved(world, HORIZON, withoutFaults=["spike"]).faulty == 0
    assert resolved(world, 120, withoutFaults=["unit"]).faulty == 0


def test_every_call_counts_where_nothing_is_said(world):
    assert resolved(world, 120).calls.height == 3
    assert AllUniverse().to_json_dict() == {"type": "all"}


def test_a_fault_that_is_none_is_named(world):
    with pytest.raises(Exception, match="withoutFaults"):
        resolved(world, 120, withoutFaults=["ugly"])


def test_the_report_says_how_many_were_left_out():
    universe = AllUniverse(without_faults=(Fault.SPIKE, Fault.NO_VOLUME))
    assert universe_text(universe, faulty=2) == (
        "every call; without faults of candles (spike, no volume), 2 calls left out"
    )
