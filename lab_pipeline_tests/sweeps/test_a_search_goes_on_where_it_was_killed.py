"""Searches by an optimiser over a lake: same result however often they were killed, and that of a single pass."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps import running, searching
from lab_pipeline.sweeps import store as stores
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.trials import TrialFiles
from lab_pipeline_tests.engine.sweep.walks import walks
from lab_pipeline_tests.support.sweeps import sweeps_of

BASE = {
    "id": "mine",
    "horizonMinutes": 60,
    "exit": {"targets": [{"multiple": 1.3, "fraction": 1.0}], "stopLoss": 0.2, "stopFill": {"through": 0}},
}
REQUEST = {
    "strategy": "mine",
    "timeframe": "1m",
    "space": {
        "exit.stopLoss": {"from": 0.05, "to": 1.2},
        "exit.maxHoldMinutes": [None, 15, 30],
        "entry.delayMinutes": [0, 2, 4],
        "horizonMinutes": [30, 60, 120],
    },
    "constraints": ["exit.maxHoldMinutes <= horizonMinutes"],
    "search": {"method": "tpe", "sets": 40, "batch": 8},
    "objective": {"min_trades": 20, "min_days": 5},
    "validation": {"walk_forward": {"train_days": 10, "test_days": 4, "step_days": 4}, "bootstrap": 100, "placebo": 0},
}
SEVERAL = {"objective": ["expectancy_lower", "sharpe"], "search": {**REQUEST["search"], "method": "nsga2"}}
CHANGES = {"tpe": {}, "cmaes": {"search": {**REQUEST["search"], "method": "cmaes"}}, "nsga2": SEVERAL}

RUN = """
import json, os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps.running import run_sweep
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline_tests.support.sweeps import sweeps_of
from lab_pipeline.sweeps.trials import TrialFiles

home, request, batch, before = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "before"
write = TrialFiles.write

def written_and_killed(files, first, trials):
    last = first // files.batch == batch
    if last and before:
        os.kill(os.getpid(), signal.SIGKILL)
    write(files, first, trials)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)

TrialFiles.write = written_and_killed
lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
run_sweep(SweepSpec.parse(request), lake=lake, strategies=strategies, store=sweeps_of(Path(sys.argv[5])))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A lake of random walks: 60 tokens over 17 days, with four calls each."""
    home = tmp_path_factory.mktemp("world")
    candles, calls = walks(tokens=60, calls_each=4)
    Lake(home / "lake").write_candles(candles, "1m")
    Lake(home / "lake").write_calls(calls)
    StrategyStore(home / "catalog.duckdb").add(Strategy.parse(BASE))
    return home


def swept(home, store, **changes):
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    return running.run_sweep(SweepSpec.parse({**REQUEST, **changes}), lake=lake, strategies=strategies, store=store)


@pytest.fixture(scope="module")
def whole(home, tmp_path_factory):
    """Of each method a sweep that was never interrupted."""
    made = {}
    for method, changes in CHANGES.items():
        store = sweeps_of(tmp_path_factory.mktemp(method))
        made[method] = (store, *swept(home, store, **changes))
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "killed"),
    [("tpe", (0, "after")), ("tpe", (3, "before")), ("cmaes", (3, "after")), ("nsga2", (2, "after"))],
)
def test_a_killed_search_ends_as_one_that_was_never_interrupted(home, whole, tmp_path, method, killed):
    batch, moment = killed
    request = json.dumps({**REQUEST, **CHANGES[method]})
    sweeps = tmp_path / "sweeps"
    words = [sys.executable, "-c", RUN, str(home), request, str(batch), moment, str(tmp_path)]
    assert subprocess.run(words, check=False, timeout=300).returncode == -signal.SIGKILL
    store = sweeps_of(tmp_path)
    assert store.sweep_ids() == []
    (kept,) = (sweeps / ".partial").iterdir()
    assert len(list((kept / "trials").glob("part-*.parquet"))) == batch + (moment == "after")
    _, manifest, _ = whole[method]
    again, _ = swept(home, store, **CHANGES[method])
    assert (again.fingerprint, again.files) == (manifest.fingerprint, manifest.files)
    assert not kept.exists()


@pytest.mark.parametrize("method", CHANGES)
def test_what_is_published_is_a_single_pass_over_the_same_sets(home, whole, method):
    _, _, selected = whole[method]
    lake = Lake(home / "lake")
    sweep, snapshot = running.evaluate(selected.resolved, lake)
    assert sweep.sets.equals(selected.sweep.sets)
    assert (sweep.day_net == selected.sweep.day_net).all()
    assert snapshot == selected.snapshot
    sets = selected.resolved.sets
    assert sets.asked == 40
    assert len(sets) + sets.duplicates + sets.excluded + sets.invalid_count == 40
    assert sets.excluded + sets.invalid_count > 0


def test_a_batch_fares_as_in_the_single_pass(home, whole, tmp_path):
    """What the optimiser is told of a set is what the sweep has of it, whichever sets are its company."""
    store, _, selected = whole["tpe"]
    resolved = selected.resolved
    paths = tuple(one.path for one in resolved.sets.space.dimensions)
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    again = sweeps_of(tmp_path)
    first = running.resolve(resolved.spec, strategies, lake)
    found = running.search(first, lake, again)
    assert found.searched is not None
    files = TrialFiles(again.partial(found.searched) / "trials", paths, resolved.spec.objective.all, 8)
    told = [trial.objectives[0] for trial in files.read()]
    choice = selected.selection.choice
    for number, value in zip(resolved.sets.made, told, strict=True):
        if number < 0 or not choice.allowed[number]:
            assert value == float("-inf")
        else:
            assert value == pytest.approx(choice.scores[number], rel=1e-12)
    assert choice.scores[choice.winner] == pytest.approx(max(told), rel=1e-12)
    assert store.sweep_ids()


def test_candles_are_read_once_for_all_batches(home, monkeypatch):
    opened = []
    real = running.Reach.open
    monkeypatch.setattr(running.Reach, "open", lambda *given: opened.append(1) or real(*given))
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    fixed = {**REQUEST, "space": {"exit.stopLoss": {"from": 0.05, "to": 0.9}}, "constraints": []}
    resolved = running.resolve(SweepSpec.parse(fixed), strategies, lake)
    found = running.search(resolved, lake)
    assert len(opened) == 1
    monkeypatch.setattr(searching, "BYTES_A_CANDLE", 10**9)  # nothing fits: every batch reads them anew
    assert running.search(resolved, lake).sets.hashes == found.sets.hashes
    assert len(opened) == 2


def test_the_front_of_several_objectives_is_reported_and_the_first_decides(whole):
    store, manifest, selected = whole["nsga2"]
    told = json.loads((store.directory / manifest.sweep_id / "selection.json").read_bytes())
    sets = pl.read_parquet(store.directory / manifest.sweep_id / "sets.parquet")
    assert told["winner"] == sets.filter(pl.col("rank") == 1)["set_id"][0]
    assert told["front"][0] == told["winner"]
    assert set(told["front"]) <= set(sets.filter("eligible")["set_id"])
    assert list(selected.front) == told["front"]
    single = json.loads((whole["tpe"][0].directory / whole["tpe"][1].sweep_id / "selection.json").read_bytes())
    assert single["front"] is None


def test_a_placebo_is_the_whole_search_by_the_optimiser(home, tmp_path):
    """Its own, on its own calls: else the sets that suit the real calls would have an advantage."""
    manifest, selected = swept(
        home,
        sweeps_of(tmp_path),
        validation={**REQUEST["validation"], "placebo": 3},
        search={**REQUEST["search"], "sets": 16},
    )
    placebos = pl.read_parquet(tmp_path / "sweeps" / manifest.sweep_id / "placebo.parquet")
    best = placebos.filter(pl.col("kind") == "moments")["best_metric"]
    assert len(best) == best.n_unique() == 3
    assert selected.selection.placebo.p_value in {0.25, 0.5, 0.75, 1.0}
    again, _ = swept(
        home,
        sweeps_of(tmp_path / "again"),
        validation={**REQUEST["validation"], "placebo": 3},
        search={**REQUEST["search"], "sets": 16},
    )
    assert again.files == manifest.files


def test_trials_of_other_data_are_not_taken(home, tmp_path):
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    spec = SweepSpec.parse(REQUEST)
    resolved = running.resolve(spec, strategies, lake)
    first = running.search(resolved, lake, sweeps_of(tmp_path)).searched
    assert running.search(resolved, lake, sweeps_of(tmp_path)).searched == first
    other = Lake(tmp_path / "lake")
    candles, calls = walks(tokens=60, calls_each=4, seed=1)
    other.write_candles(candles, "1m")
    other.write_calls(calls)
    assert running.search(running.resolve(spec, strategies, other), other, sweeps_of(tmp_path)).searched != first


def test_what_nobody_went_on_with_is_removed_after_a_week(tmp_path, monkeypatch):
    store = sweeps_of(tmp_path)
    made = datetime(2020, 1, 1, tzinfo=UTC)
    kept = store.partial("abc") / "trials"
    kept.mkdir(parents=True)
    (kept / "part-00000.parquet").write_bytes(b"1234")
    for path in (kept / "part-00000.parquet", kept, kept.parent):
        os.utime(path, (made.timestamp(), made.timestamp()))
    monkeypatch.setattr(stores, "now", lambda: made + timedelta(days=7))
    assert store.leftovers(remove=True) == 0
    monkeypatch.setattr(stores, "now", lambda: made + timedelta(days=7, seconds=1))
    assert store.leftovers() == 4
    assert kept.exists()
    assert store.leftovers(remove=True) == 4
    assert not kept.parent.exists()


def test_no_set_that_may_be_proposed_reaches_into_the_holdout(home):
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    space = {"horizonMinutes": {"from": 1, "to": 3000}, "exit.stopLoss": [0.1, 0.2]}
    resolved = running.resolve(SweepSpec.parse({**REQUEST, "space": space, "constraints": []}), strategies, lake)
    assert max(one.horizon_minutes for one in resolved.sets.groups) < 3000
    begins = lake.calls()["called_at"].dt.date().unique().sort()[-resolved.held_days]
    ends = resolved.calls["called_at"] + timedelta(minutes=3000)
    assert ends.max().date() < begins or ends.max().replace(tzinfo=None) == datetime.combine(
        begins, datetime.min.time()
    )


def test_sets_that_were_not_searched_are_not_swept(home):
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    resolved = running.resolve(SweepSpec.parse(REQUEST), strategies, lake)
    with pytest.raises(RuntimeError, match="only the first batch of the sets is there: call search"):
        running.evaluate(resolved, lake)
