"""Means, errors and minima of sets, against the regression of an independent library."""

import math

import numpy as np
import pytest
import statsmodels.api as sm

from lab_pipeline.statistics.selection.cells import (
    DAY_MS,
    DayCells,
    Minimum,
    Moments,
    Objective,
    best,
    eligible,
    expectancy,
    expectancy_error,
    score,
    whole,
)
from lab_pipeline_tests.statistics.selection.worlds import midnights, some_cells


def test_the_error_is_that_of_a_regression_clustered_by_day():
    random = np.random.default_rng(5)
    day = np.sort(random.integers(0, 30, 200))
    returns = random.normal(0.05, 0.2, 200) + random.normal(0, 0.3, 30)[day]
    trades = np.bincount(day, minlength=30)
    moments = whole(DayCells.of(midnights(30), [trades], [np.bincount(day, returns, minlength=30)]))
    fit = sm.OLS(returns, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": day})
    assert expectancy(moments)[0, 0] == pytest.approx(fit.params[0], abs=1e-12)
    assert expectancy_error(moments)[0, 0] == pytest.approx(fit.bse[0], abs=1e-10)
    lower = fit.params[0] - 1.6448536269514722 * fit.bse[0]
    assert score(moments, Objective.EXPECTANCY_LOWER)[0, 0] == pytest.approx(lower, abs=1e-10)


def test_sums_of_groups_are_those_of_their_days():
    cells = some_cells(days=31)
    groups = np.zeros((3, 31))
    groups[0, :7], groups[1, 7:20], groups[2, 20:] = 1, 1, 1
    moments = Moments.of(cells, groups)
    joined = moments.joined(np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]))
    for row, days in enumerate((groups[0] + groups[2] > 0, np.ones(31, bool))):
        for objective in Objective:
            alone = score(whole(cells.within(days)), objective)[0]
            np.testing.assert_allclose(score(joined, objective)[row], alone, rtol=1e-9, atol=1e-12)


def test_a_set_with_too_few_days_has_no_objective():
    cells = DayCells.of(midnights(3), [[0, 0, 0], [2, 0, 0], [1, 1, 0]], [[0, 0, 0], [0.5, 0, 0], [0.1, 0.1, 0]])
    assert score(whole(cells), Objective.EXPECTANCY_LOWER)[0].tolist() == [-math.inf, -math.inf, pytest.approx(0.1)]
    assert score(whole(cells), Objective.EXPECTANCY)[0].tolist() == [-math.inf, 0.25, pytest.approx(0.1)]


def test_a_set_below_a_minimum_cannot_win_however_good_it_looks():
    trades = np.array([[3] * 10, [2] * 10, [30] + [0] * 9, [3] * 10])
    net = trades * np.array([[0.1], [0.9], [0.8], [0.7]])
    moments = whole(DayCells.of(midnights(10), trades, net))
    allowed = eligible(moments, np.array([3, 3, 3, 2]), Minimum())
    assert allowed[0].tolist() == [True, False, False, False]
    assert best(score(moments, Objective.EXPECTANCY), allowed).tolist() == [0]
    assert best(score(moments, Objective.EXPECTANCY), np.zeros((1, 4), bool)).tolist() == [-1]
    assert eligible(moments, None, Minimum())[0].tolist() == [True, False, False, True]


def test_equal_sets_are_won_by_the_first():
    cells = some_cells(sets=3)
    twice = DayCells.of(cells.days, np.tile(cells.trades, (2, 1)), np.tile(cells.net, (2, 1)))
    scores = score(whole(twice), Objective.EXPECTANCY)
    assert best(scores, np.ones_like(scores, bool))[0] == scores[0, :3].argmax()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"days": midnights(2)[::-1]}, "ascending"),
        ({"days": midnights(2) + 1}, "midnights"),
        ({"trades": [[1]]}, "trades: must have a row a set and 2 columns"),
        ({"net": [[0.1, math.nan]]}, "net: holds what is no finite number"),
        ({"trades": [[1, 1], [1, 1]]}, "one shape"),
        ({"trades": [[1, 0]]}, "a return without a trade"),
        ({"reach": [0, 0]}, "reach: must name"),
    ],
)
def test_cells_that_do_not_fit_are_refused_in_words(wrong, words):
    right = {"days": midnights(2), "trades": [[1, 1]], "net": [[0.1, 0.2]], "reach": midnights(2) + DAY_MS}
    with pytest.raises(ValueError, match=words):
        DayCells.of(**right | wrong)
