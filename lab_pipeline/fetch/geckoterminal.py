"""GeckoTerminal, and the same data behind CoinGecko's key: candles of a pool in USD, newest first.

A token's candles come from one pool: that which traded most in the day before the token's first call, among those that
were there by then. Neither source tells what a pool held at some time in the past; today's liquidity would choose the
pools of those tokens that did well since.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote

import polars as pl

from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.fetch import rows
from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.fetch.ledger import Ledger, Pool
from lab_pipeline.fetch.source import Request
from lab_pipeline.fetch.web import Web

PAGE = 1000
"""Candles that one answer can have."""
DAY_MS = 86_400_000
MOST_MS = 180 * DAY_MS
"""An answer reaches back no further than six months."""
NETWORKS = {"ethereum": "eth", "polygon": "polygon_pos", "avalanche": "avax", "fantom": "ftm"}
"""Chains that the source calls otherwise than people do."""
AGGREGATES = {
    "1m": ("minute", "1"), "5m": ("minute", "5"), "15m": ("minute", "15"),
    "1h": ("hour", "1"), "4h": ("hour", "4"), "12h": ("hour", "12"), "1d": ("day", "1"),
}  # fmt: skip
SECONDS = {"1s": ("second", "1"), "15s": ("second", "15"), "30s": ("second", "30")}
"""What CoinGecko alone has."""


class Api(Protocol):
    """Who answers: bytes as they came, null for what is not known there."""

    def pools(self, network: str, token: str) -> bytes | None:
        """Describe the pools of a token."""

    def candles(self, network: str, pool: str, unit: str, parameters: Mapping[str, str]) -> bytes | None:
        """Return candles of a pool."""

    def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True)
class Public:
    """The public service."""

    web: Web

    def pools(self, network: str, token: str) -> bytes | None:
        """Describe the pools of a token."""
        return self.web.get(f"/networks/{quote(network, safe='')}/tokens/{quote(token, safe='')}/pools")

    def candles(self, network: str, pool: str, unit: str, parameters: Mapping[str, str]) -> bytes | None:
        """Return candles of a pool."""
        path = f"/networks/{quote(network, safe='')}/pools/{quote(pool, safe='')}/ohlcv/{unit}"
        return self.web.get(path, parameters)

    def close(self) -> None:
        """Let go of connections."""
        self.web.close()


@dataclass(frozen=True)
class GeckoTerminal:
    """The public service, or CoinGecko's.

    Attributes:
        api: who is asked.
        ledger: that remembers which pools were chosen.
        page: candles that are asked for at once.
    """

    name: str
    per_minute: int | None
    cost_per_1000: float | None
    api: Api
    ledger: Ledger
    has_seconds: bool = False
    page: int = PAGE
    by_chain: bool = True
    _unknown: set[tuple[str, str]] = field(default_factory=set)

    def most_ms(self, timeframe: str) -> int:
        """Return how much time one request can bring, in milliseconds."""
        self._aggregate(timeframe)
        return min(self.page * timeframe_ms(timeframe), MOST_MS)

    def until_ms(self, now_ms: int) -> int:
        """Return until when it can have candles that are closed."""
        return now_ms

    def estimate(self, requests: list[Request], timeframe: str) -> int:  # noqa: ARG002 - alike for all
        """Guess how often it will be asked: for each window, and for the pools of tokens that are new."""
        tokens = {(request.chain, request.mint) for request in requests}
        return len(requests) + sum(self.ledger.pools(self.name, *token) is None for token in tokens)

    def candles(self, request: Request, timeframe: str) -> pl.DataFrame:
        """Return the candles from the pool that was chosen for the token."""
        token = request.chain, request.mint
        pools = [] if token in self._unknown else self.ledger.pools(self.name, *token)
        if pools is None:
            pools = self._decide(request)
            if pools:
                self.ledger.record_pools(self.name, *token, pools)
            else:
                self._unknown.add(token)
        chosen = next((pool.pool for pool in pools if pool.chosen), None)
        if chosen is None:
            return rows.candles([])
        aggregate = self._aggregate(timeframe)
        return rows.in_tokens(
            rows.candles(self._pages(request, chosen, aggregate, start=request.start, end=request.end))
        )

    def close(self) -> None:
        """Let go of connections."""
        self.api.close()

    def _aggregate(self, timeframe: str) -> tuple[str, str]:
        known = AGGREGATES | (SECONDS if self.has_seconds else {})
        if timeframe not in known:
            raise FetchError(f"{self.name} has no candles of {timeframe}: it has {', '.join(known)}")
        return known[timeframe]

    def _pages(
        self, request: Request, pool: str, aggregate: tuple[str, str], *, start: int, end: int, limit: int | None = None
    ) -> list[Any]:
        """Ask for one page after another, back in time, until one begins before the start or brings nothing older."""
        found: list[Any] = []
        unit, number = aggregate
        before = end
        while before > start:
            parameters = {
                "aggregate": number,
                "before_timestamp": str(-(-before // 1000)),
                "limit": str(limit or self.page),
                "currency": "usd",
                "token": request.mint,
                "include_empty_intervals": "false",
            }
            content = self.api.candles(_network(request.chain), pool, unit, parameters)
            page = self._read(content, "candles", lambda said: said["data"]["attributes"]["ohlcv_list"])
            found += page or []
            times = [time for row in page or [] if (time := rows.milliseconds(row[0])) is not None]
            if not times or min(times) >= before:
                break
            before = min(times)
        return found

    def _decide(self, request: Request) -> list[Pool]:
        """Choose among the pools of a token by what was known at the call, and say why."""
        content = self.api.pools(_network(request.chain), request.mint)
        described = self._read(content, "pools", lambda said: [_pool(one, request.called_at) for one in said["data"]])
        pools = sorted(described or [], key=lambda pool: pool.pool)
        there = [pool for pool in pools if pool.created_at is None or pool.created_at <= request.called_at]
        if not there:
            if not pools:
                return []
            first = min(pools, key=lambda pool: (pool.created_at or 0, pool.pool))
            return _chosen(pools, first, "no pool was there at the call: the first after it", "came later")
        if len(there) == 1:
            return _chosen(pools, there[0], "the only pool at the call", "came after the call")
        traded = {pool.pool: self._traded(request, pool.pool) for pool in there}
        pools = [replace(pool, volume_usd=traded.get(pool.pool)) for pool in pools]
        most = max((pool for pool in pools if pool.pool in traded), key=lambda pool: (pool.volume_usd or 0, pool.pool))
        return _chosen(pools, most, "traded most in the day before the call", "traded less then, or came later")

    def _traded(self, request: Request, pool: str) -> float:
        """Return what a pool traded in the 24 hours before the call's, in USD."""
        end = request.called_at // 3_600_000 * 3_600_000
        found = rows.candles(self._pages(request, pool, ("hour", "1"), start=end - DAY_MS, end=end, limit=24))
        day = rows.kept(found, 3_600_000)[0].filter(pl.col("timestamp").is_between(end - DAY_MS, end, closed="left"))
        return float(day["volume"].sum())

    def _read(self, content: bytes | None, what: str, take: Callable[[Any], list[Any]]) -> list[Any] | None:
        if content is None:
            return None
        try:
            return take(rows.document(self.name, content))
        except (KeyError, TypeError, ValueError) as error:
            raise FetchError(f"{self.name} answers otherwise than it is known to for {what}: {error!r}") from None


def _network(chain: str) -> str:
    return NETWORKS.get(chain, chain)


def _pool(described: dict[str, Any], called_at: int) -> Pool:
    said = described["attributes"]
    made = said.get("pool_created_at")
    dex = ((described.get("relationships") or {}).get("dex") or {}).get("data") or {}
    return Pool(
        pool=said["address"],
        dex=dex.get("id"),
        created_at=None if not made else int(datetime.fromisoformat(made).timestamp() * 1000),
        liquidity_usd=rows.number(said.get("reserve_in_usd")),
        volume_usd=None,
        decided_for=called_at,
        chosen=False,
        reason="",
    )


def _chosen(pools: list[Pool], which: Pool, why: str, why_not: str) -> list[Pool]:
    return [
        replace(pool, chosen=pool.pool == which.pool, reason=why if pool.pool == which.pool else why_not)
        for pool in pools
    ]
