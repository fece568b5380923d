"""Days drawn anew: the stationary bootstrap as a matrix of weights, so that a product resamples every set at once.

Politis and Romano, "The Stationary Bootstrap" (1994); block lengths by Politis and White (2004) with the correction of
Patton, Politis and White (2009).
"""

import numpy as np

from lab_pipeline.domain.candles import Floats, Integers

SAMPLED = 200
"""Sets whose block lengths are computed; their median counts for all."""
FEWEST_DAYS = 9
"""Days below which no autocorrelation is looked at: three lags of a third each."""


def stationary_draws(days: int, block: float, count: int, seed: int) -> Integers:
    """Draw days in blocks of a random length, (count, D): positions of days, in the order drawn.

    Every draw goes on with the day after the one before, and the first after the last, or, with a chance of one in
    `block`, begins anew anywhere.

    Args:
        days: how many there are.
        block: mean length of a block in days, 1 at least; with 1 every day is drawn by itself.
        count: of resamples.
        seed: of the draws (PCG64).
    """
    random = np.random.Generator(np.random.PCG64(seed))
    starts = random.integers(0, days, size=(count, days))
    begins = random.random((count, days)) < 1.0 / block
    begins[:, 0] = True
    last = np.maximum.accumulate(np.where(begins, np.arange(days), 0), axis=1)
    return (np.take_along_axis(starts, last, axis=1) + np.arange(days) - last) % days


def weights(draws: Integers) -> Floats:
    """Return how often each draw holds each day, by the number of days: (count, D), with rows that sum to 1."""
    count, days = draws.shape
    flat = (draws + np.arange(count)[:, None] * days).ravel()
    shares: Floats = np.bincount(flat, minlength=count * days).reshape(count, days) / days
    return shares


def block_length(returns: Floats) -> float:
    """Return the mean block length for many series of day returns, (D, S): the median of theirs, 1 at least.

    Of many series an even sample is looked at. One, where there are too few days to tell.
    """
    if len(returns) < FEWEST_DAYS:
        return 1.0
    varied = returns[:, np.ptp(returns, axis=0) > 0]
    step = max(1, varied.shape[1] // SAMPLED)
    lengths = [optimal_block(series) for series in varied[:, ::step].T]
    return max(1.0, float(np.median(lengths))) if lengths else 1.0


def optimal_block(series: Floats) -> float:
    """Return the mean block length that suits one series best, (D,); at most a third of it."""
    n = len(series)
    centred = series - series.mean()
    window = max(5, int(np.log10(n)))
    longest = min(int(np.ceil(np.sqrt(n))) + window, n - 2)
    lags = range(longest + 1)
    covariance = np.array([centred[lag:] @ centred[: n - lag] for lag in lags]) / n
    scale = np.array(
        [(centred[lag + 1 :] @ centred[lag + 1 :]) * (centred[: -(lag + 1)] @ centred[: -(lag + 1)]) for lag in lags]
    )
    correlation = np.abs(covariance * n) / np.sqrt(scale)
    small = correlation < 2.0 * np.sqrt(np.log10(n) / n)
    quiet = [lag for lag in range(longest - window + 1) if small[lag : lag + window].all()]
    reach = min(2 * max(quiet[0], 1), longest) if quiet else longest
    lag = np.arange(1, reach + 1)
    taper = 2.0 * np.minimum(1.0, 2.0 * (1.0 - lag / reach)) * covariance[1 : reach + 1]
    slope, long_run = float((taper * lag).sum()), float(covariance[0] + taper.sum())
    if long_run == 0.0:
        return 1.0
    best = (slope / long_run) ** 2 * n
    return float(min(best ** (1 / 3), np.ceil(min(3.0 * np.sqrt(n), n / 3.0))))


def long_run_deviation(returns: Floats, block: float) -> Floats:
    """Return the deviation of sqrt(D) times the mean of each series under the stationary bootstrap, (S,).

    In closed form, by the weights that the bootstrap's blocks give to each autocovariance (Hansen 2005, section 3.1).

    Args:
        returns: (D, S) day returns.
        block: mean length of a block.
    """
    n = len(returns)
    lag = np.arange(n)
    kept = 1.0 - 1.0 / block
    kernel = (1.0 - lag / n) * kept**lag + (lag / n) * kept ** (n - lag)
    kernel[0] = 1.0
    centred = returns - returns.mean(axis=0)
    apart = kernel[np.abs(lag[:, None] - lag)]
    variance = (centred * (apart @ centred)).sum(axis=0) / n
    deviation: Floats = np.sqrt(np.maximum(variance, 0.0))
    return deviation
