"""Random walks side by side, as engines that others wrote take them."""

import numpy as np

ROWS, COLUMNS = 120, 400
Prices = dict[str, np.ndarray]


def market(seed: int, *, grid: bool) -> Prices:
    """Make prices of shape (ROWS, COLUMNS) without gaps between close and open; on a binary grid if `grid`."""
    random = np.random.default_rng(seed)
    step = 1 / 16
    moves = random.normal(0, 0.06, (ROWS, COLUMNS))
    shadows = np.abs(random.normal(0, 0.04, (2, ROWS, COLUMNS)))
    if grid:
        moves, shadows = np.round(moves / step) * step, np.round(shadows / step) * step
    close = 1.5 + np.cumsum(moves, axis=0)
    close = np.maximum(close, 0.25)
    opened = np.vstack([np.full((1, COLUMNS), 1.5), close[:-1]])
    return {
        "open": opened,
        "high": np.maximum(opened, close) + shadows[0],
        "low": np.maximum(np.minimum(opened, close) - shadows[1], step),
        "close": close,
    }
