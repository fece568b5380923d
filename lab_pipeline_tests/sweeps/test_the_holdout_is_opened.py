"""What sets earn on the days that did not select."""

from datetime import timedelta

import polars as pl
import pytest

from lab_pipeline.domain.clusters import mean_interval
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.engine import simulate
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps.holdout import HOLDOUT, evaluate_holdout
from lab_pipeline.sweeps.running import resolve
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline_tests.engine.sweep.walks import walks

BASE = {"id": "mine", "horizonMinutes": 60, "exit": {"stopLoss": 0.2}}
REQUEST = {
    "strategy": "mine",
    "timeframe": "1m",
    "space": {"exit.stopLoss": [0.05, 0.1, 0.2], "exit.maxHoldMinutes": [None, 15]},
}
CANDLES, CALLS = walks(tokens=40, calls_each=3)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("world")
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    lake.write_candles(CANDLES, "1m")
    lake.write_calls(CALLS)
    strategies.add(Strategy.parse(BASE))
    return lake, strategies


def resolved(world, **changes):
    return resolve(SweepSpec.parse({**REQUEST, **changes}), world[1], world[0])


def test_a_set_earns_in_the_holdout_what_a_backtest_earns_there(world):
    asked = resolved(world)
    found = evaluate_holdout(asked, world[0], [4, 1, 4])
    assert found.schema == HOLDOUT
    assert found["set_id"].to_list() == [4, 1]
    days = CALLS["called_at"].dt.date().unique().sort()
    held = CALLS.filter(pl.col("called_at").dt.date() >= days[-asked.held_days])
    assert held.height + asked.calls.height <= CALLS.height
    for row in found.iter_rows(named=True):
        alone = simulate(CANDLES, held, asked.sets.config(row["set_id"]), timeframe="1m")
        trades = alone.trades.join(CALLS, on="call_id", maintain_order="left")
        by = [one.rank("dense").to_numpy().astype(int) for one in (trades["called_at"].dt.date(), trades["caller"])]
        low, high = mean_interval(trades["net_return"].to_numpy(), *by)
        assert (row["holdout_trades"], row["holdout_expectancy"]) == (alone.summary.trades, alone.summary.expectancy)
        assert (row["holdout_low"], row["holdout_high"]) == pytest.approx((low, high))


def test_the_holdout_stays_where_it_was_when_the_lake_grows(world, tmp_path):
    lake = Lake(tmp_path / "lake")
    lake.write_candles(CANDLES, "1m")
    lake.write_calls(CALLS)
    before = resolved((lake, world[1]))
    later = CALLS.with_columns(
        pl.col("called_at") + timedelta(days=30), call_id=pl.concat_str(pl.lit("late"), "call_id")
    )
    lake.write_calls(pl.concat([CALLS, later]))
    grown = resolved((lake, world[1]))
    pinned = resolved((lake, world[1]), end=before.held.end.isoformat())
    assert grown.held != before.held
    assert pinned.held == before.held
    assert evaluate_holdout(pinned, lake, [0]).equals(evaluate_holdout(before, lake, [0]))


@pytest.mark.parametrize(
    ("changes", "sets", "says"),
    [
        ({"validation": {"holdout": 0}}, [0], "held no days out"),
        ({}, [6], "no set 6: its sets are 0 to 5"),
        ({}, [], "name the sets"),
    ],
)
def test_what_cannot_be_opened_is_said(world, changes, sets, says):
    with pytest.raises(LabError, match=says):
        evaluate_holdout(resolved(world, **changes), world[0], sets)
