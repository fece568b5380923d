"""Figures that the papers print, and an independent library on random returns."""

import math

import numpy as np
import purgedcv
import pytest

from lab_pipeline.domain.luck import expected_maximum
from lab_pipeline.statistics.selection.cells import day_sharpe, whole
from lab_pipeline.statistics.selection.sharpe import (
    Shape,
    deflate,
    effective_trials,
    luck,
    minimum_backtest,
    minimum_track_record,
    probabilistic_sharpe,
)
from lab_pipeline_tests.statistics.selection.worlds import some_cells

SAMPLES = [np.random.default_rng(seed).gamma(2, 0.02, 90 + seed) - 0.035 for seed in range(5)]


def test_a_hedge_fund_of_two_years():
    """Bailey and López de Prado 2012: 24 months at 0.458 a month; 0.982 if normal, 0.913 with its skew and kurtosis."""
    assert probabilistic_sharpe(Shape(24, 0.458, 0.0, 3.0)) == pytest.approx(0.982, abs=5e-4)
    assert probabilistic_sharpe(Shape(24, 0.458, -2.448, 10.164)) == pytest.approx(0.913, abs=5e-4)


def test_track_records_to_show_that_a_ratio_of_two_is_above_one():
    """The same: 2.73 years of days, 2.83 of weeks, 3.24 of months, at 95 % and normal returns."""
    for periods, years in ((252, 2.73), (52, 2.83), (12, 3.24)):
        shape = Shape(1000, 2 / math.sqrt(periods), 0.0, 3.0)
        assert minimum_track_record(shape, 1 / math.sqrt(periods)) / periods == pytest.approx(years, abs=5e-3)


def test_the_best_of_a_hundred_strategies():
    """Bailey and López de Prado 2014: annual 2.5 over 1,250 days of 250 a year, skew -3, kurtosis 10, variance 1/2.

    The best of 100 shows 0.1132 a day by luck, and the deflated ratio is 0.9004; of 46 it is 0.9505.
    """
    shape = Shape(1250, 2.5 / math.sqrt(250), -3.0, 10.0)
    spread = math.sqrt(0.5 / 250)
    assert spread * expected_maximum(100) == pytest.approx(0.1132, abs=5e-5)
    for trials, told in ((100, 0.9004), (46, 0.9505)):
        assert probabilistic_sharpe(shape, spread * expected_maximum(trials)) == pytest.approx(told, abs=1e-3)


def test_five_years_allow_no_more_than_45_tries():
    """Bailey, Borwein, López de Prado and Zhu 2014, for a ratio of 1 a year."""
    assert minimum_backtest(1.0, 45) == pytest.approx(5.0, abs=5e-3)
    assert minimum_backtest(1.0, 45) < 2 * math.log(45)


@pytest.mark.parametrize("returns", SAMPLES)
def test_probabilities_equal_purgedcvs(returns):
    shape = Shape.of(returns)
    for threshold in (0.0, 0.05, -0.1):
        theirs = purgedcv.probabilistic_sharpe_ratio(returns, threshold)
        assert probabilistic_sharpe(shape, threshold) == pytest.approx(theirs, abs=1e-10)
        length = purgedcv.min_track_record_length(shape.sharpe, threshold, 0.05, shape.skew, shape.kurtosis)
        ours = minimum_track_record(shape, threshold)
        assert ours == length if math.isinf(length) else math.ceil(ours - 1) + 1 == length


@pytest.mark.parametrize("trials", [1, 2, 45, 31_204])
def test_deflated_ratios_equal_purgedcvs(trials):
    cells = some_cells()
    sharpes = day_sharpe(whole(cells))[0]
    ours = deflate(cells.net[0], sharpes, trials, 3)
    theirs = purgedcv.deflated_sharpe_ratio_full(cells.net[0], trials, float(np.var(sharpes, ddof=1)))
    assert ours.dsr == pytest.approx(theirs.dsr, abs=1e-10)
    assert ours.luck == pytest.approx(theirs.sr_star, abs=1e-12)
    assert minimum_backtest(0.3, trials) == pytest.approx(purgedcv.minimum_backtest_length(trials, 0.3), abs=1e-8)
    fewer = purgedcv.deflated_sharpe_ratio(cells.net[0], 3, float(np.var(sharpes, ddof=1)))
    assert ours.dsr_effective == pytest.approx(fewer, abs=1e-10)


def test_a_narrow_look_at_what_a_broad_one_has_chosen_is_no_less_lucky():
    """The best of 5,000 rules without an edge, swept once more by itself or among a few that are much alike."""
    days = 120
    random = np.random.default_rng(5)
    ratios = random.normal(size=(5_000, days))
    best = ratios[(ratios.mean(axis=1) / ratios.std(axis=1)).argmax()]
    alike = best + 0.05 * random.normal(size=(25, days))
    for sets in (alike[:1], alike):
        sharpes = sets.mean(axis=1) / sets.std(axis=1)
        told = deflate(sets[sharpes.argmax()], sharpes, 5_000 + len(sets), 2, earlier=5_000)
        assert told.psr > 0.99
        assert told.dsr < 0.8
        assert deflate(sets[0], sharpes, len(sets), 2).luck == luck(sharpes, len(sets)), "nothing before, nothing new"


def test_a_ratio_of_days_is_mean_by_deviation():
    cells = some_cells()
    told = cells.net.mean(axis=1) / cells.net.std(axis=1, ddof=1)
    np.testing.assert_allclose(day_sharpe(whole(cells))[0], told, rtol=1e-10)


def test_the_best_of_many_random_ratios_is_what_luck_says():
    draws = np.random.default_rng(3).normal(0, 0.1, (2000, 400))
    assert draws.max(axis=1).mean() == pytest.approx(luck(draws[0], 400), rel=0.05)


def test_effective_trials_are_the_participation_ratio_of_the_eigenvalues():
    for sets, days in ((8, 50), (50, 30)):
        net = np.random.default_rng(sets).normal(size=(sets, days)).cumsum(axis=0)
        eigenvalues = np.linalg.eigvalsh(np.corrcoef(net))
        assert effective_trials(net) == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-9)


def test_copies_are_one_trial_and_strangers_are_many():
    random = np.random.default_rng(0)
    one = random.normal(size=300)
    assert effective_trials(np.outer(np.arange(1, 9), one)) == pytest.approx(1.0)
    assert effective_trials(np.vstack([one] * 4 + [np.ones(300)] * 3)) == pytest.approx(1.0)
    assert effective_trials(np.kron(np.eye(5), [1.0, -1.0])) == pytest.approx(5.0)
    assert effective_trials(np.zeros((4, 30))) == 1.0


def test_a_ratio_without_spread_or_days_is_refused():
    with pytest.raises(ValueError, match="do not vary"):
        Shape.of(np.full(30, 0.1))
    with pytest.raises(ValueError, match="at least 4 days, has 3"):
        Shape.of(np.array([0.1, 0.2, 0.3]))


def test_a_loss_needs_a_record_without_end():
    shape = Shape.of(np.random.default_rng(0).normal(-0.1, 0.2, 60))
    assert minimum_track_record(shape) == math.inf
    assert minimum_backtest(shape.sharpe, 10) == math.inf


def test_a_shape_that_no_distribution_has_gives_no_number():
    impossible = Shape(50, 2.0, 3.0, 1.0)
    assert math.isnan(probabilistic_sharpe(impossible))
    assert math.isnan(minimum_track_record(impossible))
