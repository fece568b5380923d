"""What a source of candles is to those who ask it."""

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from lab_pipeline.fetch.windows import Span


@dataclass(frozen=True)
class Request:
    """Candles of one token that are asked for together.

    Attributes:
        mint: the token.
        chain: that it is on; empty where that says nothing, as on an exchange.
        called_at: of the token's first call, milliseconds since the epoch.
        spans: when, ascending.
    """

    mint: str
    chain: str
    called_at: int
    spans: tuple[Span, ...]

    @property
    def start(self) -> int:
        """Of the first span."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Of the last span, exclusive."""
        return self.spans[-1][1]


class CandleSource(Protocol):
    """A source of candles."""

    @property
    def name(self) -> str:
        """By which it is remembered."""

    @property
    def per_minute(self) -> int | None:
        """How often it may be asked; null where nothing limits it."""

    @property
    def cost_per_1000(self) -> float | None:
        """What 1,000 requests cost, 0 if nothing; null if that is not known."""

    @property
    def by_chain(self) -> bool:
        """Whether a token is known by its chain, too."""

    def most_ms(self, timeframe: str) -> int:
        """Return how much time one request can bring, in milliseconds.

        Raises:
            FetchError: if it has no candles of that length.
        """

    def until_ms(self, now_ms: int) -> int:
        """Return until when it can have candles that are closed."""

    def estimate(self, requests: list[Request], timeframe: str) -> int:
        """Guess how often it will be asked."""

    def candles(self, request: Request, timeframe: str) -> pl.DataFrame:
        """Return `rows.CANDLES` of the time from the request's start to its end; more, or repeated ones, do no harm.

        Raises:
            FetchError: if it does not answer.
        """

    def close(self) -> None:
        """Let go of connections."""
