"""What the best of many tries shows by luck alone."""

import math
from statistics import NormalDist

EULER = 0.5772156649015329


def expected_maximum(trials: float) -> float:
    """Return what the best of independent standard normal numbers is expected to be; zero for a single one.

    As Bailey and López de Prado have it, "The Deflated Sharpe Ratio" (2014).

    >>> round(expected_maximum(100), 2)
    2.53
    """
    if trials <= 1.0:
        return 0.0
    quantile = NormalDist().inv_cdf
    return (1.0 - EULER) * quantile(1.0 - 1.0 / trials) + EULER * quantile(1.0 - 1.0 / (trials * math.e))


def best_by_luck(standard_error: float, trials: float) -> float:
    """Return the mean that the best of so many tries is expected to show where none has an edge.

    Their means then spread by their standard error. Tries that are much alike show less.

    Args:
        standard_error: of the mean of one of them.
        trials: how many.
    """
    return standard_error * expected_maximum(trials)
