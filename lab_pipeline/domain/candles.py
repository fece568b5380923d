"""Candles as columns: the layout in which the lake hands them to the engine."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SMALLEST_PRICE, LARGEST = 1e-100, 1e100
"""Bounds of prices and volumes, of what comes in and of what is simulated: within them no ratio and no sum overflows.
"""
RULES = 1
"""Number of the rules that candles keep: one more whenever they become stricter, so that what was checked by the rules
before is checked again."""


def prices_hold() -> pl.Expr:
    """Return, by row of candles without null, whether prices and volume keep the rules; what is no number does not."""
    low, high, volume = pl.col("low"), pl.col("high"), pl.col("volume")
    prices = ("open", "high", "low", "close")
    return (
        pl.sum_horizontal(*prices, "volume").is_finite()
        & (low >= SMALLEST_PRICE)
        & (high <= LARGEST)
        & (volume >= 0)
        & (volume <= LARGEST)
        & (low <= pl.col("open"))
        & (low <= pl.col("close"))
        & (high >= pl.col("open"))
        & (high >= pl.col("close"))
    )


@dataclass(frozen=True, eq=False)
class CandleColumns:
    """Candles of some mints, sorted by mint, then timestamp.

    The rows of `mints[i]` are `offsets[i]:offsets[i + 1]` of every column.

    Attributes:
        mints: ascending, each once. Length m.
        offsets: row at which each mint starts, and the number of rows. Length m + 1.
        timestamp: open time in milliseconds since the epoch, UTC; ascending and unique within a mint. Length n.
        open: price at the open, quote currency per token; so are `high`, `low` and `close`. Length n.
        volume: traded volume in the units of the source. Length n.
        checked: length of a candle in milliseconds, if the candles are known to keep the rules for it; else 0.
        liquidity: value of both sides of the pool at the close, NaN where it is not known; null without such a column.
    """

    mints: list[str]
    offsets: Integers
    timestamp: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    checked: int = 0
    liquidity: Floats | None = None

    def __len__(self) -> int:
        return len(self.timestamp)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> "CandleColumns":
        """Take the columns of a frame that is sorted by mint and timestamp, without copying where polars allows.

        Args:
            frame: columns and types of `frames.CANDLES`, with or without `frames.CANDLE_OPTIONS`; the order is the
                caller's promise and is not checked here.
        """
        frame = frame.rechunk()
        runs = frame["mint"].rle().struct
        lengths = runs.field("len").to_numpy().astype(np.int64)
        return cls(
            mints=runs.field("value").to_list(),
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            timestamp=frame["timestamp"].to_physical().to_numpy(),
            open=frame["open"].to_numpy(),
            high=frame["high"].to_numpy(),
            low=frame["low"].to_numpy(),
            close=frame["close"].to_numpy(),
            volume=frame["volume"].to_numpy(),
            liquidity=frame["liquidity"].fill_null(np.nan).to_numpy() if "liquidity" in frame.columns else None,
        )
