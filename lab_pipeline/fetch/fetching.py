"""Fetch what calls need and the lake lacks: plan it, say what it takes, do it, remember it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.fetch import rows
from lab_pipeline.fetch.ledger import Asked, Ledger
from lab_pipeline.fetch.source import CandleSource, Request
from lab_pipeline.fetch.windows import Span, grouped, without
from lab_pipeline.lake import Lake

if TYPE_CHECKING:
    from lab_pipeline.lake.ingest import IngestReport

SETTLED_MS = 86_400_000
"""A source may restate what it has had for less than that."""
READ_AGAIN = 2
"""Windows of a token, its latest, that are asked for again until they have settled."""
COMMIT_ROWS = 50_000
COMMIT_SECONDS = 20.0
"""After so many candles, or so long, what was fetched goes into the lake: a kill loses no more than that."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Token:
    """What is wanted of one token.

    Attributes:
        mint: the token.
        chain: that it is on; empty where the source does not ask.
        called_at: of its first call, milliseconds since the epoch.
        spans: when candles are needed, on their grid.
    """

    mint: str
    chain: str
    called_at: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Plan:
    """What a fetch will ask for.

    Attributes:
        requests: one after another.
        estimate: how often the source will be asked, as far as can be known.
        seconds: that its limit stretches them over.
        cost: in whatever the price is in; null if that is not known.
        read_again: windows among them that were fetched before and may have been restated.
        candles: that there can be at most.
    """

    requests: list[Request]
    estimate: int
    seconds: float
    cost: float | None
    read_again: int
    candles: int


@dataclass
class Fetched:
    """What a fetch did.

    Attributes:
        windows: asked for.
        empty: windows in which the source had nothing.
        candles: that came, of those asked for.
        excluded: that came and break the lake's rules; they were left out.
        report: what the lake made of them; null if none came.
    """

    windows: int = 0
    empty: int = 0
    candles: int = 0
    excluded: int = 0
    report: "IngestReport | None" = None


@dataclass
class _Waiting:
    """What was fetched and is not in the lake yet."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    asked: list[tuple[str, str, Asked]] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Fetcher:
    """Brings candles of a source into a lake.

    Attributes:
        source: that is asked.
        lake: that the candles go to.
        ledger: that remembers what was asked.
        timeframe: length of the candles.
        clock: seconds since the epoch.
    """

    source: CandleSource
    lake: Lake
    ledger: Ledger
    timeframe: str
    clock: Callable[[], float] = time.time

    def plan(self, tokens: Sequence[Token]) -> Plan:
        """Compare what is needed with what the lake has and what the source was asked before.

        Raises:
            FetchError: if the source has no candles of that length.
        """
        most, length = self.source.most_ms(self.timeframe), timeframe_ms(self.timeframe)
        most = max(most // length * length, length)
        asked = self.ledger.asked(self.source.name, self.timeframe)
        has = self._has(tokens)
        requests, again = [], 0
        for token in sorted(tokens, key=lambda token: token.mint):
            mine, there = asked.get((token.chain, token.mint), []), has.get(token.mint, [])
            young = [one for one in mine[-READ_AGAIN:] if not self._had_settled(one)]
            known = [
                one.span for one in mine if one not in young and (one.asked_and_empty or _overlap(one.span, there))
            ]
            covered = without([*known, *there], [one.span for one in young])
            lacking = without(token.spans, covered)
            again += sum(1 for one in young if _overlap(one.span, lacking))
            requests += [Request(token.mint, token.chain, token.called_at, spans) for spans in grouped(lacking, most)]
        estimate = self.source.estimate(requests, self.timeframe)
        per_minute, price = self.source.per_minute, self.source.cost_per_1000
        return Plan(
            requests=requests,
            estimate=estimate,
            seconds=0.0 if per_minute is None else 60.0 * estimate / per_minute,
            cost=None if price is None else price * estimate / 1000,
            read_again=again,
            candles=sum((end - start) // length for one in requests for start, end in one.spans),
        )

    def until_ms(self) -> int:
        """Return until when the source can have candles that are closed."""
        return self.source.until_ms(int(self.clock() * 1000))

    def carry_out(self, plan: Plan, on_progress: Progress | None = None) -> Fetched:
        """Ask for everything in a plan. What was fetched before an error is kept.

        Raises:
            FetchError: if the source does not answer.
        """
        done, waiting = Fetched(), _Waiting()
        try:
            for number, request in enumerate(plan.requests):
                self._take(request, done, waiting)
                if on_progress is not None:
                    on_progress(number + 1, len(plan.requests))
                if sum(map(len, waiting.frames)) >= COMMIT_ROWS or time.monotonic() - waiting.since >= COMMIT_SECONDS:
                    self._commit(waiting, done)
                    waiting = _Waiting()
        finally:
            self._commit(waiting, done)
        return done

    def _had_settled(self, window: Asked) -> bool:
        """Return whether a window was asked for when the source had had it for long enough."""
        return self.source.until_ms(window.asked_at) >= window.fetched_through + SETTLED_MS

    def _take(self, request: Request, done: Fetched, waiting: _Waiting) -> None:
        length, asked_at = timeframe_ms(self.timeframe), int(self.clock() * 1000)
        found = self.source.candles(request, self.timeframe)
        at = pl.col("timestamp")
        kept, excluded = rows.kept(
            found.filter(at.is_null() | at.is_between(request.start, request.end, closed="left")), length
        )
        done.excluded += excluded
        closed = min(asked_at, self.source.until_ms(asked_at)) - length
        for start, end in request.spans:
            some = kept.filter(at.is_between(start, min(end - length, closed)))
            done.windows += 1
            done.candles += some.height
            done.empty += some.is_empty()
            if some.height:
                waiting.frames.append(
                    some.select(
                        pl.lit(request.mint).alias("mint"),
                        at.cast(frames.TIMESTAMP),
                        *rows.VALUES,
                    )
                )
            waiting.asked.append((request.chain, request.mint, Asked(start, end, some.is_empty(), asked_at)))

    def _commit(self, waiting: _Waiting, done: Fetched) -> None:
        """Put candles into the lake, then remember that they were asked for: never the other way round."""
        if waiting.frames:
            report = self.lake.write_candles(pl.concat(waiting.frames), self.timeframe)
            done.report = report if done.report is None else _together(done.report, report)
        if waiting.asked:
            self.ledger.record(self.source.name, self.timeframe, waiting.asked)

    def _has(self, tokens: Sequence[Token]) -> Mapping[str, list[Span]]:
        """Return by mint the time that candles of the lake cover."""
        if not tokens:
            return {}
        length = timeframe_ms(self.timeframe)
        start = min(token.spans[0][0] for token in tokens)
        end = max(token.spans[-1][1] for token in tokens)
        found: dict[str, list[Span]] = {}
        with self.lake.slice(self.timeframe, [token.mint for token in tokens], start, end) as candles:
            for shard in candles:
                for number, mint in enumerate(shard.mints):
                    times = shard.timestamp[shard.offsets[number] : shard.offsets[number + 1]]
                    ends = np.flatnonzero(np.diff(times) > length)  # of runs of candles, but for the last
                    starts = times[np.concatenate([[0], ends + 1])].tolist()
                    lasts = times[np.concatenate([ends, [len(times) - 1]])].tolist()
                    found[mint] = [(start, last + length) for start, last in zip(starts, lasts, strict=True)]
        return found


def _overlap(span: Span, others: Sequence[Span]) -> bool:
    return any(start < span[1] and end > span[0] for start, end in others)


def _together(one: "IngestReport", other: "IngestReport") -> "IngestReport":
    """Add up what two commits of a fetch did; a token that is in both counts as often."""
    counts = ("files", "rows", "added", "changed", "unchanged", "mints", "partitions_written")
    return replace(
        one,
        **{name: getattr(one, name) + getattr(other, name) for name in counts},
        first=min(filter(None, (one.first, other.first)), default=None),
        last=max(filter(None, (one.last, other.last)), default=None),
        changed_keys=one.changed_keys or other.changed_keys,
    )
