"""How far a Sharpe ratio can be believed that is the best of many.

All ratios here are per day and never annualised. Sources: Bailey and López de Prado, "The Sharpe Ratio Efficient
Frontier" (2012) and "The Deflated Sharpe Ratio" (2014); Bailey, Borwein, López de Prado and Zhu, "Pseudo-Mathematics
and Financial Charlatanism", Notices of the AMS 61(5), 2014.
"""

import math
from dataclasses import dataclass

import numpy as np

from lab_pipeline.domain.candles import Floats
from lab_pipeline.domain.luck import expected_maximum

NO_VARIATION = 1e-12
"""A spread of at most this part of the largest value is rounding."""
FEWEST_DAYS = 4
"""Days below which a sample has no kurtosis."""


@dataclass(frozen=True)
class Shape:
    """What of a series of day returns decides about its Sharpe ratio.

    Attributes:
        days: how many there are.
        sharpe: mean by standard deviation (divisor n), per day.
        skew: of the sample, corrected for its size.
        kurtosis: likewise; 3 for a normal distribution.
    """

    days: int
    sharpe: float
    skew: float
    kurtosis: float

    @classmethod
    def of(cls, returns: Floats) -> "Shape":
        """Measure day returns, (D,).

        Raises:
            ValueError: fewer than four of them, or they do not vary.
        """
        n = len(returns)
        if n < FEWEST_DAYS:
            raise ValueError(f"returns: a Sharpe ratio needs at least {FEWEST_DAYS} days, has {n}")
        deviations = returns - returns.mean()
        second, third, fourth = (float((deviations**power).mean()) for power in (2, 3, 4))
        if not varies(returns):
            raise ValueError("returns: do not vary, so there is no Sharpe ratio")
        skew = math.sqrt(n * (n - 1)) / (n - 2) * third / second**1.5
        excess = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * fourth / second**2 - 3 * (n - 1))
        return cls(n, float(returns.mean()) / math.sqrt(second), skew, excess + 3.0)

    @property
    def variance(self) -> float:
        """Variance of the estimated ratio, times the days less one."""
        return 1.0 - self.skew * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2


@dataclass(frozen=True)
class Deflation:
    """How far the Sharpe ratio of the best of many can be believed.

    Attributes:
        shape: of its day returns.
        psr: probability that its Sharpe ratio is above zero.
        luck: Sharpe ratio per day that the best of that many tries shows by luck alone.
        dsr: probability that its Sharpe ratio is above that.
        dsr_effective: the same with the number of independent tries.
        track_record_days: after which the same Sharpe ratio would be above luck with 95 % confidence.
        backtest_days: below which so many tries show this Sharpe ratio by luck alone.
    """

    shape: Shape
    psr: float
    luck: float
    dsr: float
    dsr_effective: float
    track_record_days: float
    backtest_days: float


def deflate(returns: Floats, sharpes: Floats, trials: float, effective: float, earlier: int = 0) -> Deflation:
    """Measure the winner against the luck of its choice.

    Args:
        returns: (D,) its day returns.
        sharpes: (S,) Sharpe ratios per day of the sets that it was chosen from.
        trials: that were made, here and before.
        effective: how many independent ones these amount to.
        earlier: of the tries, those before. Their Sharpe ratios are not known, and what was chosen from them may be all
            that is looked at now: so the spread of these sets says too little of the luck of those. They are taken to
            have had that of sets without an edge, at the least.

    Raises:
        ValueError: fewer than four days, or the returns do not vary.
    """
    shape = Shape.of(returns)
    before = luck_of_sets_without_an_edge(1 + earlier, shape.days)
    effective_before = luck_of_sets_without_an_edge(1 + earlier * effective / trials, shape.days)
    by_luck = max(luck(sharpes, trials), before)
    return Deflation(
        shape,
        probabilistic_sharpe(shape),
        by_luck,
        probabilistic_sharpe(shape, by_luck),
        probabilistic_sharpe(shape, max(luck(sharpes, effective), effective_before)),
        minimum_track_record(shape, by_luck),
        minimum_backtest(shape.sharpe, trials),
    )


def varies(returns: Floats) -> bool:
    """Say whether day returns, (D,), differ by more than rounding."""
    return float(np.ptp(returns)) > NO_VARIATION * float(np.abs(returns).max())


def probabilistic_sharpe(shape: Shape, threshold: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio is above a threshold (PSR).

    No number where skew and kurtosis are so far from a normal distribution that the approximation has no variance.
    """
    from scipy.special import ndtr  # noqa: PLC0415 - a quarter of a second

    if shape.variance <= 0.0:
        return math.nan
    return float(ndtr((shape.sharpe - threshold) * math.sqrt(shape.days - 1) / math.sqrt(shape.variance)))


def luck(sharpes: Floats, trials: float) -> float:
    """Return the Sharpe ratio that the best of so many tries shows by luck alone.

    Args:
        sharpes: those of the sets, per day; their spread is what luck had to choose from.
        trials: how many sets were tried, here and before; not necessarily a whole number.
    """
    spread = float(np.std(sharpes, ddof=1)) if len(sharpes) > 1 else 0.0
    return spread * expected_maximum(trials)


def luck_of_sets_without_an_edge(trials: float, days: int) -> float:
    """Return the Sharpe ratio per day that the best of so many sets without an edge shows in so many days."""
    return expected_maximum(trials) / math.sqrt(days - 1)


def minimum_track_record(shape: Shape, threshold: float = 0.0, confidence: float = 0.95) -> float:
    """Return the days after which the same Sharpe ratio is above a threshold with that confidence.

    Infinity where it is not above it at all, and no number where the PSR is none.
    """
    from scipy.special import ndtri  # noqa: PLC0415 - as above

    if shape.variance <= 0.0:
        return math.nan
    if shape.sharpe <= threshold:
        return math.inf
    return 1.0 + shape.variance * (float(ndtri(confidence)) / (shape.sharpe - threshold)) ** 2


def minimum_backtest(sharpe: float, trials: float) -> float:
    """Return the days below which the best of so many tries is expected to show this Sharpe ratio by luck alone.

    Sets without any edge have ratios that spread by 1 / sqrt(days), so the best of them shows `expected_maximum` times
    that; its square is less than the 2 ln(trials) of the source's bound. Infinity for a ratio that is not positive.
    """
    return (expected_maximum(trials) / sharpe) ** 2 if sharpe > 0.0 else math.inf


def effective_trials(net: Floats) -> float:
    """Return how many independent sets these amount to: at least 1, at most their number and the days less one.

    The participation ratio of the eigenvalues of the correlation matrix of their day returns, (sum)^2 / sum of squares.
    Their sum is the number of sets, and the sum of their squares that of the squared correlations, which the matrix of
    days by days has as well: no eigenvalue is computed, and no set left out but those that never vary.

    Args:
        net: (S, D) day returns.
    """
    centred = net - net.mean(axis=1, keepdims=True)
    lengths = np.sqrt((centred * centred).sum(axis=1))
    varied = lengths > NO_VARIATION * np.abs(net).max(axis=1, initial=0.0)
    if not varied.any():
        return 1.0
    unit = centred[varied] / lengths[varied, None]
    small = unit @ unit.T if len(unit) < unit.shape[1] else unit.T @ unit
    return len(unit) ** 2 / float((small * small).sum())
