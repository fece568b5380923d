"""Fewer points of a long series, with every peak and trough still there."""

import numpy as np
import numpy.typing as npt


def extremes(values: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.intp]:
    """Choose the points to draw: each bin's lowest and highest, and the first and last of all.

    Args:
        values: length n, without NaN.
        bins: number of equal stretches of the series, about one a pixel.

    Returns:
        Ascending positions, at most 2 * bins + 2; all n if there are no more than that.
    """
    n = len(values)
    if n <= 2 * bins + 2:
        return np.arange(n)
    size = -(-n // bins)
    rows = -(-n // size)
    padded = np.full(rows * size, values[-1])
    padded[:n] = values
    stretches = padded.reshape(rows, size)
    starts = np.arange(rows) * size
    chosen = np.concatenate([[0, n - 1], starts + stretches.argmin(axis=1), starts + stretches.argmax(axis=1)])
    return np.unique(np.minimum(chosen, n - 1))


def every_kth(n: int, at_most: int) -> slice:
    """Choose at most that many of n rows, evenly and always the same ones."""
    return slice(None, None, max(1, -(-n // at_most)))
