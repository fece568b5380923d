"""Shares of the capital, against scikit-learn, SciPy and by hand."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.covariance import ledoit_wolf as theirs

from lab_pipeline.statistics.allocation import Method, Terms, ledoit_wolf, shrunk_means, walk_allocations, weigh
from lab_pipeline.statistics.selection.folds import Windows, walk_forward
from lab_pipeline_tests.statistics.selection.worlds import midnights


def earned(days=60, members=5, seed=0, mean=0.02):
    random = np.random.default_rng(seed)
    market = random.normal(0, 0.05, (days, 1))
    return np.maximum(random.normal(mean, 0.1, (days, members)) + market, -1.0)


@pytest.mark.parametrize(("days", "members"), [(60, 5), (8, 20), (30, 1), (2, 3)])
def test_the_covariance_is_scikit_learns(days, members):
    returns = earned(days, members)
    covariance, part = ledoit_wolf(returns)
    np.testing.assert_allclose(covariance, theirs(returns)[0], rtol=1e-10)
    assert part == pytest.approx(theirs(returns)[1], rel=1e-9, abs=1e-12)


def test_means_are_shrunk_by_their_own_error():
    returns = np.array([[0.1, 0.0, -0.3], [0.3, 0.4, 0.1]])  # means 0.2, 0.2, -0.1; errors 0.1, 0.2, 0.2
    assert shrunk_means(returns).tolist() == pytest.approx([0.2 * (1 - 0.25), 0.0, 0.0])


def test_equal_and_inverse_shares_by_hand():
    returns = np.array([[0.1, 0.2, 0.0], [0.3, 0.6, 0.0]])  # variances 0.02, 0.08, none
    assert weigh(Method.EQUAL, returns).tolist() == [0.5, 0.5, 0.0]
    assert weigh(Method.INVERSE_VARIANCE, returns).tolist() == pytest.approx([0.8, 0.2, 0.0])


def test_one_member_gets_the_fraction_of_mean_by_variance():
    returns = earned(200, 1, mean=0.03)
    full = shrunk_means(returns)[0] / returns.var()
    assert 0 < full < 4
    assert weigh(Method.KELLY, returns, Terms(0.25, 1.0))[0] == pytest.approx(0.25 * full)
    assert weigh(Method.KELLY, returns, Terms(0.25, 0.01))[0] == pytest.approx(0.01)


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_many_are_the_optimum_between_nothing_and_the_cap(seed):
    returns, terms = earned(150, 6, seed, mean=0.003), Terms(0.5, 0.2)
    mean, covariance = shrunk_means(returns), ledoit_wolf(returns)[0]

    def lost(shares):
        return shares @ covariance @ shares / (2 * terms.fraction) - mean @ shares

    best = minimize(lost, np.full(6, 0.1), bounds=[(0, terms.cap)] * 6, tol=1e-14).x
    shares = weigh(Method.KELLY, returns, terms)
    np.testing.assert_allclose(shares, best / max(1.0, best.sum()), atol=1e-5)
    assert shares.min() >= 0
    assert shares.max() <= terms.cap


@pytest.mark.parametrize("days", [2, 3, 30])
def test_members_in_step_share_alike(days):
    made = np.random.default_rng(1).normal(0.3, 0.02, days)
    shares = weigh(Method.KELLY, np.column_stack([made, made, made]), Terms(fraction=1e-4, cap=1.0))
    assert shares == pytest.approx(np.full(3, shares.sum() / 3))
    assert 0 < shares.sum() <= 1


def test_who_earns_nothing_gets_nothing_and_cash_is_kept():
    assert weigh(Method.KELLY, earned(mean=-0.05)).tolist() == [0.0] * 5
    rich = weigh(Method.KELLY, earned(mean=0.3), Terms(1.0, 1.0))
    assert rich.sum() == pytest.approx(1.0)
    for method in Method:
        assert weigh(method, np.zeros((20, 3))).tolist() == [0.0] * 3
        assert weigh(method, np.ones((1, 3))).tolist() == [0.0] * 3


def test_a_method_is_followed_through_days_that_did_not_make_it():
    returns, days = earned(50, 4, seed=3), midnights(50)
    folds = walk_forward(days, days + 86_400_000, Windows(train_days=20, test_days=10, step_days=10))
    tested, allotments = walk_allocations(returns, folds)
    assert tested.tolist() == list(range(20, 50))
    assert [one.method for one in allotments] == list(Method)
    changed = returns.copy()
    changed[30:40] = -1.0  # the second test
    _, others = walk_allocations(changed, folds)
    for one, other in zip(allotments, others, strict=True):
        assert one.shares.shape == (3, 4)
        np.testing.assert_array_equal(one.shares[1], weigh(one.method, returns[folds[1].train]))
        np.testing.assert_array_equal(one.shares[:2], other.shares[:2])
        assert one.returns[10:20].tolist() == pytest.approx((returns[30:40] @ one.shares[1]).tolist())
        assert (other.returns >= -1.0).all()


def test_what_became_of_the_capital_by_hand():
    returns = np.array([[0.1], [-0.1], [0.5], [-0.5], [0.2]])
    days = midnights(5)
    folds = walk_forward(days, days + 86_400_000, Windows(train_days=2, test_days=1, step_days=1, embargo_days=0))
    _, (equal, *_) = walk_allocations(returns, folds)
    assert equal.returns.tolist() == [0.5, -0.5, 0.2]
    assert equal.total_return == pytest.approx(1.5 * 0.5 * 1.2 - 1)
    assert equal.max_drawdown == pytest.approx(0.5)
    assert equal.mean == pytest.approx(0.2 / 3)
    assert equal.sharpe == pytest.approx(equal.mean / np.std([0.5, -0.5, 0.2], ddof=1) * math.sqrt(365))
    assert equal.mean_lower == pytest.approx(
        equal.mean - 1.6448536 * np.std([0.5, -0.5, 0.2], ddof=1) / math.sqrt(3), rel=1e-6
    )
    _, (none, *_) = walk_allocations(returns, [])
    assert math.isnan(none.mean)
    assert (none.total_return, none.max_drawdown) == (0.0, 0.0)


@pytest.mark.parametrize("terms", [(0.0, 0.5), (0.5, 0.0), (1.5, 0.5), (0.5, 1.5)])
def test_terms_out_of_range_are_refused(terms):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        Terms(*terms)
