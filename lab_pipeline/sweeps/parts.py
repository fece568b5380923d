"""A sweep in parts, each the calls on some of the tokens, which may be swept side by side: the result is the same."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from lab_pipeline.lake import CandleSlice, SlicePiece, snapshot_hash
from lab_pipeline.runs.backtest import digest_of
from lab_pipeline.runs.progress import Progress
from lab_pipeline.sweeps.running import CallsDone, OnBest, ResolvedSweep, feed, make_sweeper

if TYPE_CHECKING:
    from lab_pipeline.engine.sweep import PartialSweep, Sweep


@dataclass(frozen=True)
class SweptPart:
    """What came of one part of a sweep.

    Attributes:
        sweep: of the calls on the part's tokens.
        digests: of the candles read, by mint bucket.
        finer: digests of the finer candles that were looked into, by mint bucket.
    """

    sweep: "PartialSweep"
    digests: list[tuple[int, bytes]]
    finer: list[tuple[int, bytes]]


def cut(resolved: ResolvedSweep, candles: CandleSlice, calls_per_part: int) -> list[SlicePiece]:
    """Cut what `plan` held into pieces of whole mint buckets, of about so many calls each."""
    parts = -(-resolved.calls.height // calls_per_part)
    return candles.pieces(max(1, candles.rows_planned // parts))


def evaluate_part(
    resolved: ResolvedSweep,
    piece: SlicePiece,
    *,
    threads: int | None = None,
    on_progress: Progress | None = None,
    on_best: OnBest | None = None,
) -> SweptPart:
    """Evaluate every set on the calls on the tokens of one piece; arguments as of `evaluate`."""
    candles = CandleSlice.of(piece)
    mints = [mint for file in piece.files for mint in file.mints]
    calls = resolved.calls.filter(pl.col("mint").is_in(mints)).height
    told = CallsDone(len(resolved.sets), calls, on_progress)
    sweeper = make_sweeper(resolved, resolved.calls, candles, threads, on_pairs=told.add_pairs)
    feed(resolved, sweeper, candles, told, on_best)
    return SweptPart(sweeper.part(), candles.digests, candles.finer.digests)


def merge_parts(resolved: ResolvedSweep, parts: Iterable[SweptPart]) -> "tuple[Sweep, str]":
    """Put all parts together, in any order; the result is that of `evaluate`, bit for bit."""
    sweeper = make_sweeper(resolved, resolved.calls)
    digests, finer = list[tuple[int, bytes]](), list[tuple[int, bytes]]()
    for part in parts:
        sweeper.add_part(part.sweep)
        digests += part.digests
        finer += part.finer
    return sweeper.finish(), snapshot_hash(resolved.calls, digest_of(sorted(digests), sorted(finer)))
