"""What the best of many tries shows by luck, said beside every backtest."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain.clusters import mean_interval, trades_error
from lab_pipeline.domain.luck import best_by_luck, expected_maximum
from lab_pipeline.domain.t_quantile import student_t_975
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.statistics.luck import luck_of
from lab_pipeline.statistics.trials import Evaluation, Kind, TrialsLedger
from lab_pipeline_tests.support.world import START, Call, World


def trades(days, callers, seed=1):
    chance = np.random.default_rng(seed)
    moments = [datetime(2024, 1, 1 + day, 9, 30, tzinfo=UTC) for day in days]
    return pl.DataFrame({"net_return": chance.normal(0, 0.3, len(days)), "called_at": moments, "caller": callers}).cast(
        {"called_at": pl.Datetime("ms", "UTC")}
    )


@pytest.mark.parametrize(
    ("days", "callers"),
    [
        ([0, 0, 1, 1, 2, 2, 3, 9], list("abcdefgh")),
        ([0, 1, 2, 3, 4, 5, 6, 7], list("aaaabbbb")),
        ([0, 1, 2, 3, 4, 5, 6, 7], list("aaaaaaaa")),
    ],
)
def test_the_error_of_a_mean_is_that_of_its_interval(days, callers):
    frame = trades(days, callers)
    net = frame["net_return"].to_numpy()
    _, high = mean_interval(net, np.array(days), frame["caller"].rank("dense").to_numpy())
    clusters = {len(set(days)), len(set(callers))}
    halves = [trades_error(frame) * student_t_975(np.array([count - 1.0]))[0] for count in clusters if count > 1]
    assert any(half == pytest.approx(high - net.mean(), rel=1e-9) for half in halves)


def test_where_nothing_can_be_said_there_is_no_error():
    assert trades_error(trades([0, 0], ["a", "b"])) is None
    assert trades_error(trades([], []).cast({"caller": pl.String})) is None


@pytest.mark.parametrize("tries", [2, 10, 1_000])
def test_luck_is_what_the_best_of_many_means_shows(tries):
    drawn = np.random.default_rng(7).normal(0.0, 0.02, (20_000, tries)).max(axis=1) if tries < 1_000 else None
    if drawn is None:
        drawn = np.random.default_rng(7).normal(0.0, 0.02, (2_000, tries)).max(axis=1)
    assert best_by_luck(0.02, tries) == pytest.approx(drawn.mean(), rel=0.05, abs=1e-3)


def test_a_single_try_has_no_luck_of_choice():
    assert expected_maximum(1) == expected_maximum(0) == 0.0


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    calls = [Call(f"c{number}", "ann", "AAA", (0.1 * number,), START + timedelta(days=number)) for number in range(5)]
    run_id = world.add(calls)
    ledger = TrialsLedger(tmp_path / "catalog.duckdb", ArtifactStore(tmp_path / "artifacts"))
    return ledger, ledger.artifacts.manifest(run_id)


def test_the_sentence_counts_the_tries_of_the_family_on_these_calls(world):
    ledger, manifest = world
    spec = manifest.spec
    assert luck_of(manifest, ledger).said == "the only try on these calls so far"
    ledger.catch_up()
    alone = luck_of(manifest, ledger)
    assert (alone.trials, alone.best) == (1, 0.0)
    at, after, day = spec.range.start, spec.range.end, timedelta(days=1)
    ledger.record(
        (Evaluation("swept", Kind.SWEEP, spec.strategy_id, "s", "expectancy", at, at + day), map(str, range(999))),
        (Evaluation("later", Kind.SWEEP, spec.strategy_id, "t", "expectancy", after, after + day), ["x"]),
        (Evaluation("other", Kind.SWEEP, "unrelated", "u", "expectancy", at, at + day), ["y"]),
    )
    found = luck_of(manifest, ledger)
    assert found.trials == 1_000
    assert found.best == pytest.approx(found.standard_error * expected_maximum(1_000))
    assert found.said == (
        f"one of 1,000 tries on these calls; the best of 1,000 by luck alone would show {found.best:+.2%} a trade"
    )


def test_a_run_whose_trades_are_lost_still_says_how_many_tries_there_were(world):
    ledger, manifest = world
    spec = manifest.spec
    swept = Evaluation("swept", Kind.SWEEP, spec.strategy_id, "s", "expectancy", spec.range.start, spec.range.end)
    ledger.record((swept, "ab"))
    (ledger.artifacts.storage.directory / manifest.run_id / "trades.parquet").unlink()
    assert luck_of(manifest, ledger).said == (
        "one of 2 tries on these calls; what luck alone would show cannot be said"
    )
