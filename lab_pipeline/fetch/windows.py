"""Spans of time that candles are needed for, as (start, end): milliseconds since the epoch, the end exclusive."""

from collections.abc import Iterable, Sequence

import polars as pl

Span = tuple[int, int]


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return the same time in ascending spans that neither touch nor overlap; empty ones are left out.

    >>> merged([(5, 9), (0, 2), (2, 4), (6, 7), (8, 8)])
    [(0, 4), (5, 9)]
    """
    found: list[Span] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def without(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return what of some spans lies in none of the others.

    >>> without([(0, 10)], [(2, 3), (8, 12)])
    [(0, 2), (3, 8)]
    """
    left, taken, first = [], merged(others), 0
    for start, end in merged(spans):
        begin = start
        while first < len(taken) and taken[first][1] <= begin:
            first += 1
        place = first
        while place < len(taken) and taken[place][0] < end:
            if taken[place][0] > begin:
                left.append((begin, taken[place][0]))
            begin = max(begin, taken[place][1])
            place += 1
        if begin < end:
            left.append((begin, end))
    return left


def needed(calls: pl.DataFrame, before_ms: int, after_ms: int, length_ms: int, until_ms: int) -> dict[str, list[Span]]:
    """Return by mint the candles that its calls need: whole ones, on the grid.

    Args:
        calls: `mint` and `called_at`.
        before_ms: how long before a call they begin.
        after_ms: how long after a call they end.
        length_ms: of a candle.
        until_ms: before which candles must have closed.
    """
    last = until_ms // length_ms * length_ms
    spans: dict[str, list[Span]] = {}
    for mint, called_at in zip(calls["mint"], calls["called_at"].to_physical(), strict=True):
        start = (called_at - before_ms) // length_ms * length_ms
        end = -(-(called_at + after_ms) // length_ms) * length_ms
        spans.setdefault(mint, []).append((max(start, 0), min(end, last)))
    return {mint: found for mint in sorted(spans) if (found := merged(spans[mint]))}


def grouped(spans: Sequence[Span], most_ms: int) -> list[tuple[Span, ...]]:
    """Group spans that one request can bring: from the first start to the last end no more than `most_ms`.

    >>> grouped([(0, 2), (4, 5), (9, 25)], 10)
    [((0, 2), (4, 5)), ((9, 19),), ((19, 25),)]
    """
    groups: list[list[Span]] = []
    for start, end in merged(spans):
        for begin in range(start, end, most_ms):
            piece = begin, min(begin + most_ms, end)
            if groups and piece[1] - groups[-1][0][0] <= most_ms:
                groups[-1].append(piece)
            else:
                groups.append([piece])
    return [tuple(group) for group in groups]
