"""Which callers make money under which rules, when as many pairs are asked as there are."""

import numpy as np
from scipy.special import stdtr

from lab_pipeline.domain.candles import Floats
from lab_pipeline.domain.clusters import Dependence, adjusted
from lab_pipeline.statistics.selection.cells import DayCells, expectancy, expectancy_error, whole

FEWEST_DAYS = 5
"""Days with trades below which a pair is not tested: an error of a handful of days is itself mostly luck."""


def p_values(pairs: DayCells) -> Floats:
    """Return the one-sided p-value of each pair's mean net return against zero, (P,).

    Student's t with the standard error clustered by day, and one degree of freedom less than days with trades. No
    number below five of them, or without spread.

    Args:
        pairs: a row for each pair of a caller and a set.
    """
    moments = whole(pairs)
    mean, error, days = expectancy(moments)[0], expectancy_error(moments)[0], moments.sums[2, 0]
    tested = (days >= FEWEST_DAYS) & (error > 0.0)
    values = np.full(len(mean), np.nan)
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
