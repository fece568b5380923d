"""What the same search finds where there is nothing to find.

A placebo is the whole sweep and the whole selection once more, on calls whose entry times or callers were made up. Its
best objective is what the search shows by itself, whatever made the sets look different from each other.

The nulls of a backtest (`lab_pipeline.engine.nulls`) ask another question: whether one strategy, which nobody searched
for, does better than chance with the same calls.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import Floats
from lab_pipeline.statistics.selection.cells import DayCells, Minimum, Objective, best, eligible, score, whole


@dataclass(frozen=True)
class Placebo:
    """The best of the real calls among the best of the placebos.

    Attributes:
        p_value: (1 + placebos at least as good) / (1 + placebos).
        number: of placebos.
        median: of their best objectives; minus infinity where no set could win in half of them.
    """

    p_value: float
    number: int
    median: float


def best_objective(
    cells: DayCells, objective: Objective, minimum: Minimum, callers: npt.NDArray[np.int64] | None = None
) -> float:
    """Return the objective of the winner, of real calls or of a placebo; minus infinity where no set may win."""
    moments = whole(cells)
    scores = score(moments, objective)
    winner = int(best(scores, eligible(moments, callers, minimum))[0])
    return float(scores[0, winner]) if winner >= 0 else -np.inf


def against_placebos(observed: float, placebos: Floats) -> Placebo:
    """Rank the real calls among the placebos.

    Args:
        observed: best objective of the real calls.
        placebos: (P,) best objectives, one a placebo; minus infinity where none could win.

    Raises:
        ValueError: there is none, or one is no number.
    """
    if not len(placebos) or np.isnan(placebos).any():
        raise ValueError("placebos: there must be at least one, and each must be a number or minus infinity")
    at_least = int((placebos >= observed).sum())
    return Placebo(
        (1 + at_least) / (1 + len(placebos)), len(placebos), float(np.quantile(placebos, 0.5, method="lower"))
    )
