"""Allocations followed through days that did not make them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.clusters import NORMAL_95
from lab_pipeline.statistics.allocation.weights import Method, Terms, weigh
from lab_pipeline.statistics.selection.folds import Fold

DAYS_A_YEAR = 365


@dataclass(frozen=True)
class Allotment:
    """One method, put together from the tests of all folds.

    Attributes:
        method: how shares were made.
        shares: (folds, N) as each training has it.
        now: (N,) as all days together have it.
        returns: (T,) day returns of the capital in the tests.
    """

    method: Method
    shares: Floats
    now: Floats
    returns: Floats

    @property
    def mean(self) -> float:
        """Mean day return in the tests; no number without a test."""
        return float(self.returns.mean()) if len(self.returns) else math.nan

    @property
    def mean_lower(self) -> float:
        """One-sided lower 95 % bound of it; no number with fewer than two days."""
        count = len(self.returns)
        if count < 2:  # noqa: PLR2004 - one day does not vary
            return math.nan
        return self.mean - NORMAL_95 * float(self.returns.std(ddof=1)) / math.sqrt(count)

    @property
    def sharpe(self) -> float:
        """Mean by standard deviation of the day returns, annualised; no number where they do not vary."""
        deviation = float(self.returns.std(ddof=1)) if len(self.returns) > 1 else 0.0
        return self.mean / deviation * math.sqrt(DAYS_A_YEAR) if deviation > 0.0 else math.nan

    @property
    def total_return(self) -> float:
        """Growth of the capital over the tests, each day's gain staked the next."""
        return float(np.prod(1.0 + self.returns)) - 1.0

    @property
    def max_drawdown(self) -> float:
        """Largest fall of the capital from its maximum, a positive fraction."""
        worth = np.concatenate([np.ones(1), np.cumprod(1.0 + self.returns)])
        return float((1.0 - worth / np.maximum.accumulate(worth)).max())


def walk_allocations(
    returns: Floats,
    folds: Sequence[Fold],
    terms: Terms = Terms(),  # noqa: B008 - it is frozen
) -> tuple[Integers, list[Allotment]]:
    """Make shares in every training and follow them through its test.

    Args:
        returns: (D, N) day returns of the members, as `weights` has them.
        folds: as `selection.folds.walk_forward` returns them.
        terms: of KELLY.

    Returns:
        Places of the days that were tested, and what became of each method.
    """
    tested = np.concatenate([np.empty(0, np.int64), *(np.flatnonzero(fold.test) for fold in folds)])
    found = []
    for method in Method:
        shares = np.array([weigh(method, returns[fold.train], terms) for fold in folds]).reshape(-1, returns.shape[1])
        made = [returns[fold.test] @ share for fold, share in zip(folds, shares, strict=True)]
        found.append(Allotment(method, shares, weigh(method, returns, terms), np.concatenate([np.empty(0), *made])))
    return tested, found
