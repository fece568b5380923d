"""The winner under worse conditions than those that made it the winner."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lab_pipeline.domain.candles import Floats
from lab_pipeline.statistics.selection.cells import Booleans


@dataclass(frozen=True)
class Stress:
    """The lane that a set fares worst in: a set is as robust as its worst lane.

    Attributes:
        weakest: name of the lane; the first of equals.
        expectancy: mean net return of a trade there.
    """

    weakest: str
    expectancy: float


def weakest_lane(expectancies: Mapping[str, float]) -> Stress:
    """Return the worst lane of a set.

    Args:
        expectancies: mean net return of a trade by lane; a lane without trades is no number and counts as zero, since
            nothing was earned there.

    Raises:
        ValueError: there is no lane.
    """
    if not expectancies:
        raise ValueError("lanes: there must be at least one")
    earned = {name: 0.0 if np.isnan(value) else float(value) for name, value in expectancies.items()}
    weakest = min(earned, key=lambda name: earned[name])
    return Stress(weakest, earned[weakest])


@dataclass(frozen=True)
class StopFills:
    """What the choice of a winner owes to where stops are assumed to fill.

    Attributes:
        winners: position of the winner under each assumption, -1 where none may win.
        objective: of today's winner under each assumption.
        places_lost: how many sets overtake it under the assumption that is worst for it.
        survives: whether its objective stays above zero under every assumption.
    """

    winners: Mapping[str, int]
    objective: Mapping[str, float]
    places_lost: int
    survives: bool


def stop_fill_sensitivity(objectives: Mapping[str, Floats], allowed: Booleans, winner: int) -> StopFills:
    """Compare the winner under several assumptions about the fills of stops.

    Args:
        objectives: (S,) objective of every set by name of the assumption, as from the level to the low of a candle.
        allowed: (S,) which sets may win.
        winner: position of today's.

    Raises:
        ValueError: there is no assumption, or the winner may not win.
    """
    if not objectives or not allowed[winner]:
        raise ValueError("objectives: there must be at least one, and a winner that may win")
    ranked = {name: np.where(allowed, values, -np.inf) for name, values in objectives.items()}
    own = {name: float(values[winner]) for name, values in ranked.items()}
    return StopFills(
        {name: int(values.argmax()) for name, values in ranked.items()},
        own,
        max(int((values > values[winner]).sum()) for values in ranked.values()),
        min(own.values()) > 0.0,
    )
