"""How often the winner of one half of the days is below the middle in the other half.

Bailey, Borwein, López de Prado and Zhu, "The Probability of Backtest Overfitting", Journal of Computational Finance
20(4), 2017: combinatorially symmetric cross-validation (CSCV).
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.statistics.selection.cells import DayCells, Moments, Objective, expectancy, score

SPLITS_AT_ONCE = 16
"""Of which each is computed with its complement: bounds the memory."""
BLOCKS, FEW_BLOCKS = 16, 8
MANY_DAYS = 64
"""Days below which there are fewer blocks, so that one holds four days at least."""
FEWEST_DAYS = 16
"""Days below which nothing is said: two a block."""


@dataclass(frozen=True)
class Overfitting:
    """What CSCV says.

    Attributes:
        probability: of a backtest overfit (PBO): the share of splits with a logit of at most zero.
        loss: the share of splits whose winner lost money out of sample, or did not trade.
        slope: of the winners' objective out of sample over that in sample (least squares); no number if all are equal.
        blocks: of days.
        chosen: (splits,) the set with the best objective in sample.
        in_sample: (splits,) its objective there.
        out_of_sample: (splits,) its objective in the other half; minus infinity if that has too few days with trades.
        logits: (splits,) log of the odds of its relative rank out of sample; ranks of equals are averaged.
    """

    probability: float
    loss: float
    slope: float
    blocks: int
    chosen: Integers
    in_sample: Floats
    out_of_sample: Floats
    logits: Floats


def blocks_for(days: int) -> int:
    """Return into how many blocks so many days are cut, or 0 where they are too few to say anything."""
    return 0 if days < FEWEST_DAYS else FEW_BLOCKS if days < MANY_DAYS else BLOCKS


def overfitting(cells: DayCells, objective: Objective, blocks: int | None = None) -> Overfitting:
    """Split the days in halves in every way that cuts no block, and follow each winner into the other half.

    Sums of blocks suffice: those of all halves are one product of matrices, and the second half of one split is the
    first of another.

    Args:
        cells: of the sets that could have won, two at least.
        objective: that chooses in sample and ranks out of sample.
        blocks: of days, an even number; `blocks_for` the days where none is given. Blocks are as equal as can be.

    Raises:
        ValueError: fewer than two sets, an odd number of blocks, or fewer days than blocks.
    """
    blocks = blocks_for(len(cells.days)) if blocks is None else blocks
    if blocks < 2 or blocks % 2 or len(cells.days) < blocks:  # noqa: PLR2004 - two halves
        raise ValueError(f"blocks: must be even and at most the days, are {blocks} with {len(cells.days)} days")
    if cells.sets < 2:  # noqa: PLR2004 - the middle of one is itself
        raise ValueError("cells: there must be at least two sets to rank")
    block_of = np.zeros((blocks, len(cells.days)))
    for number, days in enumerate(np.array_split(np.arange(len(cells.days)), blocks)):
        block_of[number, days] = 1.0
    moments = Moments.of(cells, block_of)
    halves = np.array(
        [[number in half for number in range(blocks)] for half in combinations(range(blocks), blocks // 2)]
    )
    splits = len(halves)
    chosen = np.empty(splits, np.int64)
    results = np.empty((4, splits))
    for begin in range(0, splits // 2, SPLITS_AT_ONCE):
        # Of combinations in order, the last is the complement of the first, and so on.
        ahead = np.arange(begin, min(begin + SPLITS_AT_ONCE, splits // 2))
        pair = (ahead, splits - 1 - ahead)
        joined = [moments.joined(halves[half].astype(np.float64)) for half in pair]
        scores, means = [score(half, objective) for half in joined], [expectancy(half) for half in joined]
        for train, test in ((0, 1), (1, 0)):
            row = np.arange(len(ahead))
            winner = scores[train].argmax(axis=1)
            reached = scores[test][row, winner]
            below = np.count_nonzero(scores[test] < reached[:, None], axis=1)
            level = np.count_nonzero(scores[test] == reached[:, None], axis=1)
            relative = (below + (level + 1.0) / 2.0) / (cells.sets + 1.0)
            chosen[pair[train]] = winner
            results[:, pair[train]] = (
                scores[train][row, winner],
                reached,
                np.log(relative / (1.0 - relative)),
                ~(means[test][row, winner] >= 0.0),
            )
    inside, outside, logits, lost = results
    return Overfitting(
        float((logits <= 0.0).mean()),
        float(lost.mean()),
        _slope(inside, outside),
        blocks,
        chosen,
        inside,
        outside,
        logits,
    )


def _slope(inside: Floats, outside: Floats) -> float:
    told = np.isfinite(inside) & np.isfinite(outside)
    x, y = inside[told], outside[told]
    if len(x) < 2 or np.ptp(x) == 0.0:  # noqa: PLR2004 - through a point goes every line
        return math.nan
    dx = x - x.mean()
    return float((dx * (y - y.mean())).sum() / (dx * dx).sum())
