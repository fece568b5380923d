"""freqtrade's data directory: a file a pair and timeframe, `ADA_BTC-5m.feather`."""

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.fetch import rows
from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.fetch.source import Request

ENDINGS = ("feather", "parquet", "json", "json.gz")
"""In this order, where a pair has several."""
MOST_MS = 366 * 86_400_000


@dataclass(frozen=True)
class Freqtrade:
    """The directory of an exchange, `user_data/data/binance`; a mint is a pair, `ADA/BTC`, or as its file calls it."""

    directory: Path
    name: str = "freqtrade"
    per_minute: int | None = None
    cost_per_1000: float | None = 0.0
    by_chain: bool = False

    def most_ms(self, timeframe: str) -> int:  # noqa: ARG002 - whatever it has
        """Return how much time is read at once, in milliseconds."""
        if not self.directory.is_dir():
            raise FetchError(f"freqtrade: {self.directory} is no directory")
        return MOST_MS

    def until_ms(self, now_ms: int) -> int:
        """Return until when it can have candles that are closed."""
        return now_ms

    def estimate(self, requests: list[Request], timeframe: str) -> int:  # noqa: ARG002 - alike for all
        """Count the files to read."""
        return len(requests)

    def candles(self, request: Request, timeframe: str) -> pl.DataFrame:
        """Return the candles of a pair."""
        stem = re.sub(r"[^A-Za-z0-9-]", "_", request.mint)
        there = [self.directory / f"{stem}-{timeframe}.{ending}" for ending in ENDINGS]
        path = next((path for path in there if path.exists()), None)
        if path is None:
            return rows.candles([])
        last = request.end - timeframe_ms(timeframe)
        return _read(path).filter(pl.col("timestamp").is_between(request.start, last))

    def close(self) -> None:
        """Nothing is open."""


def _read(path: Path) -> pl.DataFrame:
    try:
        if path.name.endswith((".json", ".json.gz")):
            text = path.read_bytes()
            return rows.candles(json.loads(gzip.decompress(text) if path.suffix == ".gz" else text))
        found = pl.read_ipc(path) if path.suffix == ".feather" else pl.read_parquet(path)
        return found.select(
            pl.col("date").dt.epoch("ms").alias("timestamp"), *(pl.col(name).cast(pl.Float64) for name in rows.VALUES)
        )
    except (OSError, ValueError, TypeError, pl.exceptions.PolarsError) as error:
        raise FetchError(f"freqtrade: {path} cannot be read: {error}") from None
