"""A sweep leaves out the calls that a backtest with the same rules does, and says how many."""

import json

import polars as pl
import pytest

from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.lake import Lake
from lab_pipeline.operations.sweep_config import sweep_form, to_spec
from lab_pipeline.runs import backtest as backtests
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps import running
from lab_pipeline.sweeps.outlook import Outlook
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline_tests.support.markets import calls, candles
from lab_pipeline_tests.support.sweeps import sweeps_of

REQUEST = {
    "strategy": "ladder",
    "timeframe": "1m",
    "space": {"horizonMinutes": [20, 30]},
    "objective": {"name": "expectancy", "min_trades": 1, "min_days": 1, "min_callers": 1},
    "validation": {"holdout": 0, "placebo": 0, "bootstrap": 100},
}
WEEK = {"by": "token", "window_days": 7}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A lake in which AAA has a spike at minute 60, and three calls: on AAA at 0, on BBB at 10 and 20."""
    home = tmp_path_factory.mktemp("world")
    time = pl.Datetime("ms", "UTC")
    high = pl.when(pl.int_range(pl.len()) == 60).then(pl.col("high") * 9).otherwise("high")
    market = pl.concat([candles(["AAA"]).with_columns(high), candles(["BBB"])])
    lake = Lake(home / "lake")
    lake.write_candles(market.with_columns(pl.col("timestamp").cast(time)), "1m")
    lake.write_calls(calls().with_columns(pl.col("called_at").cast(time)))
    return lake, StrategyStore(home / "catalog.duckdb", home / "signals")


def resolved(world, **changes):
    lake, strategies = world
    return running.resolve(SweepSpec.parse({**REQUEST, **changes}), strategies, lake)


def names(found):
    return found.calls["call_id"].to_list()


def test_every_call_counts_where_nothing_is_said(world):
    found = resolved(world)
    assert (names(found), found.repeats, found.faulty) == (["c1", "c2", "c3"], 0, 0)
    assert "first_mention" not in SweepSpec.parse(REQUEST).to_json_dict()


@pytest.mark.parametrize(("by", "kept"), [("token", ["c1", "c2"]), ("caller_token", ["c1", "c2", "c3"])])
def test_repeats_are_left_out_and_counted(world, by, kept):
    found = resolved(world, first_mention={"by": by, "window_days": 7})
    assert (names(found), found.repeats) == (kept, 3 - len(kept))


def test_a_fault_counts_as_far_as_the_longest_horizon_of_any_set(world):
    assert resolved(world, without_faults=["spike"]).faulty == 0
    found = resolved(world, without_faults=["spike"], space={"horizonMinutes": [20, 120]})
    assert (names(found), found.faulty) == (["c2", "c3"], 1)


def test_an_optimiser_looks_as_far_as_it_may_propose(world):
    found = resolved(
        world,
        without_faults=["spike"],
        space={"horizonMinutes": {"from": 20, "to": 120}},
        search={"method": "tpe", "sets": 4, "batch": 4},
    )
    assert (names(found), found.faulty) == (["c2", "c3"], 1)


def test_the_calls_are_those_of_the_backtest_with_the_same_rules(world):
    lake, strategies = world
    document = {
        "strategyId": "ladder",
        "timeframe": "1m",
        "universe": {"type": "all", "firstMention": {"by": "token", "windowDays": 7}, "withoutFaults": ["spike"]},
        "range": {"start": "2018-01-10T00:00:00Z", "end": "2018-01-11T00:00:00Z"},
        "params": {"horizonMinutes": 120},
    }
    backtest = backtests.resolve(BacktestSpec.parse(document), strategies, lake)
    found = resolved(world, first_mention=WEEK, without_faults=["spike"], space={"horizonMinutes": [20, 120]})
    assert names(found) == backtest.calls["call_id"].to_list() == ["c2"]
    assert (found.repeats, found.faulty) == (backtest.repeats, backtest.faulty) == (1, 1)


def test_the_dry_run_and_the_report_say_how_many(world, tmp_path):
    lake, strategies = world
    store = sweeps_of(tmp_path)
    rules = {"first_mention": WEEK, "without_faults": ["spike"], "space": {"horizonMinutes": [100, 120]}}
    spec = SweepSpec.parse({**REQUEST, **rules})
    outlook = Outlook.of(running.resolve(spec, strategies, lake))
    assert (outlook.calls, outlook.repeats, outlook.faulty) == (1, 1, 1)
    manifest, _ = running.run_sweep(spec, lake=lake, strategies=strategies, store=store)
    space = json.loads((store.directory / manifest.sweep_id / "space.json").read_bytes())
    assert (space["repeats"], space["faulty"]) == (1, 1)
    said = (store.directory / manifest.sweep_id / "report.html").read_text()
    assert "every call; the first mention of a token in 7 days, 1 repeat left out" in said
    assert "without faults of candles (spike), 1 call left out" in said


def test_a_sweep_that_loses_every_call_says_to_what(world):
    rules = {"mints": ["AAA"], "without_faults": ["spike"], "space": {"horizonMinutes": [120]}}
    with pytest.raises(LabError, match=r"selects no calls: .*0 repeats and 1 calls on faulty candles are left out"):
        resolved(world, **rules)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"first_mention": {"by": "anybody", "window_days": 7}}, "first_mention.by"),
        ({"first_mention": {"by": "token", "window_days": 0}}, "first_mention.window_days"),
        ({"without_faults": ["ugly"]}, "without_faults[0]"),
    ],
)
def test_what_is_no_rule_is_named(changes, path):
    with pytest.raises(InvalidConfigError) as caught:
        SweepSpec.parse({**REQUEST, **changes})
    assert [one.path for one in caught.value.errors] == [path]


def test_the_launchpad_asks_for_both():
    assert {"first_mention", "without_faults"} <= set(sweep_form())
    spec = to_spec({**REQUEST, "first_mention": WEEK, "without_faults": ["spike"]})
    assert spec.universe.to_json_dict() == {
        "type": "all",
        "firstMention": {"by": "token", "windowDays": 7.0},
        "withoutFaults": ["spike"],
    }
