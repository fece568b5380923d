"""How sure a mean of trades is that are not independent of one another.

Trades of one day meet the same market, and those of one caller the same head. So it is the days that count as
observations, or the callers: the sums of the deviations of each vary as independent trades would only if nothing tied
them together.
"""

import math

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.t_quantile import student_t_975

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.integer]
FEWEST_CLUSTERS = 2


def mean_interval(
    values: Floats, days: Groups, callers: Groups | None = None, *, least: float = -1.0
) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval of a mean: by clusters of days or of callers, whichever is the wider.

    The standard error is that of a regression on a constant with clustered errors: the root of the summed squares of
    the clusters' summed deviations, times G / (G - 1), over the number of values; the quantile is Student's with G - 1
    degrees of freedom, for G clusters.

    Args:
        values: of trades.
        days: a number for the day of each value.
        callers: one for its caller. Those of one caller alone are judged by their days.
        least: that a value can be; -1 for a return, for nobody loses more than all.

    Returns:
        Nulls where nothing can be said: if all values are of one day.
    """
    by_day = _half_width(values, days)
    if by_day is None:
        return None, None
    by_caller = None if callers is None else _half_width(values, callers)
    mean, half = float(values.mean()), by_day if by_caller is None else max(by_day, by_caller)
    return max(least, mean - half), mean + half


def _half_width(values: Floats, groups: Groups) -> float | None:
    clusters, places = np.unique(groups, return_inverse=True)
    count = len(clusters)
    if count < FEWEST_CLUSTERS:
        return None
    deviations = np.bincount(places, weights=values - values.mean())
    variance = float((deviations**2).sum()) * count / (count - 1) / len(values) ** 2
    return float(student_t_975(np.array([count - 1.0]))[0]) * math.sqrt(variance)


def adjusted(chances: Floats) -> Floats:
    """Return p-values of many tests such that the false ones among those below a limit are that part of them at most.

    Benjamini and Yekutieli's procedure, for tests that depend on one another, as `scipy.stats.false_discovery_control`
    has it (`method="by"`); that module takes three quarters of a second to import, as long as some runs take.

    Args:
        chances: p-values, in any order.
    """
    count = len(chances)
    ranks = np.arange(1, count + 1)
    order = np.argsort(chances, kind="stable")
    raised = chances[order] * count / ranks * (1.0 / ranks).sum()
    found = np.empty(count)
    found[order] = np.minimum(1.0, np.minimum.accumulate(raised[::-1])[::-1])
    return found
