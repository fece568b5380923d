"""Promotion, the holdout, and single sets of published sweeps."""

import hashlib
from datetime import timedelta

import polars as pl
import pytest

from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.domain.errors import ConflictError, InvalidConfigError, LabError
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake
from lab_pipeline.runs import backtest as backtests
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.sweeps import running
from lab_pipeline.sweeps.holdout import holdout_of, reveal
from lab_pipeline.sweeps.promoting import promote
from lab_pipeline.sweeps.records import sync
from lab_pipeline.sweeps.sets import set_config, set_row, sets_of, values_of
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline_tests.engine.sweep.walks import walks
from lab_pipeline_tests.support.sweeps import sweeps_of

BASE = {
    "id": "mine",
    "horizonMinutes": 60,
    "exit": {"targets": [{"multiple": 1.3, "fraction": 1.0}], "stopLoss": 0.2, "stopFill": {"through": 0}},
}
SPACE = {
    "exit.stopLoss": [None, 0.1, 0.2],
    "exit.maxHoldMinutes": {"from": 15, "to": 30, "n": 2},
    "exit.targets": {"ladder": {"multiples": [1.2, 1.5], "fractions": [[1.0], [0.5, 0.5]], "maxSteps": 2}},
    "exit.trailing": {"choice": [None, {"activation": 1.2, "distance": 0.15}]},
    "intrabar": ["stop_first", "target_first"],
}
REQUEST = {
    "strategy": "mine",
    "timeframe": "1m",
    "space": SPACE,
    "objective": {"min_trades": 20, "min_days": 5},
    "validation": {"walk_forward": {"train_days": 10, "test_days": 4, "step_days": 4}, "bootstrap": 100, "placebo": 0},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lake of random walks, the strategies of its catalog, and a sweep."""
    home = tmp_path_factory.mktemp("home")
    lake, strategies, store = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb"), sweeps_of(home)
    candles, calls = walks(tokens=100, calls_each=4)
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    strategies.add(Strategy.parse(BASE))
    manifest, selected = running.run_sweep(SweepSpec.parse(REQUEST), lake=lake, strategies=strategies, store=store)
    return lake, strategies, store, manifest.sweep_id, selected


def swept(lab, **changes):
    lake, strategies, store, _, _ = lab
    spec = SweepSpec.parse({**REQUEST, "space": {"exit.stopLoss": [0.1, 0.3]}, **changes})
    return running.run_sweep(spec, lake=lake, strategies=strategies, store=store)[0].sweep_id


def test_every_set_can_be_made_again_from_what_was_published(lab):
    _, strategies, store, sweep_id, selected = lab
    sets = selected.resolved.sets
    assert len(sets) == 3 * 2 * 3 * 2 * 2
    for number in range(len(sets)):
        assert set_config(store, strategies, sweep_id, number) == sets.config(number)
    with pytest.raises(LabError, match="has no set 72: it has 0 to 71"):
        set_config(store, strategies, sweep_id, 72)


def test_sets_between_the_values_of_a_grid_can_be_made_again(lab):
    space = {"exit.stopLoss": {"from": 0.05, "to": 0.5}, "exit.maxHoldMinutes": {"from": 5, "to": 50}}
    sweep_id = swept(lab, space=space, search={"method": "random", "sets": 8})
    hashes = [set_config(lab[2], lab[1], sweep_id, number).config_hash() for number in range(8)]
    assert hashes == pl.read_parquet(lab[2].path(sweep_id, "sets"))["config_hash"].to_list()


def test_sets_are_filtered_and_sorted(lab):
    _, _, store, sweep_id, _ = lab
    whole = pl.read_parquet(store.path(sweep_id, "sets"))
    best = sets_of(store, sweep_id, sort="expectancy_lower", limit=3)
    assert best["expectancy_lower"].to_list() == whole["expectancy_lower"].sort(descending=True).head(3).to_list()
    assert sets_of(store, sweep_id, sort="trades", descending=False)["trades"].is_sorted()
    assert sets_of(store, sweep_id, where=["rank != null"])["rank"].to_list() == sorted(whole["rank"].drop_nulls())
    some = sets_of(store, sweep_id, where=["p.exit.stopLoss = 0.1", "p.intrabar=stop_first", "trades>=1"])
    assert some.height == 12
    assert sets_of(store, sweep_id, where=["p.exit.stopLoss = null"]).height == 24
    assert sets_of(store, sweep_id, where=["eligible = true"]).height == whole["eligible"].sum()
    assert values_of(set_row(store, sweep_id, 0)).keys() >= {"intrabar", "exit.maxHoldMinutes"}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"sort": "expectancy_lowr"}, "no column 'expectancy_lowr'; the nearest is expectancy_lower"),
        ({"where": ["trade > 3"]}, "no column 'trade'; the nearest is trades"),
        ({"where": ["trades"]}, "is no condition"),
        ({"where": ["trades > many"]}, "'many' is no number"),
        ({"where": ["expectancy > x"]}, "'x' is no number"),
        ({"where": ["eligible = yes"]}, "true, false or null"),
    ],
)
def test_a_wrong_question_is_named(lab, asked, says):
    with pytest.raises(LabError, match=says):
        sets_of(lab[2], lab[3], **asked)


def test_a_set_that_the_verdict_does_not_support_is_not_promoted(lab):
    _, strategies, store, sweep_id, selected = lab
    winner = selected.selection.choice.winner
    with pytest.raises(ConflictError, match="the verdict is: not supported"):
        promote(store, strategies, sweep_id, winner, "best")
    with pytest.raises(ConflictError, match=f"about the winner, which is set {winner}"):
        promote(store, strategies, sweep_id, (winner + 1) % 72, "best")
    with pytest.raises(InvalidConfigError, match="id"):
        promote(store, strategies, sweep_id, winner, "no name", despite_verdict=True)
    assert "best" not in strategies.ids()
    assert store.trials.promoted_sweeps() == set()


def test_a_promoted_set_is_a_strategy_of_the_family_that_says_where_it_comes_from(lab):
    _, strategies, _, _, _ = lab
    store, sweep_id = lab[2], swept(lab, space={"exit.stopLoss": [0.11, 0.12]})
    selection = store.document(sweep_id, "selection")
    done = promote(store, strategies, sweep_id, 1, "child", despite_verdict=True)
    assert (done.stored.version, done.is_new) == ("1", True)
    assert done.stored.config_hash == set_row(store, sweep_id, 1)["config_hash"]
    tags = (f"sweep:{sweep_id}", "verdict:not supported", f"tries:{selection['trials']}")
    assert done.stored.strategy.tags == tags
    assert sweep_id in done.stored.strategy.description
    assert store.trials.family("child") == ["child", "mine"]
    assert store.trials.tried("child") == store.trials.tried("mine")
    again = promote(store, strategies, sweep_id, 1, "child", despite_verdict=True)
    assert (again.stored.version, again.is_new) == ("1", False)
    strategies.describe("child", name="The child", tags=[*tags, "kept"])
    other = promote(store, strategies, lab[3], 0, "child", despite_verdict=True)
    assert (other.stored.version, other.stored.strategy.name) == ("2", "The child")
    assert {f"sweep:{lab[3]}", "kept"} < set(other.stored.strategy.tags)
    assert f"sweep:{sweep_id}" not in other.stored.strategy.tags, "of this version it is the other sweep that says"
    assert sum(tag.startswith("tries:") for tag in other.stored.strategy.tags) == 1


def test_a_supported_winner_is_promoted_without_ado(lab, monkeypatch):
    _, strategies, store, sweep_id, selected = lab
    honest = store.document(sweep_id, "selection")
    told = {**honest, "supported": True, "verdict": "supported"}
    monkeypatch.setattr(type(store), "document", lambda *_: told)
    done = promote(store, strategies, sweep_id, selected.selection.choice.winner, "good")
    assert "verdict:supported" in done.stored.strategy.tags


def test_tries_of_a_promoted_strategy_count_for_the_one_it_comes_from(lab):
    _, strategies, store, _, _ = lab
    first = swept(lab, space={"exit.stopLoss": [0.31, 0.32]})
    promote(store, strategies, first, 0, "heir", despite_verdict=True)
    before = store.trials.tried("mine").trials
    swept(lab, strategy="heir", space={"exit.stopLoss": [0.41, 0.42, 0.43]})
    assert store.trials.tried("mine").trials == before + 3


def test_the_holdout_is_opened_by_simulating_the_winner_on_the_last_days(lab):
    lake, strategies, store, sweep_id, selected = lab
    before = hashes_of(store, sweep_id)
    closed = holdout_of(store, sweep_id)
    assert (closed.said, closed.result, closed.looks) == ("not seen yet", None, [])
    opened = reveal(store, sweep_id, lake=lake, strategies=strategies, by="ann")
    winner = opened.result["sets"][0]
    assert (winner["set_id"], winner["roles"][0]) == (selected.selection.choice.winner, "winner")
    held = lake.calls().filter(pl.col("called_at") >= opened.held.start)
    assert held["called_at"].dt.date().n_unique() == selected.resolved.held_days
    backtest = backtests.resolve(
        BacktestSpec.parse(
            {
                "strategyId": "mine",
                "timeframe": "1m",
                "range": {"start": opened.result["start"], "end": opened.result["end"]},
                "params": selected.resolved.sets.values(winner["set_id"]),
            }
        ),
        strategies,
        lake,
    )
    summary = backtests.simulate(backtest, backtests.plan(backtest, lake)).simulation.summary
    assert (winner["trades"], winner["wins"], winner["expectancy"]) == (
        summary.trades,
        summary.wins,
        summary.expectancy,
    )
    assert hashes_of(store, sweep_id) == before
    assert store.missed(sweep_id) == []
    seen = [(look.by, look.sweep_id) for look in opened.looks]
    assert seen == [("ann", sweep_id)]
    assert opened.said == "seen once"


def hashes_of(store, sweep_id):
    manifest = store.manifest(sweep_id)
    for file in manifest.files:
        content = (store.directory / sweep_id / file.name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256
    return manifest.files


def test_every_further_look_is_counted_and_shows_the_same(lab):
    lake, strategies, store, _, _ = lab
    late = {"start": (lake.calls()["called_at"].max() - timedelta(days=20)).isoformat()}
    sweep_id, neighbour = swept(lab, **late), swept(lab, space={"exit.stopLoss": [0.15, 0.16]}, **late)
    known = len(holdout_of(store, sweep_id).looks)
    first = reveal(store, sweep_id, lake=lake, strategies=strategies, by="ann")
    second = reveal(store, sweep_id, lake=lake, strategies=strategies, by="bob")
    assert second.result == first.result
    assert len(second.looks) == known + 2
    other = holdout_of(store, neighbour)
    assert other.result is None
    assert f"seen {known + 2} times, {known + 2} of them for other sweeps" in other.said
    store.delete(sweep_id)
    assert len(holdout_of(store, neighbour).looks) == known + 2


def test_what_cannot_be_opened_is_said_and_not_counted(lab):
    lake, strategies, store, _, _ = lab
    whole = swept(lab, validation={**REQUEST["validation"], "holdout": 0})
    assert holdout_of(store, whole) is None
    with pytest.raises(LabError, match="held nothing out"):
        reveal(store, whole, lake=lake, strategies=strategies, by="ann")
    poor = swept(lab, objective={"min_trades": 100_000})
    known = len(holdout_of(store, poor).looks)
    with pytest.raises(LabError, match="could win, so there is none to look at"):
        reveal(store, poor, lake=lake, strategies=strategies, by="ann")
    assert len(holdout_of(store, poor).looks) == known


def test_the_catalog_lists_what_is_published(lab):
    _, _, store, sweep_id, selected = lab
    with DuckFile.at(store.trials.catalog).transaction(write=False) as connection:
        rows = {
            row[0]: row[1:]
            for row in connection.execute("SELECT run_id, strategy_id, sets, objective, pbo FROM sweeps")
        }
    assert set(rows) == set(store.sweep_ids())
    assert rows[sweep_id] == ("mine", 72, "expectancy_lower", selected.selection.overfitting.probability)


def test_deleting_sweeps_makes_no_try_undone(lab):
    store = lab[2]
    sweep_id = swept(lab, space={"exit.stopLoss": [0.21, 0.22]})
    before = store.trials.tried("mine")
    store.delete(sweep_id)
    store.delete(sweep_id)
    assert not store.has(sweep_id)
    assert not (store.directory / sweep_id).exists()
    assert store.trials.tried("mine") == before
    with DuckFile.at(store.trials.catalog).transaction(write=False) as connection:
        assert not connection.execute("SELECT 1 FROM sweeps WHERE run_id = ?", [sweep_id])
    again = swept(lab, space={"exit.stopLoss": [0.21, 0.22]})
    assert store.trials.tried("mine").trials == before.trials
    assert store.find(again[:12]) == again


def test_a_sweep_that_was_published_and_not_recorded_counts_when_somebody_asks(lab, tmp_path):
    """As where its process was killed in between, or the catalog was lost."""
    selected = lab[4]
    store, lost = sweeps_of(tmp_path), sweeps_of(tmp_path / "lost")
    manifest = running.publish("one", selected, store)
    lost.directory.parent.mkdir()
    store.directory.rename(lost.directory)
    assert lost.trials.tried("mine").trials == 0
    lost.catch_up()
    assert lost.trials.tried("mine") == store.trials.tried("mine")
    sync(lost)
    with DuckFile.at(lost.trials.catalog).transaction(write=False) as connection:
        assert connection.execute("SELECT run_id, sets FROM sweeps") == [("one", manifest.sets)]


def test_a_damaged_sweep_is_named_and_keeps_no_other_from_being_published(lab, tmp_path):
    store, selected = sweeps_of(tmp_path), lab[4]
    running.publish("one", selected, store)
    moved = sweeps_of(tmp_path / "moved")
    moved.directory.parent.mkdir()
    store.directory.rename(moved.directory)  # where nothing of it is on record
    (moved.directory / "one" / "selection.json").unlink()
    running.publish("two", selected, moved)
    assert moved.missed("two") == []
    assert "selection.json is lost" in moved.missed("one")[0]
    with pytest.raises(LabError, match=r"selection\.json is lost\. `lab restore` brings it back"):
        moved.document("one", "selection")
    (moved.directory / "two" / "space.json").write_text("{}")
    assert "is damaged (2 of" in moved.missed("two")[0]
    moved.catch_up()
    assert moved.trials.missing(["one", "two"]) == ["one"]


def test_a_pinned_sweep_stays_so_until_it_is_not(lab):
    store, sweep_id = lab[2], lab[3]
    store.pin(sweep_id, pinned=True)
    assert store.is_pinned(sweep_id)
    store.pin(sweep_id, pinned=False)
    store.pin(sweep_id, pinned=False)
    assert not store.is_pinned(sweep_id)
    with pytest.raises(LabError, match="no artifacts of sweep"):
        store.pin("another", pinned=True)


def test_the_start_of_an_id_is_enough_if_it_is_the_only_one(lab, tmp_path):
    store, selected = sweeps_of(tmp_path), lab[4]
    for name in ("abc", "abd", "x"):
        running.publish(name, selected, store)
    assert (store.find("abc"), store.find("x")) == ("abc", "x")
    with pytest.raises(LabError, match="is the start of 2 sweep ids"):
        store.find("ab")
    with pytest.raises(LabError, match="unknown sweep 'y'"):
        store.find("y")
