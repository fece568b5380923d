"""Candles as sources write them: numbers or text, seconds or milliseconds, complete or not."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import prices_hold
from lab_pipeline.fetch.errors import FetchError

VALUES = ("open", "high", "low", "close", "volume")
CANDLES = pl.Schema({"timestamp": pl.Int64(), **{name: pl.Float64() for name in VALUES}})
"""Of one token, in milliseconds since the epoch."""
MILLISECONDS_FROM, MICROSECONDS_FROM, NANOSECONDS_FROM = 1e11, 1e14, 1e17
"""Times from 1973 on can be in one unit only."""


def document(source: str, content: bytes) -> Any:  # noqa: ANN401 - whatever it is
    """Read JSON.

    Raises:
        FetchError: if it is none.
    """
    try:
        return json.loads(content)
    except ValueError:
        raise FetchError(f"{source} answers with what is no JSON") from None


def candles(rows: Iterable[Sequence[Any]]) -> pl.DataFrame:
    """Make a frame of rows of time, open, high, low, close and volume; what cannot be read is null."""
    read = [(milliseconds(row[0]), *map(number, row[1:])) for row in rows]
    return pl.DataFrame(read, schema=CANDLES, orient="row")


def number(value: Any) -> float | None:  # noqa: ANN401 - as above
    """Read a number, or one that is written as text.

    >>> number("1.5"), number(2), number("n/a"), number(None), number(True)
    (1.5, 2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def milliseconds(value: Any) -> int | None:  # noqa: ANN401 - as above
    """Read a Unix time in whatever unit.

    >>> milliseconds(1735689600), milliseconds("1735689600000"), milliseconds(1735689600000000)
    (1735689600000, 1735689600000, 1735689600000)
    """
    found = number(value)
    if found is None:
        return None
    whole = int(value) if isinstance(value, int) else int(found)
    if found >= NANOSECONDS_FROM:
        return whole // 1_000_000
    if found >= MICROSECONDS_FROM:
        return whole // 1_000
    return whole if found >= MILLISECONDS_FROM else whole * 1_000


def in_tokens(found: pl.DataFrame) -> pl.DataFrame:
    """Turn a volume in quote currency into tokens, by the candle's mean price."""
    mean = pl.mean_horizontal("open", "high", "low", "close")
    return found.with_columns(volume=pl.col("volume") / mean)


def kept(found: pl.DataFrame, length_ms: int) -> tuple[pl.DataFrame, int]:
    """Return the candles that keep the lake's rules, each once as it was received last, and count the others."""
    in_time = pl.col("timestamp").is_between(0, int(frames.END.timestamp() * 1000), closed="left")
    whole = found.drop_nulls()
    fit = whole.filter(prices_hold() & in_time & (pl.col("timestamp") % length_ms == 0))
    once = fit.unique("timestamp", keep="last", maintain_order=True).sort("timestamp")
    return once, found.height - fit.height
