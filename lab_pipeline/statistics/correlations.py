"""How far what was known before the entry goes with what came after it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]

FEATURES = ("pre_return_1h", "pre_volatility_1h", "pre_volume_1h", "hour_of_day")
"""Known before the entry."""
OUTCOMES = ("net_return", "mfe", "mae", "ath_multiple")
"""What came after it."""
NORMAL_975 = 1.959963984540054
FEWEST = 3
"""Calls below which a correlation says nothing: through two points there is always a line."""
NO_VARIATION = 1e-12
"""A standard deviation below this part of the largest value is rounding."""


class Method(StrEnum):
    """Pearson's correlation of the values, or Spearman's of their ranks."""

    PEARSON = "pearson"
    SPEARMAN = "spearman"


@dataclass(frozen=True)
class Correlation:
    """One feature against one outcome; null where undefined.

    Attributes:
        method: of correlation.
        feature: one of FEATURES.
        outcome: one of OUTCOMES.
        correlation: from -1 to 1.
        low: lower end of its 95 % interval.
        high: upper end.
        n: calls that have both.
    """

    method: Method
    feature: str
    outcome: str
    correlation: float | None
    low: float | None
    high: float | None
    n: int


def correlate(observations: pl.DataFrame) -> Iterator[Correlation]:
    """Correlate every feature with every outcome over the calls that have both.

    Args:
        observations: one row a call, columns FEATURES and OUTCOMES, null where unknown.
    """
    columns = {name: observations[name].cast(pl.Float64).to_numpy() for name in (*FEATURES, *OUTCOMES)}
    for method in Method:
        for feature in FEATURES:
            for outcome in OUTCOMES:
                both = ~(np.isnan(columns[feature]) | np.isnan(columns[outcome]))
                x, y = columns[feature][both], columns[outcome][both]
                value = pearson(x, y) if method is Method.PEARSON else spearman(x, y)
                low, high = interval(method, value, len(x))
                yield Correlation(method, feature, outcome, value, low, high, len(x))


def pearson(x: Floats, y: Floats) -> float | None:
    """Return the correlation of two columns; null with fewer than three rows or where one does not vary."""
    if len(x) < FEWEST or not (_varies(x) and _varies(y)):
        return None
    dx, dy = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((dx * dx).sum())) * math.sqrt(float((dy * dy).sum()))
    return min(1.0, max(-1.0, float((dx * dy).sum()) / scale))


def spearman(x: Floats, y: Floats) -> float | None:
    """Return the correlation of the ranks; equal values share the mean of their ranks."""
    return pearson(average_ranks(x), average_ranks(y))


def average_ranks(values: Floats) -> Floats:
    """Rank values from 1; equal ones get the mean of their places."""
    return pl.Series(values, dtype=pl.Float64).rank("average").to_numpy()


def interval(method: Method, value: float | None, n: int) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a correlation by Fisher's z transformation; null below four rows.

    The variance of z is 1 / (n - 3); for Spearman (1 + r^2 / 2) / (n - 3), after Bonett and Wright, Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations, Psychometrika 65 (2000).
    """
    if value is None or n <= FEWEST:
        return None, None
    if abs(value) == 1:
        return value, value
    factor = 1 + value * value / 2 if method is Method.SPEARMAN else 1.0
    half = NORMAL_975 * math.sqrt(factor / (n - 3))
    z = math.atanh(value)
    return math.tanh(z - half), math.tanh(z + half)


def _varies(values: Floats) -> bool:
    return float(values.std()) > NO_VARIATION * float(np.abs(values).max())
