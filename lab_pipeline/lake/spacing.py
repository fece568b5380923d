"""How long candles are by where their labels lie.

Thin candles have gaps, so their labels may lie on the grid of longer ones by chance. If n labels, each at any of the
times from the first to the last, all lie on the grid of candles k times as long, that chance is small when n is not:
the first and the last are on it once in k times each, and of all ways to choose the others few are.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from lab_pipeline.lake.lengths import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from lab_pipeline.lake.sniffing import plain

LONGER = [
    *(n * SECOND_MS for n in (5, 10, 15, 30)),
    *(n * MINUTE_MS for n in (1, 2, 3, 5, 10, 15, 20, 30)),
    *(n * HOUR_MS for n in (1, 2, 3, 4, 6, 8, 12)),
    *(n * DAY_MS for n in (1, 3, 7)),
]
"""Lengths that candles are made in."""
FEWEST_TIMES = 3
CHANCE = 1e-3
"""Below this probability labels are not taken to lie on a longer grid by chance."""


@dataclass(frozen=True)
class Labels:
    """Where candles lie.

    Attributes:
        whose: of which mint; empty for all of a file.
        times: how many different labels there are.
        first: the first, in milliseconds.
        last: the last.
        fitting: the longer lengths of which every step between them is a multiple.
    """

    whose: str
    times: int
    first: int
    last: int
    fitting: list[int]

    def length(self, step_ms: int, chance: float) -> int | None:
        """Return the longest length that the labels speak for; null if they may be what they are said to be."""
        if self.times < FEWEST_TIMES:
            return None
        found = [length for length in self.fitting if self._log_chance(step_ms, length) < math.log(chance)]
        return max(found, default=None)

    def _log_chance(self, step_ms: int, length: int) -> float:
        k, steps = length // step_ms, (self.last - self.first) // length
        ends = 2 if DAY_MS % length == 0 and self.first % length == 0 else 1  # on the clock's grid, or one of their own
        between = self.times - 2
        return _log_choose(steps - 1, between) - _log_choose(k * steps - 1, between) - ends * math.log(k)


class MintLabels(NamedTuple):
    """How many mints were looked at, and the labels of those which may lie as longer candles do."""

    mints: int
    suspects: list[Labels]


class Spacing:
    """The labels of one file, of all its rows together and of each mint."""

    def __init__(self, step_ms: int | None) -> None:
        """Watch candles that are said to be of a length; null to watch nothing."""
        self._step = step_ms or 0
        self._longer = [length for length in LONGER if step_ms and length > step_ms and length % step_ms == 0]
        self._least = [
            one for one in self._longer if not any(one % other == 0 for other in self._longer if other < one)
        ]
        self._fitting = self._longer
        self._first: int | None = None
        self._steps = pl.Series(dtype=pl.Int64)
        self._mints = 0
        self._suspects: list[Labels] = []

    def note(self, times: pl.Series) -> None:
        """Look at labels, in milliseconds; once they are on no longer grid none is kept."""
        if not self._fitting or not len(times):
            return
        if self._first is None:
            self._first = int(times[0])
        steps = (times - self._first).unique()
        self._fitting = _fitting(steps, self._fitting)
        self._steps = pl.concat([self._steps, steps]).unique() if self._fitting else self._steps.clear()

    def of_mints(self, mints: pl.Series, times: pl.Series) -> "MintLabels":
        """Look at all labels of some mints; the rows are sorted by mint, then time."""
        if not self._longer or not len(mints):
            return MintLabels(0, [])
        runs = mints.rle().struct
        lengths = runs.field("len").to_numpy().astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        labels = times.to_physical().to_numpy()
        steps = np.diff(labels, prepend=labels[:1])
        steps[starts] = 0
        apart = np.gcd.reduceat(steps, starts)  # what divides it divides every step
        suspects = np.flatnonzero(np.any([apart % length == 0 for length in self._least], axis=0))
        found = []
        for suspect in suspects.tolist():
            begin = starts[suspect]
            at = np.unique(labels[begin : begin + lengths[suspect]])
            if len(at) >= FEWEST_TIMES:
                fitting = [length for length in self._longer if apart[suspect] % length == 0]
                found.append(Labels(runs.field("value")[suspect], len(at), int(at[0]), int(at[-1]), fitting))
        return MintLabels(len(starts), found)

    def note_mints(self, seen: "MintLabels") -> None:
        """Take over what was seen of some mints, by which all of them have been looked at once."""
        self._mints += seen.mints
        self._suspects += seen.suspects

    def seems(self) -> tuple[str, int] | None:
        """Return whose candles lie as longer ones do, and how long those are; null if none do."""
        if self._first is not None and self._fitting:
            times = self._steps.sort() + self._first
            whole = Labels("", len(times), int(times[0]), int(times[-1]), self._fitting)
            if (length := whole.length(self._step, CHANCE)) is not None:
                return f"its candles, at {len(times):,} times,", length
        chance = CHANCE / max(self._mints, 1)  # the more mints, the likelier it happens to one of them
        found = [(labels, length) for labels in self._suspects if (length := labels.length(self._step, chance))]
        if not found:
            return None
        labels, length = max(found, key=lambda one: one[0].times)
        others = f" (and those of {len(found) - 1:,} other mints)" if len(found) > 1 else ""
        return f"the {labels.times:,} candles of {plain(labels.whose)}{others}", length


def _fitting(steps: pl.Series, lengths: Iterable[int]) -> list[int]:
    return [length for length in lengths if not (steps % length != 0).any()]


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
