"""Which candles the calls of a lab need, for the strategies that are active in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from lab_pipeline.domain.strategy import StrategyConfig, minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine.history import look_back_ms
from lab_pipeline.fetch.fetching import Token
from lab_pipeline.fetch.windows import Span, needed

DEFAULT_CHAIN = "solana"
HEXADECIMAL = "0x"
"""How addresses begin on the many chains whose tokens look alike."""


@dataclass
class Wanted:
    """What calls need.

    Attributes:
        tokens: with the time that candles are needed for.
        no_chain: tokens that could be on several chains, and no call says which.
    """

    tokens: list[Token] = field(default_factory=list)
    no_chain: list[str] = field(default_factory=list)


def reach_ms(strategies: Sequence[StrategyConfig], timeframe: str) -> tuple[int, int]:
    """Return how long before and after a call candles are needed, at most, in milliseconds."""
    length = timeframe_ms(timeframe)
    before = max(look_back_ms(config, length) for config in strategies)
    return before, max(minutes_to_ms(config.horizon_minutes) for config in strategies)


def wanted(
    calls: pl.DataFrame, reach: tuple[int, int], timeframe: str, until_ms: int, *, by_chain: bool, chain: str | None
) -> Wanted:
    """Find what calls need.

    Args:
        calls: as `Lake.calls` returns them.
        reach: how long before and after a call, in milliseconds.
        timeframe: length of the candles.
        until_ms: before which candles must have closed.
        by_chain: whether the source asks for a token's chain.
        chain: of tokens whose calls do not say it.
    """
    spans = needed(calls, *reach, timeframe_ms(timeframe), until_ms)
    first = dict(calls.group_by("mint").agg(pl.col("called_at").min().to_physical()).iter_rows())
    said: dict[str, str] = {}
    if "chain" in calls.columns:
        known = calls.drop_nulls("chain").sort("called_at")
        said = dict(known.unique("mint", keep="first", maintain_order=True).select("mint", "chain").iter_rows())
    found = Wanted()
    for mint, its in spans.items():
        on = ""
        if by_chain:
            on = said.get(mint) or chain or ("" if mint.startswith(HEXADECIMAL) else DEFAULT_CHAIN)
            if not on:
                found.no_chain.append(mint)
                continue
        found.tokens.append(Token(mint, on.lower(), first[mint], tuple(its)))
    return found


def within(tokens: Sequence[Token], span: Span) -> list[Token]:
    """Return what is needed of a span of time; tokens of which nothing is are left out."""
    start, end = span
    found = []
    for token in tokens:
        spans = tuple((max(one, start), min(other, end)) for one, other in token.spans if one < end and other > start)
        if spans:
            found.append(replace(token, spans=spans))
    return found
