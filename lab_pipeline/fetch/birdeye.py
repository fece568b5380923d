"""Birdeye: candles of a token over all its pools, prices in USD, volumes in tokens."""

from dataclasses import dataclass

import polars as pl

from lab_pipeline.domain.text import shown
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.fetch import rows
from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.fetch.source import Request
from lab_pipeline.fetch.web import Web

PAGE = 1000
"""Candles that are asked for at once: less than an answer can have, so that none is cut off."""
TYPES = {
    "1s": "1s", "15s": "15s", "30s": "30s", "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m",
    "1h": "1H", "2h": "2H", "4h": "4H", "6h": "6H", "8h": "8H", "12h": "12H", "1d": "1D",
}  # fmt: skip
PATH = "/defi/v3/ohlcv"


@dataclass(frozen=True)
class Birdeye:
    """The service, with a key.

    Attributes:
        page: candles that are asked for at once.
    """

    per_minute: int | None
    cost_per_1000: float | None
    web: Web
    page: int = PAGE
    name: str = "birdeye"
    by_chain: bool = True

    def most_ms(self, timeframe: str) -> int:
        """Return how much time one request can bring, in milliseconds."""
        if timeframe not in TYPES:
            raise FetchError(f"birdeye has no candles of {timeframe}: it has {', '.join(TYPES)}")
        return self.page * timeframe_ms(timeframe)

    def until_ms(self, now_ms: int) -> int:
        """Return until when it can have candles that are closed."""
        return now_ms

    def estimate(self, requests: list[Request], timeframe: str) -> int:  # noqa: ARG002 - alike for all
        """Guess how often it will be asked."""
        return len(requests)

    def candles(self, request: Request, timeframe: str) -> pl.DataFrame:
        """Return the candles of the token."""
        parameters = {
            "address": request.mint,
            "type": TYPES[timeframe],
            "currency": "usd",
            "mode": "range",
            "time_from": str(request.start // 1000),
            "time_to": str(request.end // 1000),
            "padding": "false",
        }
        content = self.web.get(PATH, parameters, headers={"x-chain": request.chain})
        if content is None:
            return rows.candles([])
        said = rows.document(self.name, content)
        try:
            if not said["success"]:
                raise FetchError(f"birdeye refuses: {shown(said.get('message'))}")
            items = said["data"]["items"]
            read = [
                (item["unix_time"] if "unix_time" in item else item["unixTime"], *(item[name] for name in "ohlcv"))
                for item in items
            ]
        except (KeyError, TypeError) as error:
            raise FetchError(f"birdeye answers {PATH} otherwise than it is known to: {error!r}") from None
        return rows.candles(read)

    def close(self) -> None:
        """Let go of connections."""
        self.web.close()
