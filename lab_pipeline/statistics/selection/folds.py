"""Which days train and which days test, so that no call that trains has seen a day that tests.

A call looks at a window that begins with it and ends `horizon` later, mostly on another day. Cells are kept by day, so
that a day leaves the training as a whole where the window of any of its calls reaches into a test (*purge*), and where
it begins less than the *embargo* after the windows of a test have ended. López de Prado, "Advances in Financial Machine
Learning" (2018), chapters 7 and 12.
"""

from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np

from lab_pipeline.domain.candles import Integers
from lab_pipeline.statistics.selection.cells import DAY_MS, Booleans


class Walk(StrEnum):
    """Where training begins: with the first day, or so many days before the test."""

    ANCHORED = "anchored"
    ROLLING = "rolling"


@dataclass(frozen=True)
class Windows:
    """Lengths of a walk forward, in days of the calendar.

    Attributes:
        kind: anchored or rolling.
        train_days: of a training; with ANCHORED of the first one.
        test_days: of a test; the last one may be shorter, since the data end there.
        step_days: from test to test; not less than `test_days`, else a day would count twice.
        embargo_days: that are left out before each test, beside those that the purge leaves out.
    """

    kind: Walk = Walk.ROLLING
    train_days: int = 30
    test_days: int = 10
    step_days: int = 10
    embargo_days: int = 1

    def __post_init__(self) -> None:
        if min(self.train_days, self.test_days) < 1 or self.embargo_days < 0:
            raise ValueError("walk: train_days and test_days must be at least 1, embargo_days at least 0")
        if self.step_days < self.test_days:
            raise ValueError("walk: step_days must be at least test_days, else a day would be tested twice")


@dataclass(frozen=True)
class Fold:
    """One training and its test.

    Attributes:
        train: (D,) days that train.
        test: (D,) days that test.
        purged: (D,) days that would train, were it not for the purge or the embargo.
        train_start: in milliseconds since 1970, inclusive, as the others; ends are exclusive.
        train_end: before purge and embargo.
        test_start: of the first test, where there are several.
        test_end: of the last one.
    """

    train: Booleans
    test: Booleans
    purged: Booleans
    train_start: int
    train_end: int
    test_start: int
    test_end: int


def walk_forward(days: Integers, reach: Integers, windows: Windows) -> list[Fold]:
    """Return the folds of a walk forward in time; none where the days do not suffice for a training and a test.

    Args:
        days: (D,) as in `DayCells`.
        reach: (D,) likewise.
        windows: how long everything is.
    """
    folds: list[Fold] = []
    if not len(days):
        return folds
    first, end = int(days[0]), int(days[-1]) + DAY_MS
    test_start = first + windows.train_days * DAY_MS
    while test_start < end:
        test_end = min(test_start + windows.test_days * DAY_MS, end)
        train_start = first if windows.kind is Walk.ANCHORED else test_start - windows.train_days * DAY_MS
        before = (days >= train_start) & (days < test_start)
        late = (reach > test_start) | (days + DAY_MS > test_start - windows.embargo_days * DAY_MS)
        test = (days >= test_start) & (days < test_end)
        folds.append(Fold(before & ~late, test, before & late, train_start, test_start, test_start, test_end))
        test_start += windows.step_days * DAY_MS
    return folds


def combinatorial(
    days: Integers, reach: Integers, *, groups: int = 10, tested: int = 2, embargo_days: int = 1
) -> list[Fold]:
    """Return a fold for every choice of `tested` out of `groups` of consecutive days; none with fewer days than groups.

    Args:
        days: (D,) as in `DayCells`.
        reach: (D,) likewise.
        groups: of days, as equal as can be, the longer ones first.
        tested: groups that a fold tests.
        embargo_days: after the last window of a tested group, in which no day trains.
    """
    if len(days) < groups:
        return []
    parts = np.array_split(np.arange(len(days)), groups)
    touched = np.zeros((groups, len(days)), np.bool_)
    for row, part in zip(touched, parts, strict=True):
        start, seen = days[part[0]], int(reach[part].max())
        row[:] = (reach > start) & (days < seen + embargo_days * DAY_MS)
    folds = []
    for chosen in combinations(range(groups), tested):
        test = np.zeros(len(days), np.bool_)
        test[np.concatenate([parts[number] for number in chosen])] = True
        hit = touched[list(chosen)].any(axis=0)
        folds.append(
            Fold(
                ~test & ~hit,
                test,
                ~test & hit,
                int(days[0]),
                int(days[-1]) + DAY_MS,
                int(days[parts[chosen[0]][0]]),
                int(days[parts[chosen[-1]][-1]]) + DAY_MS,
            )
        )
    return folds


def path_of(groups: int, tested: int) -> Integers:
    """Return in which fold each path tests each group, (paths, groups).

    Every group is tested by as many folds as there are paths: in the order of the folds, the first belongs to the first
    path, and so on, so that a path tests every day once.
    """
    folds = list(combinations(range(groups), tested))
    return np.array([[number for number, chosen in enumerate(folds) if group in chosen] for group in range(groups)]).T


def hold_out(days: Integers, reach: Integers, share: float) -> tuple[Booleans, Booleans]:
    """Return the days that select and the days that are held out, (D,) each.

    Held out are the last days, this share of all. Days before them whose windows reach into them are neither.

    Args:
        days: (D,) as in `DayCells`.
        reach: (D,) likewise.
        share: from 0 to below 1, of the days that have calls; rounded up to whole days.

    Raises:
        ValueError: the share is no share.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"holdout: must be at least 0 and below 1, is {share}")
    held = int(np.ceil(share * len(days)))
    if not held:
        return np.ones(len(days), np.bool_), np.zeros(len(days), np.bool_)
    start = days[-held]
    return (days < start) & (reach <= start), days >= start
