"""Random walks of many tokens over many days, with calls by several callers."""

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline_tests.engine.generated import MINUTE_MS, START_MS

DAY_MINUTES = 1_440


def walks(tokens: int, calls_each: int, rows: int = 600, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return candles of tokens that begin hours apart, and calls on them."""
    random = np.random.default_rng(seed)
    close = np.exp(random.normal(0, 0.02, (tokens, rows)).cumsum(axis=1))
    opened = np.hstack([np.ones((tokens, 1)), close[:, :-1]])
    shadow = np.abs(random.normal(0, 0.01, (2, tokens, rows)))
    start = START_MS + np.arange(tokens) * 400 * MINUTE_MS
    mints = [f"m{number:04d}" for number in range(tokens)]
    candles = pl.DataFrame(
        {
            "mint": np.repeat(mints, rows),
            "timestamp": (start[:, None] + np.arange(rows) * MINUTE_MS).ravel(),
            "open": opened.ravel(),
            "high": (np.maximum(opened, close) * (1 + shadow[0])).ravel(),
            "low": (np.minimum(opened, close) * (1 - shadow[1])).ravel(),
            "close": close.ravel(),
            "volume": np.ones(tokens * rows),
        }
    )
    after = random.integers(0, rows // 2, (tokens, calls_each))
    count = tokens * calls_each
    calls = pl.DataFrame(
        {
            "call_id": [f"c{number:05d}" for number in range(count)],
            "caller": [f"caller{number % 7}" for number in range(count)],
            "mint": np.repeat(mints, calls_each),
            "called_at": (start[:, None] + after * MINUTE_MS).ravel(),
        }
    )
    return candles.cast(dict(frames.CANDLES)), calls.cast(dict(frames.CALLS))
