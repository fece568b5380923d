"""How sure a mean of trades is that are not independent of one another.

Trades of one day meet the same market, and those of one caller the same head. So it is the days that count as
observations, or the callers: the sums of the deviations of each vary as independent trades would only if nothing tied
them together.
"""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.t_quantile import student_t_975

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.integer]
FEWEST_CLUSTERS = 2
"""Clusters below which there is no spread between them."""
NORMAL_95 = 1.6448536269514722
"""Standard errors below a mean: one-sided, the lower bound is missed from below in one of twenty."""
Dependence = Literal["by", "bh"]
"""Benjamini and Yekutieli, whatever the tests have in common; or Benjamini and Hochberg, for independent tests."""


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


def interval_of_sums(
    day_values: Floats,
    day_sums: Floats,
    caller_values: Floats | None = None,
    caller_sums: Floats | None = None,
    *,
    least: float = -1.0,
) -> tuple[float | None, float | None]:
    """Return the interval of `mean_interval` where of each day, or caller, only sums are known.

    Args:
        day_values: how many values each day has; days without any are no clusters.
        day_sums: of its values.
        caller_values: likewise by caller, where they are known.
        caller_sums: of their values.
        least: as of `mean_interval`.
    """
    by_day = _half_width_of_sums(day_values, day_sums)
    if by_day is None:
        return None, None
    by_caller = None
    if caller_values is not None and caller_sums is not None:
        by_caller = _half_width_of_sums(caller_values, caller_sums)
    mean = float(day_sums.sum() / day_values.sum())
    half = by_day if by_caller is None else max(by_day, by_caller)
    return max(least, mean - half), mean + half


def _half_width(values: Floats, groups: Groups) -> float | None:
    clusters, places = np.unique(groups, return_inverse=True)
    if len(clusters) < FEWEST_CLUSTERS:
        return None
    deviations = np.bincount(places, weights=values - values.mean()).astype(np.float64)  # which they are already
    return _half_width_of(deviations, len(values))


def _half_width_of_sums(counts: Floats, sums: Floats) -> float | None:
    used = counts > 0
    counts, sums = counts[used], sums[used]
    if len(counts) < FEWEST_CLUSTERS:
        return None
    return _half_width_of(sums - counts * (sums.sum() / counts.sum()), float(counts.sum()))


def _half_width_of(deviations: Floats, values: float) -> float:
    """Return half the width of the interval by the clusters' summed deviations, of so many values in all."""
    count = len(deviations)
    variance = float((deviations**2).sum()) * count / (count - 1) / values**2
    return float(student_t_975(np.array([count - 1.0]))[0]) * math.sqrt(variance)


def adjusted(chances: Floats, dependence: Dependence = "by") -> Floats:
    """Return p-values of many tests such that the false ones among those below a limit are that part of them at most.

    As `scipy.stats.false_discovery_control` has it; that module takes three quarters of a second to import, as long as
    some runs take.

    Args:
        chances: p-values, in any order.
        dependence: what the tests may have in common.
    """
    count = len(chances)
    ranks = np.arange(1, count + 1)
    order = np.argsort(chances, kind="stable")
    raised = chances[order] * count / ranks
    if dependence == "by":
        raised *= (1.0 / ranks).sum()
    found = np.empty(count)
    found[order] = np.minimum(1.0, np.minimum.accumulate(raised[::-1])[::-1])
    return found
