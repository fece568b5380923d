"""Reality check, superior ability and its steps, against an independent library on the draws that it makes."""

import arch.bootstrap
import numpy as np
import pytest

from lab_pipeline.statistics.selection import superiority as ours
from lab_pipeline.statistics.selection.resampling import (
    block_length,
    long_run_deviation,
    optimal_block,
    stationary_draws,
    weights,
)

DAYS, SETS, RESAMPLES, BLOCK = 90, 40, 500, 4


def gains(seed, edge=0.0):
    """Make day returns, (D, S): some sets with an edge, half of them losing."""
    returns = np.random.default_rng(seed).normal(0, 1, (DAYS, SETS))
    returns[:, :6] += edge
    returns[:, 20:] -= 0.3
    return returns


def draws_of_arch(seed):
    theirs = arch.bootstrap.StationaryBootstrap(BLOCK, np.arange(DAYS), seed=seed)
    return np.array([positional[0] for positional, _ in theirs.bootstrap(RESAMPLES)])


def without_scale(returns, seed, monkeypatch):
    """Test as arch does, which does not studentise, on the draws that it makes."""
    monkeypatch.setattr(ours, "stationary_draws", lambda *_: draws_of_arch(seed))
    return ours.superiority(returns.T, block=BLOCK, studentised=False, resamples=RESAMPLES)


@pytest.mark.parametrize(("seed", "edge"), [(1, 0.0), (2, 0.15), (3, 0.25), (4, 0.5)])
def test_all_p_values_on_the_same_draws(seed, edge, monkeypatch):
    returns = gains(seed, edge)
    told = without_scale(returns, seed, monkeypatch)
    theirs = arch.bootstrap.SPA(np.zeros(DAYS), -returns, block_size=BLOCK, reps=RESAMPLES, seed=seed)
    theirs.compute()
    expected = (1 + RESAMPLES * theirs.pvalues) / (1 + RESAMPLES)
    assert [told.lower, told.consistent, told.upper] == pytest.approx(expected.tolist(), abs=1e-12)
    assert told.reality_check == pytest.approx(expected["upper"], abs=1e-12)


@pytest.mark.parametrize(("seed", "edge"), [(1, 0.0), (2, 0.3), (3, 0.5)])
def test_the_same_sets_are_superior_step_by_step(seed, edge, monkeypatch):
    returns = gains(seed, edge)
    theirs = arch.bootstrap.StepM(np.zeros(DAYS), -returns, block_size=BLOCK, reps=RESAMPLES, seed=seed)
    theirs.compute()
    assert without_scale(returns, seed, monkeypatch).superior.tolist() == theirs.superior_models


@pytest.mark.parametrize(("seed", "edge"), [(1, 0.1), (2, 0.2), (3, 0.35)])
def test_studentised_it_is_the_same_with_every_resample_by_its_own_deviation(seed, edge):
    """By the definition, resample by resample, on the days that were drawn."""
    returns = gains(seed, edge)
    told = ours.superiority(returns.T, block=BLOCK, resamples=300, seed=seed)
    mean, deviation = returns.mean(axis=0), returns.std(axis=0)
    clear = np.sqrt(2 * np.log(np.log(DAYS)) / DAYS) * long_run_deviation(returns, BLOCK)
    centres = {
        "lower": np.maximum(mean, 0),
        "consistent": np.where(mean >= -clear, mean, 0),
        "upper": mean,
    }
    drawn = [returns[days] for days in stationary_draws(DAYS, BLOCK, 300, seed)]
    for name, centre in centres.items():
        luck = np.array([((sample.mean(axis=0) - centre) / sample.std(axis=0)).max() for sample in drawn])
        expected = (1 + (luck >= (mean / deviation).max()).sum()) / 301
        assert getattr(told, name) == pytest.approx(expected, abs=1e-12)


def test_deviations_equal_archs():
    theirs = arch.bootstrap.SPA(np.zeros(DAYS), -gains(1), block_size=BLOCK, reps=2, seed=1)
    theirs.compute()
    np.testing.assert_allclose(long_run_deviation(gains(1), BLOCK) ** 2, theirs._loss_diff_var, rtol=1e-10)  # noqa: SLF001


def test_block_lengths_equal_archs():
    random = np.random.default_rng(1)
    for days in (12, 20, 120, 365):
        walks = random.normal(size=days).cumsum()
        for series in (random.normal(size=days), walks, walks[::-1] + random.normal(size=days)):
            theirs = arch.bootstrap.optimal_block_length(series)["stationary"].iloc[0]
            assert optimal_block(series) == pytest.approx(theirs, rel=1e-9)


def test_the_deviation_is_that_of_the_resampled_means():
    returns = np.random.default_rng(0).normal(size=(60, 3)).cumsum(axis=0) * 0.1
    drawn = weights(stationary_draws(60, 5.0, 20_000, seed=1)) @ returns
    np.testing.assert_allclose(drawn.std(axis=0) * np.sqrt(60), long_run_deviation(returns, 5.0), rtol=0.02)


def test_draws_go_on_with_the_next_day_and_begin_anew_as_often_as_they_should():
    drawn = stationary_draws(50, 4.0, 4000, seed=3)
    assert drawn.min() == 0
    assert drawn.max() == 49
    follows = (np.diff(drawn, axis=1) % 50 == 1).mean()
    assert follows == pytest.approx(0.75 + 0.25 / 50, abs=0.005)
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=50) / 4000, 1, atol=0.06)
    np.testing.assert_array_equal(drawn, stationary_draws(50, 4.0, 4000, seed=3))
    np.testing.assert_allclose(weights(drawn).sum(axis=1), 1.0)


def test_a_set_is_measured_by_its_own_deviation():
    """A wild set hides a good one from a test in one unit; Hansen's sees it."""
    returns = np.random.default_rng(2).normal(0, 1, (200, 30))
    returns[:, 0] += 0.4
    returns[:, 1] *= 40
    told = ours.superiority(returns.T, seed=1)
    assert told.reality_check > 0.1
    assert told.consistent < 0.01
    assert told.superior.tolist() == [0]


def test_sets_that_clearly_lose_do_not_hide_a_good_one():
    returns = np.random.default_rng(4).normal(0, 1, (150, 400))
    returns[:, 1:] -= 3.0
    returns[:, 0] += 0.25
    told = ours.superiority(returns.T, seed=1, block=1.0)
    assert told.lower <= told.consistent < 0.05 < told.upper


def test_a_benchmark_is_held_against_every_set():
    returns, benchmark = gains(1, 0.8), np.random.default_rng(9).normal(0.8, 1, DAYS)
    against = ours.superiority(returns.T, benchmark=benchmark, seed=2, block=3.0)
    same = ours.superiority((returns - benchmark[:, None]).T, seed=2, block=3.0)
    assert (against.consistent, against.superior.tolist()) == (same.consistent, same.superior.tolist())
    assert against.consistent > 0.05 > ours.superiority(returns.T, seed=2, block=3.0).consistent
    with pytest.raises(ValueError, match="must have 90 days"):
        ours.superiority(returns.T, benchmark=benchmark[1:])


def test_sets_that_never_vary_are_no_evidence():
    returns = gains(1)
    idle = np.hstack([returns, np.zeros((DAYS, 3))])
    assert ours.superiority(idle.T, block=1.0, seed=1).tested == SETS
    nothing = ours.superiority(np.zeros((4, DAYS)))
    assert (nothing.tested, nothing.consistent, nothing.superior.tolist()) == (0, 1.0, [])


def test_the_median_of_the_sets_gives_the_block_length():
    random = np.random.default_rng(0)
    assert block_length(random.normal(size=(100, 60))) < 4 < block_length(random.normal(size=(100, 60)).cumsum(axis=0))
    assert block_length(random.normal(size=(8, 5))) == 1.0
    assert block_length(np.zeros((60, 5))) == 1.0
