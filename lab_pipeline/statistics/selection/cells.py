"""What every parameter set of a sweep earned on every day, and the objectives that rank the sets.

A day is the UTC day of a call. Its calls share a market, so it is the unit of everything that is resampled, split or
clustered. The *day return* of a set is the sum of the net returns of its trades on calls of that day: the profit of a
stake of one on each. Their sum over days, divided by the trades, is the mean net return of a trade.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.clusters import FEWEST_CLUSTERS, NORMAL_95

Booleans = npt.NDArray[np.bool_]

DAY_MS = 86_400_000
SETS_AT_ONCE = 1024
"""Sets whose cells are squared at once: bounds the memory."""
ROUNDING = 1e-12
"""A sum of squares below this part of its largest term is rounding."""


class Objective(StrEnum):
    """What ranks the sets; larger is better.

    EXPECTANCY is the mean net return of a trade, EXPECTANCY_LOWER its one-sided lower 95 % bound, clustered by day, and
    SHARPE the mean of the day returns by their standard deviation (divisor n - 1), all days counted.
    """

    EXPECTANCY_LOWER = "expectancy_lower"
    EXPECTANCY = "expectancy"
    SHARPE = "sharpe"


@dataclass(frozen=True)
class Minimum:
    """What a set must have to win: fewer trades, days or callers say too little, however good they look."""

    trades: int = 30
    days: int = 10
    callers: int = 3


@dataclass(frozen=True)
class DayCells:
    """Cells of sets by days.

    Attributes:
        days: (D,) midnight in milliseconds since 1970, UTC; ascending, each once.
        trades: (S, D) trades on calls of that day.
        net: (S, D) sum of their net returns.
        reach: (D,) when the last window of a call of that day ends, in milliseconds since 1970; a call's window is what
            its trades may look at. The end of the day where it is not known.
    """

    days: Integers
    trades: Floats
    net: Floats
    reach: Integers

    @classmethod
    def of(
        cls, days: npt.ArrayLike, trades: npt.ArrayLike, net: npt.ArrayLike, reach: npt.ArrayLike | None = None
    ) -> "DayCells":
        """Check and lay out cells.

        Raises:
            ValueError: shapes do not fit, days are not ascending midnights, a number is not finite, or a sum is there
                without a trade.
        """
        midnights = np.asarray(days, np.int64)
        if midnights.ndim != 1 or (midnights % DAY_MS).any() or (np.diff(midnights) <= 0).any():
            raise ValueError("days: must be midnights in milliseconds since 1970, UTC, in ascending order, each once")
        counts, sums = (np.ascontiguousarray(values, np.float64) for values in (trades, net))
        for name, values in (("trades", counts), ("net", sums)):
            if values.ndim != 2 or values.shape[1] != len(midnights):  # noqa: PLR2004 - sets by days
                raise ValueError(f"{name}: must have a row a set and {len(midnights)} columns, has {values.shape}")
            if not np.isfinite(values).all():
                raise ValueError(f"{name}: holds what is no finite number")
        if counts.shape != sums.shape:
            raise ValueError(f"trades and net: must have one shape, have {counts.shape} and {sums.shape}")
        if (counts < 0).any() or (sums[counts == 0] != 0).any():
            raise ValueError("trades: a day has fewer than none, or a return without a trade")
        ends = midnights + DAY_MS if reach is None else np.asarray(reach, np.int64)
        if ends.shape != midnights.shape or (ends < midnights).any():
            raise ValueError("reach: must name for each day when its last window ends, after the day began")
        return cls(midnights, counts, sums, ends)

    @property
    def sets(self) -> int:
        """How many sets there are."""
        return len(self.net)

    def within(self, days: Booleans) -> "DayCells":
        """Return the cells of some days alone; `days` is a mask of shape (D,)."""
        return DayCells(
            self.days[days],
            np.ascontiguousarray(self.trades[:, days]),
            np.ascontiguousarray(self.net[:, days]),
            self.reach[days],
        )

    def of_sets(self, sets: Booleans | Integers) -> "DayCells":
        """Return the cells of some sets alone; `sets` is a mask or positions."""
        return DayCells(self.days, self.trades[sets], self.net[sets], self.reach)


@dataclass(frozen=True)
class Moments:
    """Sums over groups of days from which every objective follows; shape (6, G, S), contiguous.

    The six are: trades, net, days with a trade, and by day net squared, net times trades, and trades squared. Sums of
    groups that have no day in common are those of the groups together: half of all blocks is one product of matrices.

    Attributes:
        sums: the six.
        calendar: (G,) days of each group, with trades or without.
    """

    sums: Floats
    calendar: Floats

    @classmethod
    def of(cls, cells: DayCells, groups: Floats) -> "Moments":
        """Add up days; `groups` has the shape (G, D) and says how often a group holds a day."""
        sums = np.empty((6, len(groups), cells.sets))
        for begin in range(0, cells.sets, SETS_AT_ONCE):
            part = slice(begin, begin + SETS_AT_ONCE)
            n, x = cells.trades[part], cells.net[part]
            for number, values in enumerate((n, x, (n > 0).astype(np.float64), x * x, x * n, n * n)):
                sums[number, :, part] = groups @ values.T
        return cls(sums, groups.sum(axis=1))

    def joined(self, choices: Floats) -> "Moments":
        """Add up groups; `choices` has the shape (J, G) and says which groups each sum holds."""
        return Moments(np.matmul(choices, self.sums), choices @ self.calendar)


def whole(cells: DayCells) -> Moments:
    """Return the moments of all days as a single group."""
    return Moments.of(cells, np.ones((1, len(cells.days))))


def expectancy(moments: Moments) -> Floats:
    """Return the mean net return of a trade, (G, S); no number where there is none."""
    trades, net = moments.sums[0], moments.sums[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = net / trades
    return mean


def expectancy_error(moments: Moments) -> Floats:
    """Return the standard error of the mean net return of a trade, clustered by day, (G, S).

    That of a mean whose observations depend within days (Liang and Zeger 1986), with the usual factor D / (D - 1) for
    D days with trades. No number with fewer than two of them.
    """
    trades, net, days, net_squared, cross, trades_squared = moments.sums
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = net / trades
        squares: Floats = net_squared + mean * (mean * trades_squared - 2.0 * cross)
        squares[squares < ROUNDING * net_squared] = 0.0
        squares *= days / (days - 1.0)
        np.sqrt(squares, out=squares)
        squares /= trades
    squares[days < FEWEST_CLUSTERS] = np.nan
    return squares


def day_sharpe(moments: Moments) -> Floats:
    """Return the mean of the day returns by their standard deviation, (G, S); zero where they do not vary."""
    net, net_squared = moments.sums[1], moments.sums[3]
    days = moments.calendar[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = net / days
        squares = net_squared - days * mean * mean
        ratio: Floats = mean / np.sqrt(squares / (days - 1.0))
    ratio[~(squares > ROUNDING * net_squared)] = 0.0
    return ratio


def score(moments: Moments, objective: Objective) -> Floats:
    """Return the objective of every set in every group of days, (G, S); minus infinity where it has too few days."""
    match objective:
        case Objective.SHARPE:
            return day_sharpe(moments)
        case Objective.EXPECTANCY:
            values = expectancy(moments)
        case Objective.EXPECTANCY_LOWER:
            values = expectancy(moments)
            values -= NORMAL_95 * expectancy_error(moments)
    values[np.isnan(values)] = -np.inf
    return values


def eligible(moments: Moments, callers: Integers | None, minimum: Minimum) -> Booleans:
    """Return which sets have what it takes to win, (G, S).

    Args:
        moments: of the days that count.
        callers: (S,) callers with at least one trade; none where they are not known, and then they do not decide.
        minimum: what it takes.
    """
    enough: Booleans = (moments.sums[0] >= minimum.trades) & (moments.sums[2] >= minimum.days)
    if callers is not None:
        enough &= callers >= minimum.callers
    return enough


def best(scores: Floats, allowed: Booleans) -> Integers:
    """Return the set with the best score in every group, (G,): the first of equals, -1 where none may win."""
    ranked = np.where(allowed, scores, -np.inf)
    first: Integers = ranked.argmax(axis=1)
    first[~np.isfinite(ranked[np.arange(len(ranked)), first])] = -1
    return first
