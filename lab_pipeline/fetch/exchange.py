"""The exchanges that the library ccxt knows: it says what to ask and reads the answers, the lab does the asking.

So the pace is that of all processes, answers are kept, and what may pass is asked again, as of every source.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import polars as pl

from lab_pipeline.domain.text import shown
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.fetch import rows
from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.fetch.source import Request
from lab_pipeline.fetch.web import Web

PAGE = 500
"""Candles that are asked for at once; an exchange that gives fewer is asked more often."""
COLUMNS = 6


class Exchange:
    """Candles of an exchange; a mint is a symbol such as BTC/USDT."""

    cost_per_1000: float | None = 0.0
    by_chain = False

    def __init__(self, name: str, exchange: str, per_minute: int, web: Web, *, moved: bool) -> None:
        """Take one of ccxt's exchanges.

        Args:
            name: by which the source is remembered.
            exchange: as ccxt calls it.
            per_minute: how often it may be asked.
            web: asks it.
            moved: whether `web` has an address of its own, below which the exchange's paths are; else they are whole.

        Raises:
            FetchError: if there is no such exchange, it has no candles, or ccxt is not installed.
        """
        try:
            import ccxt  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415 - an extra
        except ModuleNotFoundError:
            raise FetchError("source ccxt needs the library: pip install 'lab-pipeline[ccxt]'") from None
        if exchange not in ccxt.exchanges:
            raise FetchError(f"ccxt knows no exchange {shown(exchange)}: say one of its ids, such as kraken")
        self.name, self.per_minute, self._web, self._moved = name, per_minute, web, moved
        self._errors, self._unknown = ccxt.BaseError, ccxt.BadSymbol
        self._exchange: Any = getattr(ccxt, exchange)({"enableRateLimit": False})
        self._exchange.fetch = self._fetch
        if not self._exchange.has["fetchOHLCV"]:
            raise FetchError(f"{exchange} gives no candles")

    def most_ms(self, timeframe: str) -> int:
        """Return how much time one request can bring, in milliseconds."""
        known = self._exchange.timeframes or {}
        if timeframe not in known:
            raise FetchError(f"{self.name} has no candles of {timeframe}: it has {', '.join(known)}")
        return PAGE * timeframe_ms(timeframe)

    def until_ms(self, now_ms: int) -> int:
        """Return until when it can have candles that are closed."""
        return now_ms

    def estimate(self, requests: list[Request], timeframe: str) -> int:  # noqa: ARG002 - alike for all
        """Guess how often it will be asked: for each window, and once for its markets."""
        return len(requests) + 1 if requests else 0

    def candles(self, request: Request, timeframe: str) -> pl.DataFrame:
        """Return the candles of a symbol, none if it is not traded there."""
        since, found = request.start, []
        try:
            while since < request.end:
                page = self._exchange.fetch_ohlcv(request.mint, timeframe, since, PAGE)
                times = [row[0] for row in page]
                found += [row[:COLUMNS] for row in page]
                if not times or max(times) < since:
                    break
                since = max(times) + timeframe_ms(timeframe)
        except self._unknown:
            return rows.candles([])
        except self._errors as error:
            raise FetchError(f"{self.name}: {shown(str(error))}") from None
        return rows.candles(found)

    def close(self) -> None:
        """Let go of connections."""
        self._web.close()

    def _fetch(
        self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: object = None
    ) -> Any:  # noqa: ANN401 - whatever an exchange answers
        """Ask what ccxt wants to be asked, in place of its own way to do so."""
        if method != "GET" or body:
            raise FetchError(f"{self.name} would have to be sent something, which no fetch does")
        where = urlsplit(url)
        path = where.path if self._moved else f"{where.scheme}://{where.netloc}{where.path}"
        content = self._web.get(path, dict(parse_qsl(where.query)), headers=headers or {})
        if content is None:
            raise FetchError(f"{self.name} has nothing at {where.path}")
        return rows.document(self.name, content)
