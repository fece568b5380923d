"""Bring candles and calls into the lake: all rows of all files, or none.

Files are read in batches, checked, and spilled by partition to the transaction's own directory; then each partition is
sorted, searched for repeated keys and merged with what the lake already has. Only partitions that change get a new
part. Memory holds two batches or `WORKERS` partitions at a time.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import TypeAdapter

from lab_pipeline.domain.candles import RULES, CandleColumns, prices_hold
from lab_pipeline.domain.identifiers import IDENTIFIER_RULE, is_identifier
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.lake import commit, restated, tables
from lab_pipeline.lake.damage import damaged_rows, explained
from lab_pipeline.lake.errors import VIOLATIONS_SHOWN, LakeError, LakeUnwritableError
from lab_pipeline.lake.identities import RECORDED, parse_named
from lab_pipeline.lake.layout import (
    CALLS,
    CANDLES,
    MINT_BUCKETS,
    Note,
    Table,
    mint_bucket,
    read_part,
    require_timeframe,
    write_part,
)
from lab_pipeline.lake.lengths import matching, name_of, names_of
from lab_pipeline.lake.parsing import TimeUnit, time_unit
from lab_pipeline.lake.rules import Batch, Findings, RowProblem, shown
from lab_pipeline.lake.snapshot import bucket_digest, liquidity_digest
from lab_pipeline.lake.sniffing import listed, plain
from lab_pipeline.lake.sources import (
    NO_HINTS,
    ROW,
    FrameSource,
    Hints,
    Source,
    check_readable,
    open_source,
    reading,
    stated_lengths,
)
from lab_pipeline.lake.spacing import MintLabels, Spacing
from lab_pipeline.lake.spill import FILE, Spill
from lab_pipeline.lake.store import Store
from lab_pipeline.lake.tables import DataFile, Overtaken

CHANGED_KEYS_SHOWN = 5
OLD = "_old"
ORDER = "order"
TRIES = 20
"""Of an ingest that other writers overtake."""
FILES_NAMED = 3
SPILL_ROWS = 1 << 18
"""Rows that are put aside at once, so that what a partition has of them is worth a batch of its own."""
WORKERS = min(4, os.cpu_count() or 1)
"""Partitions merged and written at once."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Choices:
    """What the person who ingests candles says of them, beside their length.

    Attributes:
        hints: what files do not say.
        matching_only: leave out rows that say they are candles of another length, instead of refusing the file.
        force: take candles as what they are said to be though their spacing is that of longer ones.
    """

    hints: Hints = NO_HINTS
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
        no_calls: by file, how many rows or messages are no calls, by the reason.
        repeated: rows that say once more what another of the same file says, or what it said before.
        shorts: calls to sell, which are kept and not simulated.
        done_before: whether the receipt says that this ingest was done earlier: nothing was read now.
        notes: by file, what was made of it that its columns do not say.
        by_timeframe: rows by the length of their candles, where the files said it.
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
    no_calls: dict[str, dict[str, int]] = field(default_factory=dict)
    repeated: int = 0
    shorts: int = 0
    done_before: bool = False
    notes: dict[str, list[str]] = field(default_factory=dict)
    by_timeframe: dict[str, int] = field(default_factory=dict)

    def remarks(self) -> list[str]:
        """Say of each file what was not taken of it, and what was taken in spite of how it looks."""
        ignored = [f"{file}: ignored columns: {listed(names)}" for file, names in self.ignored_columns.items()]
        left_out = [f"{file}: {rows:,} rows of other lengths left out" for file, rows in self.left_out.items() if rows]
        forced = [
            f"{file}: taken by force, though its candles seem to be of {seem}" for file, seem in self.forced.items()
        ]
        notes = [f"{file}: {note}" for file, said in self.notes.items() for note in said]
        no_calls = [
            f"{file}: {sum(counts.values()):,} left out: "
            + ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
            for file, counts in self.no_calls.items()
        ]
        repeated = [f"{self.repeated:,} rows repeat a call: taken once"] if self.repeated else []
        shorts = [f"{self.shorts:,} calls are short: kept, and not simulated"] if self.shorts else []
        lengths = [", ".join(f"{rows:,} candles of {length}" for length, rows in self.by_timeframe.items())]
        return notes + ignored + left_out + forced + no_calls + repeated + shorts + lengths * bool(self.by_timeframe)


REPORT = TypeAdapter(IngestReport)


def ingest_files(
    store: Store,
    files: Sequence[Path],
    timeframe: str | None,
    on_progress: Progress | None = None,
    *,
    receipt: str | None = None,
    choices: Choices = Choices(),
) -> IngestReport:
    """Ingest files of candles, or of calls if the timeframe is null; see `Lake.ingest_candles`."""
    check_readable(files)
    check_hints(choices.hints)
    return _ingest(store, [_load(files, timeframe, choices)], on_progress, receipt=receipt)


def ingest_as_stated(
    store: Store,
    files: Sequence[Path],
    on_progress: Progress | None = None,
    *,
    receipt: str | None = None,
    choices: Choices = Choices(),
) -> IngestReport:
    """Ingest files of candles, each row as long as its file says it is; see `Lake.ingest_candles`."""
    check_readable(files)
    check_hints(choices.hints)
    by_length: dict[str, list[Path]] = {}
    split: set[Path] = set()
    for path in files:
        with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
            lengths = stated_lengths(open_source(path, CANDLES, Path(scratch), choices.hints), path.name)
        for length in lengths:
            by_length.setdefault(length, []).append(path)
        if len(lengths) > 1:
            split.add(path)
    loads = []
    for length in sorted(by_length, key=timeframe_ms):
        paths = by_length[length]
        chosen = replace(choices, matching_only=choices.matching_only or not split.isdisjoint(paths))
        loads.append(_load(paths, length, chosen))
    return _ingest(store, loads, on_progress, receipt=receipt)


def check_hints(hints: Hints) -> None:
    """Refuse what no file can be.

    Raises:
        LakeError: naming the option.
    """
    if hints.mint is not None and not is_identifier(hints.mint):
        raise LakeError(f"the mint '{plain(hints.mint)}' {IDENTIFIER_RULE}")
    if hints.mint is not None and hints.mint_from_name:
        raise LakeError("the mint is given and is to be taken from the name: say one of the two")
    if hints.chats is not None and hints.chats.caller is not None and not is_identifier(hints.chats.caller):
        raise LakeError(f"the caller '{plain(hints.chats.caller)}' {IDENTIFIER_RULE}")
    if hints.decimal not in {None, ".", ","}:
        raise LakeError(f"--decimal '{plain(hints.decimal)}' is neither a comma nor a point")


@dataclass(frozen=True)
class _Load:
    """Files or a frame, of one table and one length.

    Attributes:
        table: what the rows are.
        timeframe: length of the candles; null for calls.
        openers: given a scratch directory, functions that each open a source.
        choices: what was said of them.
    """

    table: Table
    timeframe: str | None
    openers: Callable[[Path], list[Callable[[], Source]]]
    choices: Choices = Choices()


def _load(files: Sequence[Path], timeframe: str | None, choices: Choices) -> _Load:
    table = _table(timeframe)

    def openers(scratch: Path) -> list[Callable[[], Source]]:
        return [partial(open_source, path, table, scratch, choices.hints) for path in files]

    return _Load(table, timeframe, openers, choices)


def ingest_frame(
    store: Store, frame: pl.DataFrame, timeframe: str | None, hints: Hints = NO_HINTS, name: str = "frame"
) -> IngestReport:
    """Ingest a frame of candles, or of calls if the timeframe is null; see `Lake.write_candles`."""
    table = _table(timeframe)
    return _ingest(store, [_Load(table, timeframe, lambda _: [partial(FrameSource, frame, table, hints, name)])], None)


@dataclass(frozen=True)
class _Receipt:
    """What the lake remembers of an ingest.

    Attributes:
        report: what was reported.
        table: that it changed; likewise the following, empty if it changed nothing.
        version: that it made.
        writer: by which the version is known.
    """

    report: IngestReport
    table: str = ""
    version: int = 0
    writer: str = ""


RECEIPT = TypeAdapter(_Receipt)


def receipt_name(receipt: str) -> str:
    """Return under which name the lake keeps a receipt."""
    return f"{commit.RECEIPTS}/{receipt}.json"


def _done_before(store: Store, receipt: str) -> IngestReport | None:
    """Return what was reported of an ingest; null of one that was not, or was killed before its commit."""
    content = store.read(receipt_name(receipt))
    if content is None:
        return None
    kept = RECEIPT.validate_json(content)
    by_name = {table.name: table for table in tables.TABLES}
    if kept.writer and not tables.is_committed(store, by_name[kept.table], kept.version, kept.writer):
        return None
    return replace(kept.report, done_before=True)


def _table(timeframe: str | None) -> Table:
    if timeframe is None:
        return CALLS
    require_timeframe(timeframe)
    return CANDLES


def _ingest(
    store: Store, loads: Sequence[_Load], on_progress: Progress | None, *, receipt: str | None = None
) -> IngestReport:
    """Bring loads in, all of them in one commit; anew if another writer committed meanwhile."""
    try:
        for _ in range(TRIES):
            with suppress(Overtaken), commit.writing(store) as transaction:
                return _ingest_once(store, transaction, loads, on_progress, receipt)
    except OSError as error:
        reason = disk_error(error, Path(store.root)) or str(error)
        raise LakeUnwritableError(f"cannot write to the lake at {store.root}: {reason}; nothing was changed") from error
    raise LakeUnwritableError(
        f"the lake at {store.root} is changed by others all the time: {TRIES} tries to commit came too late, and "
        "nothing was changed; try again"
    )


def _ingest_once(
    store: Store,
    transaction: commit.Transaction,
    loads: Sequence[_Load],
    on_progress: Progress | None,
    receipt: str | None,
) -> IngestReport:
    if receipt is not None and (done := _done_before(store, receipt)) is not None:
        return done
    runs = [_Ingest(store, transaction, load, on_progress) for load in loads]
    for run in runs:
        run.stage()
    report = runs[0].report if len(runs) == 1 else _together(runs)
    table = loads[0].table
    version = transaction.base(table).version + 1
    if changed := [rows for run in runs for rows in run.restated]:
        restated.record(store, version, transaction.id, changed)
    if receipt is not None:  # it counts once there is the version that it names
        kept = _Receipt(report, table.name, version, transaction.id) if report.partitions_written else _Receipt(report)
        store.write(receipt_name(receipt), RECEIPT.dump_json(kept))
    names = sorted({Path(name).name for run in runs for name in run.files})
    others = len(names) - FILES_NAMED
    shown = ", ".join(names[:FILES_NAMED]) + (f" and {others} more" if others > 0 else "")
    note = {"what": f"ingest {shown}", "added": report.added, "changed": report.changed}
    transaction.commit(table, note)
    for run in runs:
        run.finish()
    return report


@dataclass
class _Merged:
    """What came of the rows of one partition.

    Attributes:
        spacing: by file, where its labels lie.
        repeated: rows of a file that say no more than another.
        clashes: rows that repeat the key of another, with `FILE`, `ROW`, `same_file` and `other`.
        mints: different mints among the rows.
        added: keys that the lake did not have; likewise `changed` and `unchanged`.
        changed_keys: the first few that changed.
        restated: candles among those, as `restated.RUNS`; null if there are none.
        replaced: files that the new one replaces.
        staged: the new file, if anything changes.
        statistics: of its rows.
    """

    spacing: dict[int, MintLabels] = field(default_factory=dict)
    clashes: pl.DataFrame | None = None
    repeated: int = 0
    mints: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    changed_keys: list[dict[str, Any]] = field(default_factory=list)
    restated: pl.DataFrame | None = None
    replaced: tuple[DataFile, ...] = ()
    staged: Path | None = None
    statistics: dict[str, Any] = field(default_factory=dict)


class _Ingest:
    """One ingest on its way: what was found, and what the report will say."""

    def __init__(
        self,
        store: Store,
        transaction: commit.Transaction,
        load: _Load,
        on_progress: Progress | None,
    ) -> None:
        self._store = store
        self._base = transaction.base(load.table)
        self._transaction = transaction
        self._table, self._timeframe, self._choices = load.table, load.timeframe, load.choices
        self._grid_ms = None if load.timeframe is None else timeframe_ms(load.timeframe)
        self._on_progress = on_progress
        self._steps_done = 0
        self._sources: list[Source] = []
        self._scratch = transaction.directory / (load.timeframe or load.table.name)
        self._scratch.mkdir()
        self._openers = load.openers(self._scratch)
        self._steps = len(self._openers) + (1 if load.timeframe is None else MINT_BUCKETS)
        self._spill = Spill(self._scratch)
        self._mints: dict[str, int] = {}
        self._buckets: list[int] = []
        self._findings = Findings(self._table, self._timeframe)
        self._said: Counter[str] = Counter()
        self._spacings: list[Spacing] = []
        self._report = IngestReport()
        self.restated: list[pl.DataFrame] = []

    @property
    def report(self) -> IngestReport:
        """What the ingest does."""
        return self._report

    @property
    def files(self) -> set[str]:
        """The names of what was read."""
        return {source.name for source in self._sources}

    @property
    def mints(self) -> set[str]:
        """The mints of its candles."""
        return set(self._mints)

    @property
    def timeframe(self) -> str:
        """The length of its candles."""
        return str(self._timeframe)

    def stage(self) -> None:
        """Read everything and stage what is to change in the lake."""
        with self._spill:
            for opener in self._openers:
                self._read(opener())
                self._step(1)
            with _workers(WORKERS) as workers:
                for bucket, merged in zip(
                    self._spill.partitions, workers.map(self._merge, self._spill.partitions), strict=True
                ):
                    self._note_merged(bucket, merged)
                    self._step(1)
        self._findings.raise_if_any(self._sources, self._lengths_said())
        self._judge_spacing()

    def finish(self) -> None:
        """Tell that everything is done."""
        self._step(self._steps - self._steps_done)

    def _step(self, done: int) -> None:
        self._steps_done += done
        if self._on_progress and done:
            self._on_progress(self._steps_done, self._steps)

    def _read(self, source: Source) -> None:
        """Check a source batch by batch and spill its rows by partition."""
        number = len(self._sources)
        self._sources.append(source)
        self._spacings.append(Spacing(None if isinstance(source, FrameSource) else self._grid_ms))
        self._report.files += 1
        self._note_source(source)
        read = 0
        unit: TimeUnit | None = None
        with _workers(2) as workers:
            spilling: Future[None] | None = None
            aside: list[pl.DataFrame] = []
            batches = source.batches()
            ahead = workers.submit(next, batches, None)
            while True:
                with reading(source.name):
                    raw = ahead.result()
                    if raw is not None:
                        ahead = workers.submit(next, batches, None)
                        read += raw.height
                        raw = self._of_this_length(number, raw)
                        unit = unit or time_unit(raw[self._table.time])
                        raw, parsed = parse_named(raw, self._table, unit, self._grid_ms, source.decimal)
                        self._findings.check(Batch(number, raw, parsed, unit))
                if raw is not None:
                    self._note(parsed.frame)
                    places = [pl.lit(number, pl.UInt32).alias(FILE), raw[ROW]]
                    places += [raw[RECORDED]] if RECORDED in raw.columns else []
                    aside.append(parsed.frame.with_columns(places).drop_nulls(self._table.key))
                if aside and (raw is None or sum(map(len, aside)) >= SPILL_ROWS):
                    if spilling is not None:
                        spilling.result()
                    spilling = workers.submit(self._put_aside, pl.concat(aside))
                    aside = []
                if raw is None:
                    break
            if spilling is not None:
                spilling.result()
        self._report.no_calls |= {source.name: dict(source.left_out)} if source.left_out else {}
        self._report.notes |= {source.name: source.notes} if source.notes else {}
        if not read and not source.left_out and not isinstance(source, FrameSource):
            raise LakeError(f"{source.name} has no rows: {self._table.name} were expected")

    def _note_source(self, source: Source) -> None:
        """Record what a source says of its columns, and hold it to how long it says that its candles are."""
        if source.ignored:
            self._report.ignored_columns[source.name] = source.ignored
        if source.stated is not None and source.stated != self._grid_ms and not self._choices.force:
            said = name_of(source.stated)
            raise LakeError(f"{source.name} says that its candles are of {said}, not of {self._timeframe}")

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
                findings.append(RowProblem(number, wrong[ROW][index], column, shown(wrong[column], index), rule))
            self._findings.add(others, findings)
        return raw

    def _lengths_said(self) -> str:
        """Count what the files say of the lengths of candles, if that is what is wrong."""
        if set(self._said) <= {self._timeframe}:
            return ""
        counts = ", ".join(f"{count:,} times {length}" for length, count in self._said.most_common() if count)
        return f"the files say {counts}: --matching-only takes the rows of {self._timeframe} alone"

    def _note(self, rows: pl.DataFrame) -> None:
        report, times = self._report, rows[self._table.time].drop_nulls()
        report.rows += rows.height
        if "direction" in rows.columns:
            report.shorts += int((rows["direction"] == "short").sum())
        if len(times):
            first, last = times.to_frame().select(pl.first().min().alias("min"), pl.first().max().alias("max")).row(0)
            report.first = min(report.first or first, first)
            report.last = max(report.last or last, last)
            self._spacings[-1].note(times.to_physical())

    def _put_aside(self, rows: pl.DataFrame) -> None:
        if not rows.height:
            return
        if self._timeframe is None:
            self._spill.add(rows, np.zeros(rows.height, np.uint8))
            return
        numbers = self._numbers_of(rows["mint"])
        self._spill.add(rows.with_columns(mint=numbers), np.array(self._buckets, np.uint8)[numbers])

    def _numbers_of(self, mints: pl.Series) -> npt.NDArray[np.uint32]:
        """Return the numbers that stand for mints until their partition is merged, new ones in the order they come."""
        runs = mints.rle().struct  # few where a file is sorted by mint
        found = runs.field("value").unique()
        for mint in found:
            if mint not in self._mints:
                self._mints[mint] = len(self._mints)
                self._buckets.append(mint_bucket(mint))
        numbers = runs.field("value").replace_strict(
            found, [self._mints[mint] for mint in found], return_dtype=pl.UInt32
        )
        return np.repeat(numbers.to_numpy(), runs.field("len").to_numpy())

    def _take(self, bucket: int) -> pl.DataFrame:
        """Take a partition's rows from the spill, with the mints that stand for numbers as an ordered `pl.Enum`."""
        rows = self._spill.take(bucket)
        if self._timeframe is None:
            return rows
        mints = sorted(mint for mint, number in self._mints.items() if self._buckets[number] == bucket)
        ranks = np.zeros(len(self._mints), np.uint32)
        ranks[[self._mints[mint] for mint in mints]] = np.arange(len(mints))
        return rows.with_columns(mint=pl.Series(ranks[rows["mint"].to_numpy()]).cat.to(pl.Enum(mints)))

    def _merge(self, bucket: int) -> _Merged:
        """Write the new part of one partition, if its rows change; what is found is left to `_note_merged`."""
        merged = _Merged()
        rows = self._unique(bucket, merged)
        if self._findings.total or merged.clashes is not None:
            return merged
        merged.mints = rows["mint"].n_unique()
        merged.replaced = self._base.by_timeframe.get(self._timeframe or "", {}).get(bucket, ())
        old, note = self._read_old(merged.replaced)
        if old is not None:
            rows = rows.cast({"mint": pl.String})
        rows, old = self._with_options(rows, old)
        if not self._compare(rows, old, merged):
            return merged
        if old is not None:
            rows = pl.concat([old.join(rows, on=self._table.key, how="anti"), rows])
        if old is not None or self._table.order != self._table.key:
            rows = _sorted(rows, self._table.order)
        silent = [name for name in self._table.options if name in rows.columns and rows[name].null_count() == len(rows)]
        rows = rows.drop(silent)
        written = None
        if self._grid_ms and (old is None or note or _keep_rules(old, self._grid_ms)):
            written = Note(RULES, self._grid_ms, *_digests(CandleColumns.from_frame(rows)))
        merged.staged = self._scratch / f"merged-{bucket:02d}.parquet"
        write_part(rows, self._table, merged.staged, written)
        merged.statistics = tables.statistics(rows, self._table)
        return merged

    def _read_old(self, files: Sequence[DataFile]) -> tuple[pl.DataFrame | None, bool]:
        """Read what the lake has of a partition, and tell whether it is known to keep the rules of candles."""
        read, known = [], True
        for file in files:  # one, unless another program has written the table
            with explained(self._store, [file]), self._store.open(file.name) as opened:
                rows, note = read_part(opened)
            if note is not None and _digests(CandleColumns.from_frame(rows)) != (note.digest, note.liquidity):
                raise damaged_rows(self._store, file.name)
            read.append(rows)
            known &= note is not None and note.rules >= RULES and note.timeframe_ms == self._grid_ms
        return (pl.concat(read, how="diagonal"), known and len(read) == 1) if read else (None, False)

    def _with_options(self, rows: pl.DataFrame, old: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Give new and old rows the same options: what a file has no column for stays as it is known."""
        there = {*rows.columns, *(old.columns if old is not None else ())}
        options = {name: dtype for name, dtype in self._table.options.items() if name in there}
        if not options:
            return rows.drop(FILE), old
        names = self._table.present(there)
        empty = [pl.lit(None, dtype).alias(name) for name, dtype in options.items()]
        if old is None:
            return rows.with_columns(one for one in empty if one.meta.output_name() not in rows.columns)[names], None
        old = old.with_columns(one for one in empty if one.meta.output_name() not in old.columns)[names]
        key = list(self._table.key)
        known = rows.join(
            old.select(*key, *options), on=key, how="left", suffix=OLD, maintain_order="left", nulls_equal=False
        )
        taken = []
        for name in options:
            if name not in rows.columns:  # it joined under its own name
                continue
            files = [number for number, source in enumerate(self._sources) if name in source.options]
            said = pl.col(FILE).is_in(files) | pl.col(name).is_not_null()
            taken.append(pl.when(said).then(pl.col(name)).otherwise(pl.col(f"{name}{OLD}")).alias(name))
        return known.with_columns(taken)[names], old

    def _note_merged(self, bucket: int, merged: _Merged) -> None:
        """Record what a worker found in a partition, and stage what it wrote."""
        for number, seen in merged.spacing.items():
            self._spacings[number].note_mints(seen)
        if merged.clashes is not None:
            self._report_clashes(merged.clashes)
        report = self._report
        report.mints += merged.mints
        report.repeated += merged.repeated
        report.added += merged.added
        report.changed += merged.changed
        report.unchanged += merged.unchanged
        report.changed_keys.extend(merged.changed_keys[: CHANGED_KEYS_SHOWN - len(report.changed_keys)])
        if merged.restated is not None:
            self.restated.append(merged.restated)
        if merged.staged is not None:
            values = {} if self._timeframe is None else {"timeframe": self._timeframe, "mint_bucket": str(bucket)}
            self._transaction.replace(self._table, values, merged.staged, merged.statistics, merged.replaced)
            report.partitions_written += 1

    def _unique(self, bucket: int, merged: _Merged) -> pl.DataFrame:
        """Read one partition's rows with each key once, sorted by key; repeated keys that disagree are noted."""
        rows = self._take(bucket)
        if self._timeframe is None:
            told = rows.height
            rows = self._last_told(rows)
            merged.repeated = told - rows.height
        once = _ascend(rows, self._table.key)
        if not once:
            rows = _sorted(rows, self._table.key)
        if self._grid_ms:
            files = rows[FILE].unique()
            for number in files:
                part = rows if len(files) == 1 else rows.filter(pl.col(FILE) == number)
                spacing = self._spacings[number]
                merged.spacing[number] = spacing.of_mints(part["mint"], part[self._table.time])
        repeats = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in self._table.key)
        if once or not rows.select(repeats.any()).item():
            return rows.select(*self._table.present(rows.columns), FILE)
        options = [name for name in self._table.options if name in rows.columns]
        if options and not once:  # as they came, whatever columns they came with
            rows = rows.sort(*self._table.key, FILE, ROW)
        same_file = pl.col(FILE) == pl.col(FILE).shift()
        same_values = pl.all_horizontal(
            *(pl.col(name).eq_missing(pl.col(name).shift()) for name in self._table.columns),
            *(self._agrees(name) for name in options),
        )
        rows = rows.with_columns(
            repeats.fill_null(value=False).alias("repeats"),
            same_file.alias("same_file"),
            (same_file | ~same_values).alias("clashes"),
            pl.struct(FILE, ROW).shift().alias("other"),
        )
        clashes = rows.filter("repeats", "clashes")
        merged.clashes = clashes if clashes.height else None
        said_later = [pl.col(name).fill_null(strategy="backward").over(self._table.key) for name in options]
        rows = rows.with_columns(said_later)
        return rows.filter(~pl.col("repeats")).select(*self._table.present(rows.columns), FILE)

    def _last_told(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Keep once what a file without names for its calls says several times, and the last state of each.

        The last state is known where rows say when they were written down; else all must say the same, or they clash.
        """
        unnamed = [number for number, source in enumerate(self._sources) if not source.has_ids]
        if not unnamed:
            return rows
        ours = pl.col(FILE).is_in(unnamed)
        others, rows = rows.filter(~ours), rows.filter(ours)
        values = self._table.present(rows.columns)
        rows = rows.unique([*values, FILE], keep="first", maintain_order=True)
        if RECORDED in rows.columns:
            key = [*self._table.key, FILE]
            ranked = rows.sort(RECORDED, ROW, nulls_last=False).unique(key, keep="last", maintain_order=True)
            is_ranked = pl.col(FILE).is_in(rows.filter(pl.col(RECORDED).is_not_null())[FILE].unique().to_list())
            rows = pl.concat([rows.filter(~is_ranked), ranked.filter(is_ranked)])
        return pl.concat([others, rows]).drop(RECORDED, strict=False)

    def _agrees(self, name: str) -> pl.Expr:
        """Tell of a row whether it says what the first of its key says; a file without the column says nothing."""
        said = pl.col(FILE).is_in([number for number, source in enumerate(self._sources) if name in source.options])
        return ~said | pl.col(name).eq_missing(pl.col(name).filter(said).first().over(self._table.key))

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
            findings.append(RowProblem(row[FILE], row[ROW], column, value, rule, tuple(row["other"].values())))
        self._findings.add(clashes.height, findings)

    def _compare(self, rows: pl.DataFrame, old: pl.DataFrame | None, merged: _Merged) -> bool:
        """Count what is new, changed and unchanged; tell whether anything has to be written."""
        if old is None:
            merged.added = rows.height
            return True
        key = list(self._table.key)
        values = [name for name in rows.columns if name not in key]
        joined = rows.join(old.with_columns(known=True), on=key, how="left", suffix=OLD, maintain_order="left")
        differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}{OLD}")) for name in values)
        changed = joined.filter(differs & pl.col("known")).select(key)
        merged.added = joined["known"].null_count()
        merged.changed = changed.height
        merged.unchanged = rows.height - merged.added - merged.changed
        merged.changed_keys = changed.head(CHANGED_KEYS_SHOWN).to_dicts()
        if self._timeframe is not None and changed.height:
            was = pl.col(f"close{OLD}").alias("was")
            is_changed = (differs & pl.col("known")).fill_null(value=False)
            marked = joined.select(*key, "close", was, is_changed.alias("changed"))
            merged.restated = restated.runs_of(marked, self._timeframe)
        return bool(merged.added or merged.changed)


def _together(runs: Sequence[_Ingest]) -> IngestReport:
    """Sum up what runs of different lengths did; what one of them leaves out of a file, another took."""
    reports = [run.report for run in runs]
    firsts = [report.first for report in reports if report.first is not None]
    lasts = [report.last for report in reports if report.last is not None]
    return IngestReport(
        files=len(set().union(*(run.files for run in runs))),
        rows=sum(report.rows for report in reports),
        added=sum(report.added for report in reports),
        changed=sum(report.changed for report in reports),
        unchanged=sum(report.unchanged for report in reports),
        mints=len(set().union(*(run.mints for run in runs))),
        first=min(firsts, default=None),
        last=max(lasts, default=None),
        partitions_written=sum(report.partitions_written for report in reports),
        changed_keys=[key for report in reports for key in report.changed_keys][:CHANGED_KEYS_SHOWN],
        ignored_columns={file: names for report in reports for file, names in report.ignored_columns.items()},
        forced={file: length for report in reports for file, length in report.forced.items()},
        notes={file: notes for report in reports for file, notes in report.notes.items()},
        by_timeframe={run.timeframe: run.report.rows for run in runs},
    )


@contextmanager
def _workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads; after an error what has not begun is not begun any more."""
    workers = ThreadPoolExecutor(threads, thread_name_prefix="lake-ingest")
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)


def _ascend(rows: pl.DataFrame, by: Sequence[str]) -> bool:
    """Return whether rows are sorted by columns without null, and no two are equal in them."""
    ascends = pl.lit(value=False)
    for name in reversed(by):
        before = pl.col(name).shift()
        ascends = (pl.col(name) > before) | ((pl.col(name) == before) & ascends)
    return bool(rows.select(ascends.all()).item())


def _sorted(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Sort rows by columns without null, equal ones as they were; texts by their ranks, which takes a third."""
    ranks = [
        (rows[name].cast(pl.Enum(rows[name].unique().sort())) if dtype == pl.String else rows[name]).to_physical()
        for name, dtype in rows.select(by).schema.items()
    ]
    return rows[pl.DataFrame(ranks).with_row_index(ORDER).sort(*by, maintain_order=True)[ORDER]]


def _digests(candles: CandleColumns) -> tuple[str, str | None]:
    """Return the digests (hex) of a partition's rows that its note holds."""
    digest = bucket_digest(candles)
    return digest.hex(), None if candles.liquidity is None else liquidity_digest(digest, candles.liquidity).hex()


def _keep_rules(candles: pl.DataFrame, timeframe_ms: int) -> bool:
    """Return whether sorted candles keep the rules that `engine.kernel.first_bad_row` looks after."""
    apart = pl.col("timestamp").to_physical().diff() >= timeframe_ms
    follows = (apart | (pl.col("mint") != pl.col("mint").shift())).fill_null(value=True)
    return bool(candles.select((prices_hold() & follows).all()).item())


def _shown(value: object) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else plain(value)
