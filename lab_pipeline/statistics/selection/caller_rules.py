"""Which callers make money under which rules, when as many pairs are asked as there are."""

import numpy as np

from lab_pipeline.domain.candles import Floats
from lab_pipeline.domain.clusters import Dependence, adjusted
from lab_pipeline.statistics.selection.cells import DayCells, Moments, expectancy, expectancy_error, whole

FEWEST_DAYS = 5
"""Days with trades below which a pair is not tested: an error of a handful of days is itself mostly luck."""


def p_values(pairs: DayCells) -> Floats:
    """Return the one-sided p-value of each pair's mean net return against zero, (P,).

    Student's t with the standard error clustered by day, and one degree of freedom less than days with trades. No
    number below five of them, or without spread.

    Args:
        pairs: a row for each pair of a caller and a set.
    """
    values: Floats = p_values_of(whole(pairs))[0]
    return values


def p_values_of(moments: Moments) -> Floats:
    """Return the p-values of `p_values` from sums over days, of every group and set: (G, S)."""
    from scipy.special import stdtr  # noqa: PLC0415 - a quarter of a second

    mean, error, days = expectancy(moments), expectancy_error(moments), moments.sums[2]
    tested = (days >= FEWEST_DAYS) & (error > 0.0)
    values = np.full(mean.shape, np.nan)
    values[tested] = stdtr(days[tested] - 1.0, -mean[tested] / error[tested])
    return values


def q_values(p: Floats, dependence: Dependence = "by") -> Floats:
    """Return the smallest false discovery rate at which each test would be a discovery, of the same shape as `p`.

    What was not tested (no number) stays so and does not count as a test.
    """
    values = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    values[tested] = adjusted(p[tested], dependence)
    return values
