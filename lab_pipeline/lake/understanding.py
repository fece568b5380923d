"""What a file is taken for, before anything of it comes into the lake."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pyarrow as pa

from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake.identities import parse_named
from lab_pipeline.lake.layout import CANDLES, Table
from lab_pipeline.lake.lengths import name_of
from lab_pipeline.lake.parsing import OFFSET, TimeUnit, time_unit, value_at
from lab_pipeline.lake.sources import (
    NO_HINTS,
    ROW,
    ArrowSource,
    ChatSource,
    Hints,
    Source,
    check_readable,
    open_source,
    reading,
    stated_lengths,
)
from lab_pipeline.lake.spacing import Spacing

ROWS_SHOWN = 5
IN_UTC = re.compile(r"(?:Z|UTC|GMT|[+-]00(?::?00)?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Understanding:
    """What a file is taken for.

    Attributes:
        file: which.
        kind: what it is, and what it is packed in.
        columns: by the name of the lake, the column that is taken for it.
        mint: whose all rows are, if no column says.
        ignored: columns that are not used.
        times: how times are written.
        zone: in which zone they are written.
        timeframes: how long the candles are, shortest first; empty for calls.
        decimal: what is before the fraction of a number.
        notes: what was made of the file that its columns do not say.
        warnings: what may not be as it is meant: lengths that are several, or other than was said.
        left_out: messages of a chat that are no calls, by the reason.
        first_rows: the first few as the lake would have them, null where a value cannot be read.
    """

    file: str
    kind: str
    columns: dict[str, str]
    mint: str | None
    ignored: list[str]
    times: str
    zone: str
    timeframes: list[str]
    decimal: str
    notes: list[str]
    warnings: list[str]
    left_out: dict[str, int]
    first_rows: pl.DataFrame

    def lines(self) -> list[str]:
        """Say it, a line for each thing."""
        whose = [f"mint: {self.mint}, of all rows"] if self.mint is not None else []
        lengths = [f"timeframe: {', '.join(self.timeframes)}"] if self.timeframes else []
        decimal = ["decimals: behind a comma"] if self.decimal == "," else []
        return [
            f"{self.file}: {self.kind}",
            *(f"{column}: column {there}" for column, there in self.columns.items()),
            *whose,
            f"times: {self.times}, {self.zone}",
            *lengths,
            *decimal,
            *self.notes,
            *(f"warning: {warning}" for warning in self.warnings),
            *(f"left out: {count:,} {reason}" for reason, count in self.left_out.items()),
            f"ignored columns: {', '.join(self.ignored) or 'none'}",
        ]


def understand(
    files: Sequence[Path], table: Table, timeframe: str | None = None, hints: Hints = NO_HINTS
) -> list[Understanding]:
    """Open files as an ingest would, read the first rows, and change nothing.

    Args:
        files: which.
        table: what their rows are.
        timeframe: length of candles, if that is said.
        hints: what the files do not say.

    Raises:
        LakeError: as an ingest would, of what is wrong with a file as a whole; rows are not held against rules.
    """
    check_readable(files)
    understood = []
    for path in files:
        with TemporaryDirectory(prefix="lab-") as scratch, reading(str(path)):
            source = open_source(path, table, Path(scratch), hints)
            understood.append(_understanding(source, path, table, timeframe))
    return understood


def _understanding(source: Source, path: Path, table: Table, timeframe: str | None) -> Understanding:
    lengths: list[str] = []
    if table is CANDLES:
        lengths = [timeframe] if timeframe is not None else stated_lengths(source, path.name)
    batches = source.batches()
    raw = next(batches, pl.DataFrame())
    if isinstance(source, ChatSource):
        for _ in batches:  # what a chat leaves out is known at its end
            pass
    unit, zone, rows, has_times = None, "no rows", pl.DataFrame(), False
    warnings = _of_lengths(source, timeframe, lengths)
    if raw.height:
        times = raw[table.time]
        unit = time_unit(times)
        has_times = isinstance(times.dtype, pl.Datetime)
        zone = _zone(source, times, table)
        _, parsed = parse_named(raw.drop(ROW), table, unit, None, source.decimal)
        rows = parsed.frame.head(ROWS_SHOWN)
        if len(lengths) == 1 and not warnings:
            warnings = _of_spacing(parsed.frame, lengths[0])
        if isinstance(source, ChatSource):
            rows = rows[[column.name for column in rows if column.null_count() < len(column)]]
    return Understanding(
        source.name,
        source.kind + (f", in {source.packing}" if source.packing else ""),
        source.taken | ({"timeframe": next(iter(source.lengths))} if source.lengths else {}),
        source.mint,
        source.ignored,
        "timestamps" if has_times else str(unit or "none that can be read"),
        zone,
        sorted(lengths, key=timeframe_ms),
        source.decimal,
        source.notes,
        warnings,
        dict(source.left_out),
        rows,
    )


def _of_lengths(source: Source, timeframe: str | None, lengths: Sequence[str]) -> list[str]:
    """Warn of rows that say that they are of several lengths, or of another than was said."""
    said = sorted(source.timeframes(), key=timeframe_ms)
    named = ", ".join(said)
    if timeframe is None:
        return [f"candles of more than one length ({named}): each row goes where it says"] if len(lengths) > 1 else []
    if not said or said == [timeframe]:
        return []
    return [f"it says that its candles are of {named}: all but those of {timeframe} are refused, or --matching-only"]


def _of_spacing(rows: pl.DataFrame, length: str) -> list[str]:
    """Warn of candles that lie as longer ones do, of those of the first rows."""
    spacing, times = Spacing(timeframe_ms(length)), rows["timestamp"].drop_nulls()
    spacing.note(times.to_physical())
    whole = rows.select("mint", "timestamp").drop_nulls().sort("mint", "timestamp")
    spacing.note_mints(spacing.of_mints(whole["mint"], whole["timestamp"]))
    if (found := spacing.seems()) is None:
        return []
    whose, longer = found
    return [f"{whose} seem to be of {name_of(longer)}, not of {length}: they are refused, or --force"]


def _zone(source: Source, times: pl.Series, table: Table) -> str:
    """Tell in which zone times are written."""
    if isinstance(source, ArrowSource) and pa.types.is_timestamp(kind := source.type_of(table.time)):
        return f"zone {kind.tz}" if kind.tz else "no zone, which is UTC"
    if time_unit(times) is not TimeUnit.ISO:
        return "UTC"
    first = (value_at(times, 0) or "").strip()
    if IN_UTC.search(first):
        return "UTC"
    offset = OFFSET.search(first[10:])
    return f"offset {offset[0]}" if offset else "no zone, which is UTC"
