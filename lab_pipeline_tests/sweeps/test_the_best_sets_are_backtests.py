"""The best sets of a sweep are run once more: what is published of them, and that it is what the sweep says."""

import json
from datetime import timedelta

import polars as pl
import pytest

from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.engine import Simulator
from lab_pipeline.lake import Lake
from lab_pipeline.runs import backtest as backtests
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps import replays, running
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline_tests.engine.sweep.walks import walks
from lab_pipeline_tests.support.sweeps import sweeps_of

BASE = {"id": "mine", "horizonMinutes": 60, "exit": {"targets": [{"multiple": 1.3, "fraction": 1.0}], "stopLoss": 0.2}}
REQUEST = {
    "strategy": "mine",
    "timeframe": "1m",
    "space": {"exit.stopLoss": [0.1, 0.2, 0.3, 0.4], "exit.maxHoldMinutes": [None, 15, 30], "reentry": {"choice": [
        None, {"retrace": 0.1, "maxCount": 2}]}},
    "objective": {"min_trades": 20, "min_days": 5},
    "validation": {"bootstrap": 100, "placebo": 0},
    "keep": {"top": 3, "shortlist": 6},
}  # fmt: skip
HOUR = timedelta(hours=1)
SAME = {"fills", "trades", "paths", "outcomes", "equity"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("world")
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    candles, calls = walks(tokens=60, calls_each=3)
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    strategies.add(Strategy.parse(BASE))
    return lake, strategies


def swept(world, store, **changes):
    lake, strategies = world
    return running.run_sweep(SweepSpec.parse({**REQUEST, **changes}), lake=lake, strategies=strategies, store=store)


@pytest.fixture(scope="module")
def once(world, tmp_path_factory):
    store = sweeps_of(tmp_path_factory.mktemp("sweeps"))
    manifest, selected = swept(world, store)
    return store.directory / manifest.sweep_id, manifest, selected


def test_the_best_sets_and_the_middle_of_the_plateau_have_the_files_of_a_run(once):
    directory, manifest, selected = once
    sets = pl.read_parquet(directory / "sets.parquet")
    middle = sets["rank"][selected.selection.plateau.chosen]
    assert {path.name for path in (directory / "top").iterdir()} == {str(rank) for rank in {1, 2, 3, middle}}
    names = {f"{name}.parquet" for name in (*SAME, "fill_certainty")} | {"summary.json", "report.html"}
    for place in (directory / "top").iterdir():
        assert {path.name for path in place.iterdir()} == names
        listed = {file.name for file in manifest.files if file.name.startswith(f"top/{place.name}/")}
        assert listed == {f"top/{place.name}/{name}" for name in names}


@pytest.mark.parametrize("rank", [1, 3])
def test_each_has_the_bytes_of_a_backtest_of_it(world, once, tmp_path, rank):
    """A backtest also tells of entries that are later than those of the stress lanes, and what chance would do."""
    directory, _, selected = once
    lake, strategies = world
    number = int(selected.selection.choice.ranking[rank - 1])
    space = json.loads((directory / "space.json").read_bytes())
    spec = BacktestSpec.parse(
        {
            "strategyId": "mine",
            "timeframe": "1m",
            "range": {"start": space["start"], "end": space["end"]},
            "params": selected.resolved.sets.values(number),
        }
    )
    artifacts = ArtifactStore(tmp_path)
    backtests.run_backtest("one", spec, lake=lake, strategies=strategies, artifacts=artifacts)
    for name in [*(f"{name}.parquet" for name in SAME), "summary.json"]:
        assert (directory / "top" / str(rank) / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    certain, all_lanes = (
        pl.read_parquet(place / "fill_certainty.parquet") for place in (directory / "top" / str(rank), tmp_path / "one")
    )
    assert certain.equals(all_lanes.filter(pl.col("delay_candles") <= 2))


def test_a_set_is_as_robust_as_its_worst_lane(once):
    directory, _, selected = once
    sets, lanes = (pl.read_parquet(directory / f"{name}.parquet") for name in ("sets", "lanes"))
    for one in selected.replays:
        fared = one.simulation.fill_certainty.filter(pl.col("kind") == "stress")
        mine = lanes.filter(pl.col("set_id") == one.set_id)
        assert mine["lane"].to_list() == fared["lane"].to_list()
        assert sets["lane_min"][one.set_id] == min(fared["expectancy"]) == min(mine["expectancy"])
    assert sets["lane_min"].count() == len(selected.replays)


def test_the_shortlist_tells_what_accounts_did(once):
    directory, _, selected = once
    accounts = pl.read_parquet(directory / "accounts.parquet")
    assert set(selected.selection.choice.ranking[:6].tolist()) <= set(accounts["set_id"])
    for row in accounts.iter_rows(named=True):
        summary = (directory / "top").joinpath(
            str(1 + selected.selection.choice.ranking.tolist().index(row["set_id"])), "summary.json"
        )
        if summary.exists():
            told = json.loads(summary.read_bytes())
            assert {name: told[name] for name in row if name != "set_id"} == {
                name: value for name, value in row.items() if name != "set_id"
            }
    assert accounts["max_drawdown"].is_between(0, 1).all()


def test_memory_does_not_decide_what_is_published(world, once, tmp_path, monkeypatch):
    monkeypatch.setattr(replays, "CLOSES_HELD", 1)
    again, _ = swept(world, sweeps_of(tmp_path))
    assert again.files == once[1].files


def test_each_is_told_by_what_comes_first_in_an_ambiguous_candle(once, world):
    directory, _, selected = once
    told = pl.read_parquet(directory / "intrabar.parquet")
    assert told["set_id"].to_list() == [one for one in sorted(one.set_id for one in selected.replays) for _ in range(3)]
    for policy in ("stop_first", "target_first", "nearest_open"):
        mine = told.filter((pl.col("set_id") == selected.replays[0].set_id) & (pl.col("policy") == policy))
        config = selected.resolved.sets.config(selected.replays[0].set_id).model_copy(update={"intrabar": policy})
        lake, calls = world[0], selected.resolved.calls
        first, last = calls["called_at"].min(), calls["called_at"].max()
        with lake.slice("1m", calls["mint"].unique().to_list(), first - HOUR, last + 2 * HOUR) as candles:
            simulator = Simulator(calls, config, timeframe="1m")
            for shard in candles:
                simulator.add(shard)
        summary = simulator.finish().summary
        assert mine.select("trades", "expectancy", "ambiguous").row(0) == (
            summary.trades,
            summary.expectancy,
            summary.ambiguous_candles,
        )
