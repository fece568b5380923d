"""Bring candles and calls into the lake: all rows of all files, or none.

Files are read in batches, checked, and spilled by partition to the transaction's own directory; then each partition is
sorted, searched for repeated keys and merged with what the lake already has. Only partitions that change get a new
part. Memory holds one batch or one partition at a time.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from lab_pipeline.domain.identifiers import IDENTIFIER_RULE, is_identifier
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake import commit, inventory
from lab_pipeline.lake.errors import VIOLATIONS_SHOWN, LakeError, LakeUnwritableError
from lab_pipeline.lake.layout import (
    CALLS,
    CANDLES,
    MINT_BUCKETS,
    Table,
    bucket_dir,
    mint_bucket,
    parts,
    timeframe_dir,
    write_part,
)
from lab_pipeline.lake.lengths import matching, name_of, names_of
from lab_pipeline.lake.parsing import TimeUnit, parse, time_column, time_unit
from lab_pipeline.lake.rules import Batch, Finding, Findings, shown
from lab_pipeline.lake.sniffing import listed, plain
from lab_pipeline.lake.sources import ROW, FrameSource, Source, check_readable, open_source, reading
from lab_pipeline.lake.spacing import Spacing
from lab_pipeline.storage.trouble import disk_trouble

CHANGED_KEYS_SHOWN = 5
FILE = "file"
BUCKET = "bucket"
RECEIPTS = "receipts"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Choices:
    """What the person who ingests candles says of them, beside their length.

    Attributes:
        mint: the token of all rows, of files that do not say.
        matching_only: leave out rows that say they are candles of another length, instead of refusing the file.
        force: take candles as what they are said to be though their spacing is that of longer ones.
    """

    mint: str | None = None
    matching_only: bool = False
    force: bool = False


@dataclass
class IngestReport:
    """What an ingest did.

    Attributes:
        files: files (or frames) read.
        rows: rows read from them.
        added: keys that the lake did not have.
        changed: keys whose values were replaced by other ones.
        unchanged: keys that the lake had with the same values.
        mints: different mints among the rows.
        first: earliest time among the rows, or null.
        last: latest time among the rows, or null.
        partitions_written: partitions that got a new part file.
        changed_keys: the first few keys that changed, such as ``{"mint": …, "timestamp": …}``.
        ignored_columns: by file, the columns that are not used.
        left_out: by file, how many rows are left out because they say that they are candles of another length.
        forced: by file, the length that its candles seem to have, where they were taken in spite of that.
        done_before: whether the receipt says that this ingest was done earlier: nothing was read now.
    """

    files: int = 0
    rows: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    mints: int = 0
    first: datetime | None = None
    last: datetime | None = None
    partitions_written: int = 0
    changed_keys: list[dict[str, Any]] = field(default_factory=list)
    ignored_columns: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    forced: dict[str, str] = field(default_factory=dict)
    done_before: bool = False

    def remarks(self) -> list[str]:
        """Say of each file what was not taken of it, and what was taken in spite of how it looks."""
        ignored = [f"{file}: ignored columns: {listed(names)}" for file, names in self.ignored_columns.items()]
        left_out = [f"{file}: {rows:,} rows of other lengths left out" for file, rows in self.left_out.items() if rows]
        forced = [
            f"{file}: taken by force, though its candles seem to be of {seem}" for file, seem in self.forced.items()
        ]
        return ignored + left_out + forced


REPORT = TypeAdapter(IngestReport)


def ingest_files(
    root: Path,
    files: Sequence[Path],
    timeframe: str | None,
    on_progress: Progress | None = None,
    *,
    receipt: str | None = None,
    choices: Choices = Choices(),
) -> IngestReport:
    """Ingest files of candles, or of calls if the timeframe is null; see `Lake.ingest_candles`."""
    check_readable(files)
    table = _table(root, timeframe)
    if choices.mint is not None and not is_identifier(choices.mint):
        raise LakeError(f"the mint '{plain(choices.mint)}' {IDENTIFIER_RULE}")

    def openers(scratch: Path) -> list[Callable[[], Source]]:
        return [partial(open_source, path, table, scratch, choices.mint) for path in files]

    return _ingest(root, table, timeframe, openers, on_progress, receipt=receipt, choices=choices)


def ingest_frame(root: Path, frame: pl.DataFrame, timeframe: str | None) -> IngestReport:
    """Ingest a frame of candles, or of calls if the timeframe is null; see `Lake.write_candles`."""
    table = _table(root, timeframe)
    return _ingest(root, table, timeframe, lambda _: [partial(FrameSource, frame, table)], None)


def receipt_path(root: Path, receipt: str) -> Path:
    """Return where the lake keeps a receipt."""
    return root / RECEIPTS / f"{receipt}.json"


def _table(root: Path, timeframe: str | None) -> Table:
    if timeframe is None:
        return CALLS
    timeframe_dir(root, timeframe)  # refuses what is not a timeframe
    return CANDLES


def _ingest(
    root: Path,
    table: Table,
    timeframe: str | None,
    openers: Callable[[Path], list[Callable[[], Source]]],
    on_progress: Progress | None,
    *,
    receipt: str | None = None,
    choices: Choices = Choices(),
) -> IngestReport:
    kept = None if receipt is None else receipt_path(root, receipt)
    try:
        with commit.writing(root) as transaction:
            if kept is not None and kept.exists():
                return replace(REPORT.validate_json(kept.read_bytes()), done_before=True)
            run = _Ingest(root, transaction, table, timeframe, on_progress, choices=choices)
            return run.carry_out(openers(transaction.directory), kept)
    except OSError as error:
        fate = "the rest follows when the lake is next opened" if commit.pending(root) else "nothing was changed"
        reason = disk_trouble(error, root) or str(error)
        raise LakeUnwritableError(f"cannot write to the lake at {root}: {reason}; {fate}") from error


class _Ingest:
    """One ingest on its way: what was found, and what the report will say."""

    def __init__(
        self,
        root: Path,
        transaction: commit.Transaction,
        table: Table,
        timeframe: str | None,
        on_progress: Progress | None,
        *,
        choices: Choices,
    ) -> None:
        self._root = root
        self._transaction = transaction
        self._table = table
        self._timeframe = timeframe
        self._grid_ms = None if timeframe is None else timeframe_ms(timeframe)
        self._on_progress = on_progress
        self._choices = choices
        self._steps_done = 0
        self._sources: list[Source] = []
        self._spills: dict[int, list[Path]] = {}
        self._findings = Findings(table, timeframe)
        self._said: Counter[str] = Counter()
        self._spacings: list[Spacing] = []
        self._report = IngestReport()

    def carry_out(self, openers: Sequence[Callable[[], Source]], receipt: Path | None) -> IngestReport:
        steps = len(openers) + (1 if self._timeframe is None else MINT_BUCKETS)
        for opener in openers:
            self._read(opener())
            self._step(1, steps)
        for bucket in sorted(self._spills):
            self._merge(bucket)
            self._step(1, steps)
        self._findings.raise_if_any(self._sources, self._lengths_said())
        self._judge_spacing()
        if receipt is not None:
            self._transaction.stage_file(receipt, REPORT.dump_json(self._report))
        self._transaction.commit()
        self._step(steps - self._steps_done, steps)
        return self._report

    def _step(self, done: int, total: int) -> None:
        self._steps_done += done
        if self._on_progress and done:
            self._on_progress(self._steps_done, total)

    def _read(self, source: Source) -> None:
        """Check a source batch by batch and spill its rows by partition."""
        number = len(self._sources)
        self._sources.append(source)
        self._spacings.append(Spacing(None if isinstance(source, FrameSource) else self._grid_ms))
        self._report.files += 1
        if source.ignored:
            self._report.ignored_columns[source.name] = source.ignored
        read = 0
        unit: TimeUnit | None = None
        batches = source.batches()
        while True:
            with reading(source.name):
                raw = next(batches, None)
                if raw is None:
                    break
                read += raw.height
                raw = self._of_this_length(number, raw)
                unit = unit or time_unit(raw[time_column(self._table)])
                parsed = parse(raw, self._table, unit, self._grid_ms)
                self._findings.check(Batch(number, raw, parsed, unit))
            self._note(parsed.frame)
            places = [pl.lit(number, pl.UInt32).alias(FILE), raw[ROW]]
            self._spill(parsed.frame.with_columns(places).drop_nulls(self._table.key))
        if not read and not isinstance(source, FrameSource):
            raise LakeError(f"{source.name} has no rows: {self._table.name} were expected")

    def _of_this_length(self, number: int, raw: pl.DataFrame) -> pl.DataFrame:
        """Hold rows that say how long their candles are to it: the others are left out, or named as wrong."""
        source = self._sources[number]
        for column, cells in source.lengths.items():
            fits = raw[column].is_in(matching(cells, self._grid_ms or 0)).fill_null(value=False)
            wrong, others = raw.filter(~fits), int((~fits).sum())
            if self._choices.matching_only:
                if others:
                    self._report.left_out[source.name] = self._report.left_out.get(source.name, 0) + others
                raw = raw.filter(fits)
                continue
            self._said[str(self._timeframe)] += raw.height - others
            for text, count in wrong[column].value_counts().iter_rows():
                self._said[names_of(cells[text]) or "no length"] += count
            findings = []
            for index in range(min(others, VIOLATIONS_SHOWN)):
                said = names_of(cells[wrong[column][index]])
                found = f"is said to be of {said}" if said else "does not say how long it is"
                rule = f"must be a candle of {self._timeframe}, {found}"
                findings.append(Finding(number, wrong[ROW][index], column, shown(wrong[column], index), rule))
            self._findings.add(others, findings)
        return raw

    def _lengths_said(self) -> str:
        """Count what the files say of the lengths of candles, if that is what is wrong."""
        if set(self._said) <= {self._timeframe}:
            return ""
        counts = ", ".join(f"{count:,} times {length}" for length, count in self._said.most_common() if count)
        return f"the files say {counts}: --matching-only takes the rows of {self._timeframe} alone"

    def _note(self, rows: pl.DataFrame) -> None:
        report, times = self._report, rows[time_column(self._table)].drop_nulls()
        report.rows += rows.height
        if len(times):
            first, last = times.to_frame().select(pl.first().min().alias("min"), pl.first().max().alias("max")).row(0)
            report.first = min(report.first or first, first)
            report.last = max(report.last or last, last)
            self._spacings[-1].note(times.to_physical())

    def _spill(self, rows: pl.DataFrame) -> None:
        for (bucket,), part in rows.with_columns(self._buckets(rows)).partition_by(BUCKET, as_dict=True).items():
            spills = self._spills.setdefault(bucket, [])
            path = self._transaction.directory / f"spill-{bucket:02d}-{len(spills):06d}.arrow"
            part.drop(BUCKET).write_ipc(path)
            spills.append(path)

    def _buckets(self, rows: pl.DataFrame) -> pl.Series:
        if self._timeframe is None:
            return pl.repeat(0, rows.height, dtype=pl.UInt8, eager=True).alias(BUCKET)
        mints = rows["mint"].unique()
        buckets = pl.Series([mint_bucket(mint) for mint in mints], dtype=pl.UInt8)
        return rows["mint"].replace_strict(mints, buckets, return_dtype=pl.UInt8).alias(BUCKET)

    def _merge(self, bucket: int) -> None:
        """Stage the new part of one partition, if its rows change."""
        rows = self._unique(bucket)
        if self._findings.total:
            return
        partition = self._partition(bucket)
        replaced = parts(partition)
        with inventory.explained(self._root):
            old = pl.read_parquet(replaced, glob=False) if replaced else None
        if not self._compare(rows, old):
            return
        if old is not None:
            rows = pl.concat([old.join(rows, on=self._table.key, how="anti"), rows])
        merged = rows.sort(*self._table.order)
        write_part(merged, self._table, self._transaction.stage(partition, replaced))
        self._report.partitions_written += 1

    def _partition(self, bucket: int) -> Path:
        if self._timeframe is None:
            return self._root / CALLS.name
        return bucket_dir(self._root, self._timeframe, bucket)

    def _unique(self, bucket: int) -> pl.DataFrame:
        """Read one partition's spilled rows with each key once; repeated keys that disagree go to the findings."""
        spills = self._spills[bucket]
        rows = pl.concat([pl.scan_ipc(path, glob=False).collect() for path in spills]).sort(*self._table.key, FILE, ROW)
        for path in spills:
            path.unlink()
        if self._grid_ms:
            for (number,), part in rows.partition_by(FILE, as_dict=True).items():
                self._spacings[number].note_mints(part["mint"], part[time_column(self._table)])
        repeats = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in self._table.key)
        if not rows.select(repeats.any()).item():
            return rows.select(self._table.columns.names())
        same_file = pl.col(FILE) == pl.col(FILE).shift()
        same_values = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in self._table.columns)
        rows = rows.with_columns(
            repeats.fill_null(value=False).alias("repeats"),
            same_file.alias("same_file"),
            (same_file | ~same_values).alias("clashes"),
            pl.struct(FILE, ROW).shift().alias("other"),
        )
        self._report_clashes(rows.filter("repeats", "clashes"))
        return rows.filter(~pl.col("repeats")).select(self._table.columns.names())

    def _judge_spacing(self) -> None:
        """Refuse files whose candles lie as longer ones do, or record that they were taken by force."""
        for source, spacing in zip(self._sources, self._spacings, strict=True):
            found = spacing.seems()
            if found is None:
                continue
            whose, length = found
            if not self._choices.force:
                times = length // (self._grid_ms or 1)
                raise LakeError(
                    f"{source.name}: {whose} seem to be of {name_of(length)}, not of {self._timeframe}: every step is "
                    f"a multiple of {name_of(length)}, {times} times the timeframe. Ingest them as what they are, or "
                    f"with --force if they are of {self._timeframe} all the same"
                )
            self._report.forced[source.name] = name_of(length)

    def _report_clashes(self, clashes: pl.DataFrame) -> None:
        column = " and ".join(self._table.key)
        findings = []
        for row in clashes.sort(FILE, ROW).head(VIOLATIONS_SHOWN).iter_rows(named=True):
            rule = "must be unique, also on {other}" + ("" if row["same_file"] else ", with other values")
            value = ", ".join(_shown(row[name]) for name in self._table.key)
            findings.append(Finding(row[FILE], row[ROW], column, value, rule, tuple(row["other"].values())))
        self._findings.add(clashes.height, findings)

    def _compare(self, rows: pl.DataFrame, old: pl.DataFrame | None) -> bool:
        """Count what is new, changed and unchanged; tell whether anything has to be written."""
        report = self._report
        report.mints += rows["mint"].n_unique()
        if old is None:
            report.added += rows.height
            return True
        key = list(self._table.key)
        values = [name for name in self._table.columns if name not in key]
        joined = rows.join(old.with_columns(known=True), on=key, how="left", suffix="_old", maintain_order="left")
        differs = pl.any_horizontal(pl.col(name) != pl.col(f"{name}_old") for name in values)
        changed = joined.filter(differs & pl.col("known")).select(key)
        added = joined["known"].null_count()
        report.added += added
        report.changed += changed.height
        report.unchanged += rows.height - added - changed.height
        report.changed_keys.extend(changed.head(CHANGED_KEYS_SHOWN - len(report.changed_keys)).to_dicts())
        return bool(added or changed.height)


def _shown(value: object) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else plain(value)
