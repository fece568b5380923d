"""A peak that stands alone is luck; a good rule has good neighbours."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.statistics.selection.cells import Booleans

QUANTILE = 0.2
"""Of the neighbourhood, that counts for it: four of five neighbours are at least as good."""
SETS_AT_ONCE = 1024

Levels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plateau:
    """The best neighbourhood beside the best set.

    Attributes:
        scores: (S,) 20 % quantile of the objective in each set's neighbourhood, itself included; minus infinity where
            the set or all of its neighbours could not win.
        chosen: position of the set with the best neighbourhood; -1 where no set has one.
        peak: position of the set with the best objective; -1 where none could win.
        ratio: score of the best neighbourhood by the objective of the peak; no number unless the peak is above zero and
            there is a neighbourhood.
    """

    scores: Floats
    chosen: int
    peak: int
    ratio: float


def plateau(objective: Floats, allowed: Booleans, levels: Levels, *, grid: bool) -> Plateau:
    """Find the best neighbourhood.

    Neighbours that could not win are left out.

    Args:
        objective: (S,) of each set.
        allowed: (S,) which could win.
        levels: (S, dimensions) number of the value that each set has of each dimension, in its order.
        grid: whether all sets of a grid are there: then neighbours are at most one step away in every dimension. Else
            they are the nearest twice as many sets as there are dimensions, with values scaled to their rank.
    """
    usable = np.where(allowed & np.isfinite(objective), objective, np.nan)
    told = np.flatnonzero(~np.isnan(usable))
    scores = np.full(len(objective), -np.inf)
    if not len(told):
        return Plateau(scores, -1, -1, float("nan"))
    places = levels.astype(np.float64) if grid else _ranked(levels)
    tree = KDTree(places)
    for begin in range(0, len(told), SETS_AT_ONCE):
        part = told[begin : begin + SETS_AT_ONCE]
        owner, neighbour = _steps(tree, places[part]) if grid else _nearest(tree, places, part)
        value = usable[neighbour]
        known = ~np.isnan(value)
        scores[part] = _quantiles(owner[known], value[known], len(part))
    peak = int(told[usable[told].argmax()])
    chosen = int(scores.argmax()) if np.isfinite(scores).any() else -1
    height = float(usable[peak])
    return Plateau(
        scores, chosen, peak, float(scores[chosen]) / height if chosen >= 0 and height > 0.0 else float("nan")
    )


def _ranked(levels: Levels) -> Floats:
    """Return the rank of each set's value among the distinct ones of its dimension, from 0 to 1."""
    places = np.zeros(levels.shape)
    for dimension, column in enumerate(levels.T):
        distinct, place = np.unique(column, return_inverse=True)
        places[:, dimension] = place / max(1, len(distinct) - 1)
    return places


def _steps(tree: KDTree, places: Floats) -> tuple[Integers, Integers]:
    """Return all pairs of a place and a set at most one step from it in every dimension."""
    found = tree.query_ball_point(places, r=1.0, p=np.inf)
    counts = [len(neighbours) for neighbours in found]
    return np.repeat(np.arange(len(places)), counts), np.concatenate([np.asarray(one, np.int64) for one in found])


def _nearest(tree: KDTree, places: Floats, part: Integers) -> tuple[Integers, Integers]:
    """Return all pairs of a place and a set among the nearest, the place's own included."""
    count = min(2 * places.shape[1] + 1, len(places))
    _, found = tree.query(places[part], k=count)
    return np.repeat(np.arange(len(part)), count), found.reshape(-1)


def _quantiles(owner: Integers, value: Floats, owners: int) -> Floats:
    """Return the quantile of each owner's values, as `numpy.quantile` has it; minus infinity with fewer than two."""
    order = np.lexsort((value, owner))
    ordered = value[order]
    counts = np.bincount(owner, minlength=owners)
    first = np.cumsum(counts) - counts
    place = QUANTILE * (counts - 1)
    below = np.floor(place).astype(np.int64)
    result = np.full(owners, -np.inf)
    many = counts >= 2  # noqa: PLR2004 - a set alone is no neighbourhood
    low = ordered[(first + below)[many]]
    high = ordered[(first + np.minimum(below + 1, counts - 1))[many]]
    result[many] = low + (high - low) * (place - below)[many]
    return result
