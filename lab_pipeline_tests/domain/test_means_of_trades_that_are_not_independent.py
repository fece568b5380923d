import math

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from lab_pipeline.domain.clusters import adjusted, interval_of_sums, mean_interval

VALUES = np.array([0.5, -0.2, 0.1, 0.9, -0.4, 0.3, -0.1, 0.2, 1.5, -0.6])
DAYS = np.array([0, 0, 1, 1, 1, 2, 3, 3, 3, 3])
CALLERS = np.array([0, 1, 0, 1, 2, 0, 1, 2, 0, 1])


def test_an_interval_worked_out_by_hand():
    # 0.1 and 0.3, then 0.5 and 0.7: summed deviations of -0.4 and 0.4; (0.16 + 0.16) * 2 / 1 over 4 squared
    low, high = mean_interval(np.array([0.1, 0.3, 0.5, 0.7]), np.array([5, 5, 9, 9]))
    assert high == pytest.approx(0.4 + 12.7062 * math.sqrt(0.64) / 4)
    assert low == -1.0, "nobody loses more than all"


@pytest.mark.parametrize(
    ("groups", "error", "student"), [(DAYS, 0.0242212, 3.1824), (CALLERS, 0.22894541, 4.3027)], ids=["days", "callers"]
)
def test_errors_are_those_of_statsmodels(groups, error, student):
    """`OLS(values, 1).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True})` of 0.15.0."""
    low, high = mean_interval(VALUES, groups, least=-math.inf)
    assert (low, high) == pytest.approx((0.22 - student * error, 0.22 + student * error), abs=1e-7)


def test_the_wider_of_both_is_taken():
    by_callers = mean_interval(VALUES, CALLERS)
    assert mean_interval(VALUES, DAYS, CALLERS) == mean_interval(VALUES, CALLERS, DAYS) == by_callers


def sums_by(groups):
    return np.bincount(groups, minlength=6).astype(float), np.bincount(groups, VALUES, minlength=6)


@pytest.mark.parametrize("least", [-1.0, -math.inf, 0.1])
def test_sums_by_day_and_caller_are_enough(least):
    by_day, by_caller = sums_by(DAYS), sums_by(CALLERS)
    assert interval_of_sums(*by_day, least=least) == pytest.approx(mean_interval(VALUES, DAYS, least=least))
    both = interval_of_sums(*by_day, *by_caller, least=least)
    assert both == pytest.approx(mean_interval(VALUES, DAYS, CALLERS, least=least))
    one = np.zeros(10, np.int64)
    assert interval_of_sums(*by_day, *sums_by(one), least=least) == pytest.approx(
        mean_interval(VALUES, DAYS, one, least=least)
    )
    assert interval_of_sums(*sums_by(one), *by_caller, least=least) == (None, None)


def test_clusters_of_one_trade_each_are_independent_trades():
    low, high = mean_interval(VALUES, np.arange(10), least=-math.inf)
    assert (high - low) / 2 == pytest.approx(2.2622 * VALUES.std(ddof=1) / math.sqrt(10))


def test_of_one_day_nothing_is_said_and_of_one_caller_what_his_days_say():
    assert mean_interval(VALUES, np.zeros(10, np.int64), CALLERS) == (None, None)
    assert mean_interval(np.empty(0), np.empty(0, np.int64)) == (None, None)
    assert mean_interval(VALUES, DAYS, np.zeros(10, np.int64)) == mean_interval(VALUES, DAYS)


def test_intervals_of_days_that_move_together_hold_what_they_promise():
    """Trades of one day share its luck: the interval of independent trades would miss the mean most of the time."""
    generator, held, independent = np.random.default_rng(1), 0, 0
    days = np.repeat(np.arange(12), 20)
    for _ in range(400):
        values = generator.normal(0, 1, 12)[days] + generator.normal(0, 1, 240)
        low, high = mean_interval(values, days, least=-math.inf)
        held += low <= 0 <= high
        independent += abs(values.mean()) <= 1.96 * values.std() / math.sqrt(240)
    assert held / 400 == pytest.approx(0.95, abs=0.035)
    assert independent / 400 < 0.5


@pytest.mark.parametrize("dependence", ["by", "bh"])
@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_corrected_chances_are_those_of_scipy(count, dependence):
    chances = np.round(np.random.default_rng(count).random(count) ** 3, 2)  # some of them equal
    assert adjusted(chances, dependence) == pytest.approx(
        false_discovery_control(chances, method=dependence), rel=1e-12
    )
