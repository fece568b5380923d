"""Candle lengths: `1m`, `5m`, `4h`, ... as text outside and milliseconds inside."""

import re
from typing import Annotated

from pydantic import AfterValidator

from lab_pipeline.domain.text import shown

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DAY_MS = _UNIT_MS["d"]


def timeframe_ms(timeframe: str) -> int:
    """Return the length of a candle in milliseconds.

    Raises:
        ValueError: if the text is not a number with s, m, h or d, or candles of that length do not tile a UTC day.

    >>> timeframe_ms("5m")
    300000
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhd])", timeframe)
    if not match:
        raise ValueError(f"{shown(timeframe)} is not a timeframe: write a number and s, m, h or d, such as 5m")
    length = int(match[1]) * _UNIT_MS[match[2]]
    if _DAY_MS % length:
        raise ValueError(
            f"{timeframe!r} does not divide a day evenly: use one that does, such as 1m, 5m, 15m, 1h or 4h"
        )
    return length


def _checked(timeframe: str) -> str:
    timeframe_ms(timeframe)
    return timeframe


Timeframe = Annotated[str, AfterValidator(_checked)]
