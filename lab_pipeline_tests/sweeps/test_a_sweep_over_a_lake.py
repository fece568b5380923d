"""Sweeps from a request to published artifacts."""

import errno
import hashlib
import json
from datetime import timedelta

import polars as pl
import pytest

from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake
from lab_pipeline.runs import artifacts as run_artifacts
from lab_pipeline.runs import backtest as backtests
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps import running
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.store import SweepStore
from lab_pipeline_tests.engine.sweep.walks import walks

BASE = {
    "id": "mine",
    "horizonMinutes": 60,
    "exit": {"targets": [{"multiple": 1.3, "fraction": 1.0}], "stopLoss": 0.2, "stopFill": {"through": 0}},
}
SPACE = {"exit.stopLoss": [0.1, 0.2, 0.3, 0.4], "exit.maxHoldMinutes": [None, 15, 30], "entry.delayMinutes": [0, 2]}
REQUEST = {
    "strategy": "mine",
    "timeframe": "1m",
    "space": SPACE,
    "objective": {"min_trades": 20, "min_days": 5},
    "validation": {"walk_forward": {"train_days": 10, "test_days": 4, "step_days": 4}, "bootstrap": 200, "placebo": 19},
}
FILES = {"sets", "days", "callers", "folds", "oos", "cscv", "lanes", "placebo"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A lake of random walks: 100 tokens over 28 days, with four calls each."""
    home = tmp_path_factory.mktemp("world")
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    candles, calls = walks(tokens=100, calls_each=4)
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    strategies.add(Strategy.parse(BASE))
    return lake, strategies


def swept(world, store, **changes):
    lake, strategies = world
    return running.run_sweep(SweepSpec.parse({**REQUEST, **changes}), lake=lake, strategies=strategies, store=store)


@pytest.fixture(scope="module")
def once(world, tmp_path_factory):
    store = SweepStore(tmp_path_factory.mktemp("sweeps"))
    return store, *swept(world, store)


def table(once, name):
    store, manifest, _ = once
    return pl.read_parquet(store.directory / manifest.sweep_id / f"{name}.parquet")


def document(once, name):
    store, manifest, _ = once
    return json.loads((store.directory / manifest.sweep_id / f"{name}.json").read_bytes())


def test_the_best_set_is_a_backtest_of_it(world, once):
    """On the same calls the lab's own backtest gives the same numbers, to the last bit."""
    lake, strategies = world
    best = table(once, "sets").filter(pl.col("rank") == 1).row(0, named=True)
    values = once[2].resolved.sets.values(best["set_id"])
    space = document(once, "space")
    backtest = backtests.resolve(
        BacktestSpec.parse(
            {
                "strategyId": "mine",
                "timeframe": "1m",
                "range": {"start": space["start"], "end": space["end"]},
                "params": values,
            }
        ),
        strategies,
        lake,
    )
    assert backtest.spec.strategy.config_hash() == best["config_hash"]
    summary = backtests.simulate(backtest, backtests.plan(backtest, lake)).simulation.summary
    assert (summary.trades, summary.wins, summary.expectancy) == (best["trades"], best["wins"], best["expectancy"])
    assert (summary.expectancy_low, summary.expectancy_high) == pytest.approx(
        tuple(document(once, "selection")[name] for name in ("expectancy_low", "expectancy_high"))
    )


def test_the_holdout_is_not_looked_at(world, once):
    lake, _ = world
    days, resolved = table(once, "days")["day"], once[2].resolved
    called = lake.calls()["called_at"].dt.date().unique().sort()
    held = called[-resolved.held_days :]
    assert resolved.held_days == -(-len(called) // 5)
    assert days.max() < held[0]
    windows = resolved.calls["called_at"] + timedelta(minutes=BASE["horizonMinutes"])
    assert windows.max().replace(tzinfo=None) <= pl.Series([held[0]]).cast(pl.Datetime)[0]


def test_the_files_are_those_of_the_manifest_and_add_up(once):
    store, manifest, selected = once
    directory = store.directory / manifest.sweep_id
    assert {path.stem for path in directory.iterdir()} == FILES | {"space", "selection", "manifest"}
    for file in manifest.files:
        assert hashlib.sha256((directory / file.name).read_bytes()).hexdigest() == file.sha256
    sets = table(once, "sets")
    assert sets.height == document(once, "space")["evaluated"] == manifest.sets == 24
    by_day, by_caller = (
        table(once, name).group_by("set_id").agg(pl.col("trades").sum()).sort("set_id")["trades"].to_list()
        for name in ("days", "callers")
    )
    assert by_day == by_caller == sets["trades"].to_list()
    assert sets["rank"].drop_nulls().sort().to_list() == list(range(1, sets["eligible"].sum() + 1))
    assert table(once, "lanes").height == 8
    assert table(once, "folds").height == len(selected.selection.walk.folds)
    assert table(once, "cscv").height == 70


def test_random_walks_support_nothing_and_the_verdict_says_why(once):
    _, manifest, selected = once
    told = document(once, "selection")
    assert not told["supported"]
    assert told["verdict"] == manifest.verdict
    assert told["verdict"].startswith("not supported")
    assert told["unsaid"] == []
    assert told["winner"] == selected.selection.choice.winner


def test_a_placebo_is_the_whole_search_at_other_moments(once):
    told, best = document(once, "selection"), table(once, "placebo")["best_metric"]
    assert len(best) == best.n_unique() == 19
    observed = table(once, "sets")["objective"].filter(table(once, "sets")["rank"] == 1)[0]
    assert told["placebo_p"] == (1 + (best >= observed).sum()) / 20


def test_calls_at_the_right_moment_beat_their_placebos(world, tmp_path):
    """Every call is just before its token doubles, which the same search at other moments does not find."""
    candles, calls = walks(tokens=100, calls_each=2, seed=5)
    begins = calls.select("mint", "called_at").with_columns(pl.col("called_at").dt.offset_by("2m").alias("timestamp"))
    first = begins.sort("timestamp").group_by("mint", maintain_order=True).first().select("mint", jump="timestamp")
    jumped = pl.when(pl.col("timestamp") >= pl.col("jump")).then(1.5).otherwise(1.0)
    prices = ["open", "high", "low", "close"]
    candles = candles.join(first, on="mint", maintain_order="left").with_columns(pl.col(prices) * jumped).drop("jump")
    calls = calls.sort("called_at").unique("mint", keep="first", maintain_order=True)
    lake = Lake(tmp_path / "lake")
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    manifest, _ = swept((lake, world[1]), SweepStore(tmp_path / "sweeps"))
    told = json.loads((tmp_path / "sweeps" / manifest.sweep_id / "selection.json").read_bytes())
    assert told["placebo_p"] == 1 / 20


def test_without_placebos_nothing_is_said_of_them(world, tmp_path):
    manifest, selected = swept(world, SweepStore(tmp_path), validation={"placebo": 0, "bootstrap": 100})
    assert "no placebo was simulated" in manifest.verdict
    assert selected.placebos is None


def test_the_same_request_gives_the_same_bytes(world, once, tmp_path):
    _, manifest, _ = once
    again, _ = swept(world, SweepStore(tmp_path))
    assert (again.fingerprint, again.snapshot) == (manifest.fingerprint, manifest.snapshot)
    assert again.files == manifest.files
    assert again.sweep_id != manifest.sweep_id


def test_every_set_that_was_ever_tried_counts(world, tmp_path):
    store = SweepStore(tmp_path)
    first, _ = swept(world, store, space={"exit.stopLoss": [0.1, 0.2, 0.3]})
    second, selected = swept(world, store, space={"exit.stopLoss": [0.3, 0.4]})
    assert (selected.earlier, selected.selection.trials) == (2, 4)
    assert sorted([first.sweep_id, second.sweep_id]) == store.sweep_ids()
    world[1].add(Strategy.parse({**BASE, "id": "another"}))
    _, other = swept(world, store, strategy="another", space={"exit.stopLoss": [0.3, 0.4]})
    assert (other.earlier, other.selection.trials) == (0, 2)


def test_a_set_without_enough_trades_cannot_win(world, tmp_path):
    manifest, selected = swept(world, SweepStore(tmp_path), objective={"min_trades": 100_000})
    assert selected.selection.choice.winner == -1
    assert manifest.verdict == "not supported: no set has enough trades, days and callers to win"
    assert pl.read_parquet(tmp_path / manifest.sweep_id / "lanes.parquet").is_empty()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": {"exit.stopLos": [0.1]}}, "nearest is exit.stopLoss"),
        ({"space": {"exit.stopLoss": [7.0]}}, "none of 1 sets is a strategy"),
        ({"constraints": ["exit.stopLoss > 1"]}, "none of 24 sets passes"),
        ({"start": "2050-01-01"}, "after the first call"),
        ({"end": "2000-01-01"}, "must be after start"),
        ({"validation": {"holdout": 0.99}}, "leave no day to select on"),
        ({"callers": ["nobody"]}, "nobody"),
        ({"space": {"intrabar": ["finer"], "finerTimeframe": ["1s"]}}, "finer"),
    ],
)
def test_what_cannot_be_swept_is_refused_and_leaves_nothing(world, tmp_path, changes, says):
    with pytest.raises((LabError, InvalidConfigError), match=says):
        swept(world, SweepStore(tmp_path / "sweeps"), **changes)
    assert not (tmp_path / "sweeps").exists()


def test_a_full_disk_publishes_nothing(once, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_artifacts.pq, "write_table", full)
    store = SweepStore(tmp_path)
    with pytest.raises(LabError, match="nothing was published"):
        running.publish("one", once[2], store)
    assert store.sweep_ids() == []
    assert [path.name for path in (tmp_path / ".staging").iterdir()] == ["gate"]


def test_an_id_is_published_once(once, tmp_path):
    store = SweepStore(tmp_path)
    manifest = running.publish("one", once[2], store)
    assert store.manifest("one") == manifest
    with pytest.raises(LabError, match="nothing was published"):
        running.publish("one", once[2], store)
    assert store.manifest("one") == manifest
    for name in ("two", "../one"):
        with pytest.raises(LabError, match="no artifacts of sweep"):
            store.manifest(name)
    (tmp_path / "one" / "manifest.json").write_text("{}")
    with pytest.raises(LabError, match="is damaged"):
        store.manifest("one")
