"""Binance Vision: files of a month or a day, by symbol, published after it; each with its checksum."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import polars as pl

from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.fetch import rows
from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.fetch.source import Request
from lab_pipeline.fetch.web import Web

DAY_MS = 86_400_000
MOST_MS = 31 * DAY_MS
DAYS_WORTH_A_MONTH = 4
"""From so many days of a month on, its file is asked for, not theirs."""
INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
COLUMNS = 6
"""Of a row: open time, open, high, low, close, volume; the rest is not needed."""
REQUESTS_A_FILE = 2


@dataclass(frozen=True)
class BinanceVision:
    """The archive of the spot market; a mint is a symbol such as BTCUSDT."""

    per_minute: int | None
    web: Web
    name: str = "binance_vision"
    cost_per_1000: float | None = 0.0
    by_chain: bool = False

    def most_ms(self, timeframe: str) -> int:
        """Return how much time is asked for at once, in milliseconds."""
        if timeframe not in INTERVALS:
            raise FetchError(f"binance_vision has no candles of {timeframe}: it has {', '.join(INTERVALS)}")
        return MOST_MS

    def until_ms(self, now_ms: int) -> int:
        """Return the beginning of yesterday: what was before it is published."""
        return now_ms // DAY_MS * DAY_MS - DAY_MS

    def estimate(self, requests: list[Request], timeframe: str) -> int:  # noqa: ARG002 - alike for all
        """Guess how often it will be asked."""
        return REQUESTS_A_FILE * sum(len(list(_files(request.start, request.end))) for request in requests)

    def candles(self, request: Request, timeframe: str) -> pl.DataFrame:
        """Return the candles of the files that the time lies in."""
        found = [rows.candles([])]
        for period, days in _files(request.start, request.end):
            month = self._file(request.mint, timeframe, period)
            if month is not None:
                found.append(month)
                continue
            for day in days:  # the month may not be published yet
                one = self._file(request.mint, timeframe, day)
                if one is not None:
                    found.append(one)
        whole = pl.concat(found)
        return whole.filter(
            pl.col("timestamp").is_null()
            | pl.col("timestamp").is_between(request.start, request.end - timeframe_ms(timeframe))
        )

    def close(self) -> None:
        """Let go of connections."""
        self.web.close()

    def _file(self, symbol: str, timeframe: str, period: str) -> pl.DataFrame | None:
        """Read the file of a month (2025-01) or a day (2025-01-31), if it is there.

        Raises:
            FetchError: if it is not what its checksum says.
        """
        name = f"{quote(symbol, safe='')}-{timeframe}-{period}.zip"
        kind = "daily" if period.count("-") > 1 else "monthly"
        path = f"/spot/{kind}/klines/{quote(symbol, safe='')}/{timeframe}/{name}"
        content = self.web.get(path, suffix="zip")
        if content is None:
            return None
        checksum = self.web.get(f"{path}.CHECKSUM", suffix="txt")
        said = checksum.split()[0].decode("ascii", "replace") if checksum and checksum.split() else ""
        if hashlib.sha256(content).hexdigest() != said.lower():
            raise FetchError(
                f"binance_vision: {name} is not what its checksum says: fetch again, it may be replaced now"
            )
        return _rows(name, content)


def _files(start: int, end: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the files that a time lies in, each with those of days that may stand in for it."""
    day = datetime.fromtimestamp(start // DAY_MS * DAY_MS / 1000, UTC)
    days: dict[str, list[str]] = {}
    while day.timestamp() * 1000 < end:
        days.setdefault(f"{day:%Y-%m}", []).append(f"{day:%Y-%m-%d}")
        day += timedelta(days=1)
    for month, its in days.items():
        if len(its) >= DAYS_WORTH_A_MONTH:
            yield month, its
        else:
            yield from ((one, []) for one in its)


def _rows(name: str, content: bytes) -> pl.DataFrame:
    """Read the one table of an archive: without a header, or with one; times in milliseconds or microseconds."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (inside,) = archive.namelist()
            table = pl.read_csv(archive.read(inside), has_header=False, infer_schema=False)
    except (zipfile.BadZipFile, ValueError, pl.exceptions.PolarsError) as error:
        raise FetchError(f"binance_vision: {name} cannot be read: {error}") from None
    if table.width < COLUMNS:
        raise FetchError(f"binance_vision: {name} has {table.width} columns, not those of klines")
    read = table[:, :COLUMNS].rows()
    return rows.candles(row for row in read if rows.number(row[0]) is not None)
