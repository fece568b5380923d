"""Intervals of the mean net return of a trade that know that trades of a day, or of a caller, are alike."""

import numpy as np

from lab_pipeline.domain.candles import Floats

RESAMPLES = 2000
CONFIDENCE = 0.95
DRAWS_AT_ONCE = 2**22
"""Draws of a block of resamples: bounds the memory, and changes no draw."""
FEWEST = 2
"""Clusters below which there is no spread between them."""


def clustered_interval(
    trades: Floats, net: Floats, *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of net / trades, whole clusters drawn; no numbers with fewer than two.

    Args:
        trades: (C,) of each cluster, a day or a caller; clusters without any are left out.
        net: (C,) sums of their net returns.
        seed: of the draws.
        resamples: how many.
        confidence: of the interval, two-sided.
    """
    used = trades > 0
    counts, sums = trades[used], net[used]
    clusters = len(counts)
    if clusters < FEWEST:
        return float("nan"), float("nan")
    means = np.empty(resamples)
    block = max(1, DRAWS_AT_ONCE // clusters)
    random = np.random.Generator(np.random.PCG64(seed))
    for begin in range(0, resamples, block):
        end = min(begin + block, resamples)
        drawn = random.integers(0, clusters, size=(end - begin, clusters))
        means[begin:end] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def widest(*intervals: tuple[float, float]) -> tuple[float, float]:
    """Return the interval from the lowest to the highest end: the least significance that any clustering leaves.

    Intervals without numbers do not count; no numbers where none counts.
    """
    told = [interval for interval in intervals if not np.isnan(interval).any()]
    if not told:
        return float("nan"), float("nan")
    lows, highs = zip(*told, strict=True)
    return min(lows), max(highs)
