"""Shares of the capital for members that earn day by day.

A *member* is a rule, or a caller under a rule. Its day return is the mean net return of its trades on calls of that
day, 0 on a day without: its share of the capital is split evenly over the trades of a day. So shares that sum to one at
most cannot lose more than all there is.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from lab_pipeline.domain.candles import Floats

LEAST_SHRUNK = 1e-6
"""Part of equal variances in a covariance from which shares are made, at least: without it there may be no optimum."""


class Method(StrEnum):
    """How shares are made.

    EQUAL gives every member that has traded the same, INVERSE_VARIANCE as much as its day returns vary little, both all
    of the capital. KELLY gives a fraction of what makes the capital grow fastest, and leaves the rest in cash.
    """

    EQUAL = "equal"
    INVERSE_VARIANCE = "inverse_variance"
    KELLY = "kelly"


@dataclass(frozen=True)
class Terms:
    """What bounds the shares of KELLY.

    Attributes:
        fraction: of the growth-optimal shares.
        cap: largest share of a member.
    """

    fraction: float = 0.25
    cap: float = 0.25

    def __post_init__(self) -> None:
        if not (0.0 < self.fraction <= 1.0 and 0.0 < self.cap <= 1.0):
            raise ValueError("terms: fraction and cap must be above 0 and at most 1")


def weigh(method: Method, returns: Floats, terms: Terms = Terms()) -> Floats:
    """Return the share of every member, (N,): none below zero, together at most one.

    A member whose returns do not vary has not traded, and gets nothing.

    Args:
        method: how.
        returns: (T, N) day returns of the members on the days that train.
        terms: of KELLY.
    """
    shares = np.zeros(returns.shape[1])
    if len(returns) < 2:  # noqa: PLR2004 - one day does not vary
        return shares
    variances = returns.var(axis=0, ddof=1)
    able = variances > 0.0
    if not able.any():
        return shares
    match method:
        case Method.EQUAL:
            shares[able] = 1.0 / able.sum()
        case Method.INVERSE_VARIANCE:
            shares[able] = 1.0 / variances[able]
            shares /= shares.sum()
        case Method.KELLY:
            shares[able] = _kelly(returns[:, able], terms)
    return shares


def shrunk_means(returns: Floats) -> Floats:
    """Return the mean day returns, each shrunk by its own error, (N,): 0 unless it is above its standard error.

    The factor is that of James and Stein for one mean, 1 - (error / mean)², and never below zero.

    Args:
        returns: (T, N), at least two days.
    """
    mean = returns.mean(axis=0)
    error = returns.std(axis=0, ddof=1) / np.sqrt(len(returns))
    kept: Floats = np.where(
        mean > error, mean - np.divide(error**2, mean, out=np.zeros_like(mean), where=mean > 0), 0.0
    )
    return kept


def ledoit_wolf(returns: Floats) -> tuple[Floats, float]:
    """Return the covariance of day returns, shrunk towards equal variances without correlation, and how far.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004).

    Args:
        returns: (T, N).

    Returns:
        (N, N), with divisor T, and the part of the target in it, from 0 to 1.
    """
    centred = returns - returns.mean(axis=0)
    count, members = centred.shape
    sample = centred.T @ centred / count
    target = np.trace(sample) / members * np.eye(members)
    distance = float(((sample - target) ** 2).sum())
    squares = centred**2
    noise = float((squares.T @ squares / count - sample**2).sum()) / count
    part = min(noise, distance) / distance if distance > 0.0 else 0.0
    covariance: Floats = (1.0 - part) * sample + part * target
    return covariance, part


def _kelly(returns: Floats, terms: Terms) -> Floats:
    """Maximise mean - variance / (2 fraction) over shares between 0 and the cap; scaled down if they exceed one."""
    from scipy.optimize import lsq_linear  # noqa: PLC0415 - a fifth of a second

    covariance, part = ledoit_wolf(returns)
    if part < LEAST_SHRUNK:  # of two days, or of members in step, nothing is shrunk, and what is left has no root
        target = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        covariance = (1.0 - LEAST_SHRUNK) * covariance + LEAST_SHRUNK * target
    root = np.linalg.cholesky(covariance).T
    wanted = np.linalg.solve(root.T, terms.fraction * shrunk_means(returns))
    shares: Floats = lsq_linear(root, wanted, bounds=(0.0, terms.cap), method="bvls").x
    return shares / max(1.0, float(shares.sum()))
