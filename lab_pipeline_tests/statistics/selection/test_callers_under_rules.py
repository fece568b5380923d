"""Pairs of callers and rules, against SciPy and a regression of an independent library."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import ttest_1samp
from statsmodels.stats.multitest import multipletests

from lab_pipeline.statistics.selection.caller_rules import p_values, q_values
from lab_pipeline.statistics.selection.cells import DayCells
from lab_pipeline_tests.statistics.selection.worlds import midnights, some_cells


def test_one_trade_a_day_is_the_ordinary_t_test():
    net = np.random.default_rng(0).normal(0.1, 0.5, (20, 25))
    told = p_values(DayCells.of(midnights(25), np.ones((20, 25)), net))
    np.testing.assert_allclose(told, ttest_1samp(net, 0, axis=1, alternative="greater").pvalue, rtol=1e-9)


def test_several_trades_a_day_are_one_cluster():
    random = np.random.default_rng(2)
    day = np.sort(random.integers(0, 20, 90))
    returns = random.normal(0.1, 0.3, 90) + random.normal(0, 0.2, 20)[day]
    fit = sm.OLS(returns, np.ones(90)).fit(cov_type="cluster", cov_kwds={"groups": day}, use_t=True)
    cells = DayCells.of(midnights(20), [np.bincount(day, minlength=20)], [np.bincount(day, returns, minlength=20)])
    assert p_values(cells)[0] == pytest.approx(fit.pvalues[0] / 2, rel=1e-9)


def test_a_pair_with_a_handful_of_days_is_not_tested():
    cells = DayCells.of(
        midnights(6), [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]], [[1, 2, 1, 2, 0, 0], [1, 2, 1, 2, 1, 0]]
    )
    few, enough = p_values(cells)
    assert math.isnan(few)
    assert enough < 0.01
    assert math.isnan(p_values(DayCells.of(midnights(9), np.ones((1, 9)), np.ones((1, 9))))[0])


@pytest.mark.parametrize(("method", "theirs"), [("by", "fdr_by"), ("bh", "fdr_bh")])
def test_discoveries_are_those_of_statsmodels(method, theirs):
    p = p_values(some_cells(seed=8, sets=60))
    np.testing.assert_allclose(q_values(p, method), multipletests(p, method=theirs)[1], rtol=1e-9)


def test_what_was_not_tested_does_not_count():
    p = np.array([0.01, math.nan, 0.04])
    told = q_values(p, "bh")
    assert told[[0, 2]].tolist() == pytest.approx([0.02, 0.04])
    assert math.isnan(told[1])
    assert np.isnan(q_values(np.full((2, 2), math.nan))).all()
    assert q_values(np.array([[0.01, 0.04]])).shape == (1, 2)


def test_callers_without_an_edge_are_hardly_ever_discovered():
    """However many pairs there are and whatever they share, at 5 % at most one world in twenty has a discovery."""
    random = np.random.default_rng(3)
    worlds = 0
    for _ in range(100):
        shared = random.normal(size=(10, 40)).repeat(8, axis=0)
        cells = DayCells.of(midnights(40), np.ones((80, 40)), 0.8 * shared + 0.6 * random.normal(size=(80, 40)))
        worlds += (q_values(p_values(cells)) <= 0.05).any()
    assert worlds <= 5


def test_a_caller_with_an_edge_is_discovered():
    net = np.random.default_rng(4).normal(0, 1, (60, 50))
    net[7] += 1.2
    told = q_values(p_values(DayCells.of(midnights(50), np.ones((60, 50)), net)))
    assert np.flatnonzero(told <= 0.05).tolist() == [7]
