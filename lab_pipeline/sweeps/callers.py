"""Callers under sets: which pairs make money, and whether the best of them is more than the best of many."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lab_pipeline.domain.candles import Floats
from lab_pipeline.statistics.selection import Minimum, Objective, q_values

if TYPE_CHECKING:
    from lab_pipeline.engine.sweep import Sweep
    from lab_pipeline.statistics.selection.caller_pairs import ShuffledCallers

MOST_PAIRS = 50_000_000
"""Of calls and sets: with more, half a gigabyte of returns is not held for the callers' sake."""


@dataclass(frozen=True)
class CallerTests:
    """What is said of every caller under every set.

    Attributes:
        callers: names. Length C.
        p_values: one-sided, of the mean net return against zero, clustered by day; shape (C, S). No number where it
            was not tested.
        q_values: of the false discoveries among all that were tested.
        shuffled: the best pair among those of shuffled names.
    """

    callers: list[str]
    p_values: Floats
    q_values: Floats
    shuffled: "ShuffledCallers"

    def document(self) -> dict[str, Any] | None:
        """Return what `selection.json` says of the best pair; null where no pair has enough trades and days."""
        best = self.shuffled.best
        if best.set < 0:
            return None
        return {
            "caller": self.callers[best.caller],
            "set_id": best.set,
            "objective": best.objective,
            "p_value": _number(self.p_values[best.caller, best.set]),
            "q_value": _number(self.q_values[best.caller, best.set]),
            "placebo_p": _number(self.shuffled.p_value),
        }


def judge_callers(
    sweep: "Sweep", objective: Objective, minimum: Minimum, *, shuffles: int, seed: int, threads: int | None = None
) -> CallerTests | None:
    """Test every caller under every set, and the best pair among those of shuffled names.

    Args:
        sweep: what the sets earned; nothing is said unless it kept its returns.
        objective: what ranks the pairs.
        minimum: of trades and days of a pair.
        shuffles: how often the names are shuffled.
        seed: of the shuffles.
        threads: the result does not depend on how many.
    """
    if sweep.returns is None:
        return None
    from lab_pipeline.engine.sweep.sweeper import OTHERS  # noqa: PLC0415 - numba
    from lab_pipeline.statistics.selection.caller_pairs import (  # noqa: PLC0415 - numba
        CallerReturns,
        pair_p_values,
        shuffle_callers,
    )

    names = [name for name in sweep.callers if name != OTHERS]
    net, trades = sweep.returns.sums()
    mine = sweep.returns.caller < len(names)  # the others are the last
    if not mine.all():
        net, trades = net[mine], trades[mine]
    returns = CallerReturns(
        net, trades, sweep.returns.day[mine], sweep.returns.caller[mine], len(names), len(sweep.days)
    )
    p_values = pair_p_values(returns)
    return CallerTests(
        names,
        p_values,
        q_values(p_values),
        shuffle_callers(returns, objective, minimum, shuffles, seed, threads or 1),
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
