"""Open what a user hands over, whatever it is and comes packed in, as batches of raw columns under canonical names."""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain.frames import TIMESTAMP
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake.chats import ChatExport, Reading
from lab_pipeline.lake.columns import is_text, to_labels, to_series, why_unusable
from lab_pipeline.lake.containers import read_bytes, unpacked
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.identities import (
    A_BOTS_TABLE,
    CALLER_ID,
    CHAT,
    RECORDED,
    TARGET,
    extra_type,
    extras_of,
    rank_of,
    with_callers,
    with_message_ids,
    with_targets,
    with_tokens,
)
from lab_pipeline.lake.json_rows import ArrayRows, open_rows
from lab_pipeline.lake.layout import CALLS, CANDLES, Table
from lab_pipeline.lake.lengths import LENGTH_COLUMNS, MOST_LENGTHS, Lengths, lengths_of, name_of, names_of
from lab_pipeline.lake.people import Directory, People, readable_name
from lab_pipeline.lake.shapes import NameSays, Uncertain, base_volume, names_of_values, said_by
from lab_pipeline.lake.sniffing import SEPARATORS, is_json, listed, not_utf8, plain, read_head, what_else
from lab_pipeline.lake.telegram import is_export

BATCH_ROWS = 1 << 17
PARQUET_MAGIC, ARROW_MAGIC, STREAM_MAGIC = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
WORD = re.compile(r"[^0-9A-Za-z]+")
CALL_TICKS = "call_ts_ms"
ROW = "row"
"""Column with the position of a record in its source, from 0."""
ALIASES_SHOWN = 3
VALUE = re.compile(r"[-+]?\d[\d.,:TZ+eE -]*")
"""A number or a time, which is no name of a column."""
WITH_COMMA = re.compile(r"-?\d+,\d+(?:[eE][-+]?\d+)?")
THOUSANDS = re.compile(r"-?[1-9]\d{0,2},\d{3}")
"""What may be 1,234 or 1.234."""
UNIX_COLUMNS = ("unix", "unix_timestamp")
PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Hints:
    """What the person who hands files over says of them, because they do not say it.

    Attributes:
        mint: the token of all rows.
        mint_from_name: the name of a file without a column for it is that of the token.
        columns: names of the columns of files without a header; an empty one is not used.
        taken: by the name of the lake, the column that is to be taken for it.
        decimal: what is before the fraction of a number, a comma or a point.
        chats: how calls are read: what is one in a message, and who calls in a file that does not say.
    """

    mint: str | None = None
    mint_from_name: bool = False
    columns: tuple[str, ...] = ()
    taken: Mapping[str, str] = field(default_factory=dict)
    decimal: str | None = None
    chats: Reading | None = None


NO_HINTS = Hints()


@dataclass(frozen=True)
class Origin:
    """Where rows come from.

    Attributes:
        name: how errors call it.
        names: what the file is called, without directories, the name inside of what it is packed in first.
        packing: what it is packed in, if in anything.
        length: how long its candles are by what the rows themselves say, in milliseconds.
        mints: the token that its rows are of, and the one that it is traded against, if it says so once for all.
        first: the values of its first row, where they are known before its columns are.
    """

    name: str
    names: tuple[str, ...] = ()
    packing: str | None = None
    length: int | None = None
    mints: tuple[str, ...] = ()
    first: Sequence[str | None] = ()


def open_source(path: Path, table: Table, scratch: Path, hints: Hints = NO_HINTS) -> "Source":
    """Open one file, whatever its kind; its first bytes decide, not its name.

    Args:
        path: CSV, Parquet, Feather or JSON, of calls also a Telegram export; plain or packed.
        table: what its rows are.
        scratch: directory that outlives the source; packed files are unpacked into it.
        hints: what the file does not say.

    Raises:
        LakeError: if it is empty, broken, something else, or has not the columns that are needed, or if more than one
            thing could be meant.
    """
    inner = unpacked(path, scratch)
    with reading(str(path)):
        origin = Origin(str(path), tuple(dict.fromkeys((inner.name, path.name))), inner.packing)
        if inner.path.stat().st_size == 0:
            raise LakeError(f"{path} is empty: {table.name} come as CSV, Parquet, Feather or JSON")
        if _starts_with(inner.path, PARQUET_MAGIC):
            return ParquetSource(origin, inner.path, table, hints)
        if _starts_with(inner.path, ARROW_MAGIC) or _starts_with(inner.path, STREAM_MAGIC):
            return ArrowFileSource(origin, inner.path, table, hints)
        if table is CALLS and is_export(inner.path):
            return ChatSource(origin, inner.path, hints)
        if (what := what_else(inner.path)) is not None:
            raise LakeError(f"{path} is {what}")
        if {".parquet", ".pq"} & set(path.suffixes):
            raise LakeError(f"{path} is not a Parquet file: it does not start with PAR1")
        if is_json(inner.path):
            return JsonSource(origin, inner.path, table, hints)
        return CsvSource(origin, inner.path, table, hints)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever a library raises over what a file holds into one sentence.

    A panic of Rust comes as a BaseException of its own kind; what ends a process or a run is not held up.
    """
    try:
        yield
    except LakeError:
        raise
    except MemoryError:
        raise LakeError(f"{name} cannot be read: its rows do not fit into memory") from None
    except BaseException as error:
        if not isinstance(error, Exception | pl.exceptions.PanicException):
            raise
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise LakeError(f"{name} cannot be read: {plain(first, 300)}") from error


class Source:
    """Rows from one place, in order, as they stand there.

    Attributes:
        name: how errors call it.
        kind: what it is, in a few words.
        taken: by the name of the lake, the column that is taken for it, as it is called there.
        mint: whose all rows are, if no column says.
        ignored: columns that are not used.
        options: of the table, those that it has.
        lengths: what each column that says how long candles are may mean, by its texts.
        stated: how long its candles are in milliseconds, by its rows as a whole or by a name that is to be believed.
        decimal: what is before the fraction of a number.
        has_ids: whether it names its calls itself; else names are made, and rows may come twice.
        left_out: rows that are no calls, by the reason, as far as it is read.
        notes: what was made of it that its columns do not say, as far as it is read.
    """

    kind = "rows"

    def __init__(self, origin: Origin, table: Table, found: Sequence[str], hints: Hints) -> None:
        self.name = origin.name
        self.packing = origin.packing
        self.decimal = hints.decimal or "."
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []
        self._table = table
        says = _said_by_name(origin, table, found, hints)
        self.mint, note = _whose(origin, found, hints, says)
        self.notes += [note] if note else []
        self._extras: dict[str, int] = {}
        self._caller: str | None = None
        given = {"mint"} if self.mint is not None else set()
        if table is CALLS:
            self._extras = extras_of(self.name, _places(found))
            self._caller, note = _who(origin, found, hints.chats)
            self.notes += [note] if note else []
            given |= {"call_id"} | ({"caller"} if self._caller is not None or CALLER_ID in self._extras else set())
        self._people = Directory(hints.chats.people if hints.chats is not None else People())
        self._columns = _match(origin, table, found, hints, given)
        self.has_ids = table is CANDLES or "call_id" in self._columns
        self._from_chat = CHAT in self._extras and "message_id" in self._columns
        self._is_bots_table = table is CALLS and not self.has_ids and set(_places(found)) >= A_BOTS_TABLE
        unused = {RECORDED, CHAT} if self.has_ids or not self._from_chat else set()
        self._extras = {extra: place for extra, place in self._extras.items() if extra not in unused}
        self.taken = {column: plain(found[place]) for column, place in self._columns.items()}
        self.stated = origin.length
        if self.stated is None and says is not None and (says.vouched or hints.mint_from_name):
            self.stated = says.length
        self.options = [option for option in table.options if option in self._columns]
        if any(extra.startswith(TARGET) for extra in self._extras):
            if "targets" in self._columns:
                raise LakeError(
                    f"{self.name} has a column of all targets and columns of one each: drop one or the other"
                )
            self.options.append("targets")
        self.lengths: dict[str, dict[str | None, Lengths]] = {}
        self._labels = _length_columns(self.name, found) if table is CANDLES else {}
        used = {*self._columns.values(), *self._extras.values()}
        for label, place in self._labels.items():
            if place not in used and (cells := self._read_lengths(label, place)):
                self.lengths[label] = cells
                used.add(place)
        self._labels = {label: self._labels[label] for label in self.lengths}
        self.ignored = [plain(column) for place, column in enumerate(found) if place not in used]

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the table's columns, in types that `parsing` reads, columns of lengths as text, and `ROW`."""
        names = {**self._columns, **self._labels, **self._extras}
        offset = 0
        for frame in self._frames(names):
            rows = frame if self.mint is None else frame.with_columns(mint=pl.lit(self.mint))
            rows = rows.with_row_index(ROW, offset)
            yield self._as_calls(rows) if self._table is CALLS else rows
            offset += frame.height

    def _as_calls(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Fill in what rows of calls do not say themselves, but for names that are made of what they say."""
        if self._is_bots_table:
            rows = with_tokens(rows, self.left_out)
        if self._caller is not None:
            rows = rows.with_columns(caller=pl.lit(self._caller))
        rows = with_targets(with_callers(rows, self._people, self.left_out), self.decimal)
        if self._from_chat and not self.has_ids:
            rows = with_message_ids(rows)
            if RECORDED in rows.columns:
                rows = rows.with_columns(rank_of(rows[RECORDED]))
        return rows

    def timeframes(self) -> set[str]:
        """Return the lengths that the rows, or a name that is to be believed, say their candles have."""
        said = {name_of(length) for cells in self.lengths.values() for said in cells.values() for length in said}
        return said or ({name_of(self.stated)} if self.stated else set())

    def positions(self, rows: Sequence[int]) -> dict[int, str]:
        """Say where records are, in the words of the source's own kind."""
        return {row: f"row {row}" for row in rows}

    def _frames(self, columns: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        """Yield columns, given by name and position, in batches."""
        raise NotImplementedError

    def _read_lengths(self, label: str, place: int) -> dict[str | None, Lengths]:
        """Return the texts of a column with what each says of a length; none if none of them speaks of one."""
        texts: set[str | None] = set()
        for frame in self._frames({label: place}):
            texts.update(frame[label].unique())
            if len(texts) > MOST_LENGTHS:
                return {}
        cells = {text: lengths_of(label, text) for text in texts}
        return cells if any(cells.values()) else {}


class ArrowSource(Source):
    """Batches of Arrow's types."""

    def __init__(self, origin: Origin, table: Table, schema: pa.Schema, hints: Hints) -> None:
        self._schema = schema
        super().__init__(origin, table, schema.names, hints)
        self._types = {**table.types, **{extra: extra_type(extra) for extra in self._extras}}
        for column, place in {**self._columns, **self._extras}.items():
            field = schema.field(place)
            if (why := why_unusable(field, self._types[column])) is not None:
                raise LakeError(f"{self.name}: column {plain(field.name)} {why}")

    def type_of(self, column: str) -> pa.DataType:
        """Return the type of the column that is taken for one."""
        return self._schema.field(self._columns[column]).type

    def _frames(self, columns: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        for batch in self._record_batches([self._schema.field(place).name for place in columns.values()]):
            series = []
            for name, place in columns.items():
                values = batch.column(self._schema.field(place).name)
                is_label = name in LENGTH_COLUMNS
                read = to_labels(values) if is_label else to_series(values, self._types[name])
                series.append(read.alias(name))
            yield pl.DataFrame(series)

    def _record_batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError


class FrameSource(ArrowSource):
    """A frame in memory."""

    def __init__(self, frame: pl.DataFrame, table: Table, hints: Hints = NO_HINTS, name: str = "frame") -> None:
        with reading(name):
            self._rows = frame.to_arrow()
            super().__init__(Origin(name), table, self._rows.schema, hints)

    def _record_batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._rows.select(names).to_batches(BATCH_ROWS)


class ArrowFileSource(ArrowSource):
    """An Arrow file, which is what Feather has been since its second version, or an Arrow stream."""

    kind = "Feather (Arrow)"

    def __init__(self, origin: Origin, path: Path, table: Table, hints: Hints) -> None:
        self._path = path
        self._is_stream = _starts_with(path, STREAM_MAGIC)
        with _readable(origin.name, "Arrow"), self._opened() as file:
            schema = file.schema
        super().__init__(origin, table, schema, hints)

    def _record_batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        """Read no more columns than are used; what is long in the file is taken in pieces."""
        used = sorted(self._schema.get_field_index(name) for name in names)
        with _readable(self.name, "Arrow"), self._opened(used) as file:
            batches = file if self._is_stream else map(file.get_batch, range(file.num_record_batches))
            for batch in batches:
                batch.validate(full=True)  # what others wrote need not keep Arrow's own rules
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(start, BATCH_ROWS)

    def _opened(self, used: Sequence[int] | None = None) -> pa.RecordBatchReader:
        options = pa.ipc.IpcReadOptions(included_fields=used, use_threads=False)
        source = pa.memory_map(str(self._path))
        return (pa.ipc.open_stream if self._is_stream else pa.ipc.open_file)(source, options=options)


class ParquetSource(ArrowSource):
    """A Parquet file."""

    kind = "Parquet"

    def __init__(self, origin: Origin, path: Path, table: Table, hints: Hints) -> None:
        self._path = path
        with _readable(origin.name, "Parquet"):
            schema = pq.read_schema(path)
        super().__init__(origin, table, schema, hints)

    def _record_batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        """Read no more columns than are used; times of 96 bits become what does not wrap around.

        Names, which a file keeps once a row group, are not laid out row by row.
        """
        texts = [
            self._schema.field(place).name
            for column, place in self._columns.items()
            if self._table.types[column] == pl.String and is_text(self._schema.field(place).type)
        ]
        with (
            _readable(self.name, "Parquet"),
            pq.ParquetFile(
                self._path, read_dictionary=texts, pre_buffer=False, coerce_int96_timestamp_unit="us"
            ) as file,
        ):
            yield from file.iter_batches(BATCH_ROWS, columns=names, use_threads=False)  # others have work to do


class TextSource(Source):
    """Rows of text, which say neither what their values are nor, some of them, what their columns are."""

    def __init__(
        self, origin: Origin, table: Table, found: Sequence[str], head: Sequence[Sequence[str | None]], hints: Hints
    ) -> None:
        super().__init__(replace(origin, first=head[0] if head else ()), table, found, hints)
        numbers = [place for name, place in self._columns.items() if table.types[name] == pl.Float64]
        numbers += [place for extra, place in self._extras.items() if extra.startswith(TARGET)]
        cells = [(row[place] or "").strip() for row in head for place in numbers if place < len(row)]
        self.decimal = hints.decimal or _decimal_of(self.name, cells)


class JsonSource(TextSource):
    """JSON: rows in an array, one a line, or in an answer of an API."""

    def __init__(self, origin: Origin, path: Path, table: Table, hints: Hints) -> None:
        self._rows = open_rows(origin.name, path)
        self.kind = self._rows.kind
        head: list[list[str | None]] = []
        origin = replace(origin, mints=self._rows.mints)
        if isinstance(self._rows, ArrayRows):
            head = self._rows.head()
            self._names, length = _named(origin.name, head, table, hints)
            origin = replace(origin, length=length)
        else:
            self._names = self._rows.columns
            if hints.columns:
                raise LakeError(f"{origin.name} has names for its columns: --columns is for files without them")
        super().__init__(origin, table, self._names, head, hints)
        if self._rows.volume_in_quote and table is CANDLES:
            self.notes.append("volume counts what prices are in: it is divided by the mean of the candle's four prices")

    def _frames(self, columns: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        by_place = isinstance(self._rows, ArrayRows)
        inside = {name: str(place) if by_place else self._names[place] for name, place in columns.items()}
        for frame in self._rows.frames(list(dict.fromkeys(inside.values()))):
            rows = frame.select(pl.col(there).alias(name) for name, there in inside.items())
            if self._rows.volume_in_quote and {"volume", *PRICES} <= set(rows.columns):
                prices = [pl.col(name).cast(pl.Float64, strict=False) for name in PRICES]
                mean = pl.sum_horizontal(*prices, ignore_nulls=False) / len(PRICES)
                rows = rows.with_columns(pl.col("volume").cast(pl.Float64, strict=False) / mean)
            yield rows


class CsvSource(TextSource):
    """Lines of values between separators, with a header or with columns that are known without one."""

    def __init__(self, origin: Origin, path: Path, table: Table, hints: Hints) -> None:
        self._path = path
        try:
            head = read_head(path)
        except ValueError as error:
            raise LakeError(f"{origin.name}: {error}") from None
        first, *rest = head.records or [[]]
        self._separator, self._skipped = head.separator, head.skipped
        self.kind = "CSV" + (f" separated by {SEPARATORS[head.separator]}" if head.separator != "," else "")
        self._width = len(first)
        is_header = _is_header(first, table)
        if hints.columns and is_header:
            raise LakeError(f"{origin.name} has a header: --columns is for files without one")
        self._has_header = is_header or not (hints.columns or _are_values(first))
        if not self._has_header:
            self.kind += " without a header"
            names, length = _named(origin.name, head.records, table, hints)
            super().__init__(replace(origin, length=length), table, names, head.records, hints)
            return
        try:
            super().__init__(origin, table, first, rest, hints)
        except _MissingColumnError as error:
            hint = _why_no_header(first, rest[0] if rest else [], table)
            raise (_MissingColumnError(error.what, hint) if hint else error) from None

    def _frames(self, columns: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        """Yield columns of text; every column is read, for a line that is too long shows only then."""
        names = [str(place) for place in range(self._width)]
        lines = pl.scan_csv(
            self._path,
            infer_schema=False,
            glob=False,
            separator=self._separator,
            skip_lines=self._skipped,
            has_header=self._has_header,
            with_column_names=lambda _: names,
        )
        wanted = [pl.col(str(place)).alias(name) for name, place in columns.items()]
        try:
            for frame in lines.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
                yield frame.select(wanted)
        except (pl.exceptions.PolarsError, OSError) as error:
            wrong = not_utf8(self._path) or self._first_ragged_line() or plain(error, 300)
            raise LakeError(f"{self.name}: {wrong}") from None

    def batches(self) -> Iterator[pl.DataFrame]:
        """Leave out lines with nothing on them, as an editor's last line is."""
        for rows in super().batches():
            yield rows.filter(~pl.all_horizontal(pl.col(list(self._columns)).is_null()))

    def positions(self, rows: Sequence[int]) -> dict[int, str]:
        """Count lines as an editor does: what comes before the rows counts, and so does a quoted line break."""
        wanted = set(rows)
        places = {}
        for record, line, _ in self._records():
            row = record - self._has_header
            if row in wanted:
                places[row] = f"line {line}"
            if len(places) == len(wanted):
                break
        return places

    def _first_ragged_line(self) -> str | None:
        width = None
        for _, line, fields in self._records():
            width = width or len(fields)
            if len(fields) > width:
                whose = "the header" if self._has_header else "the first"
                return f"line {line} has {len(fields)} fields, {whose} has {width}"
        return None

    def _records(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yield (record, first line, fields); record 0 is the header, if there is one."""
        with self._path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            for _ in islice(file, self._skipped):
                pass
            reader = csv.reader(file, delimiter=self._separator)
            line = self._skipped + 1
            try:
                for record, fields in enumerate(reader):
                    yield record, line, fields
                    line = self._skipped + reader.line_num + 1
            except csv.Error as error:
                raise LakeError(f"{self.name}, line {line} is not CSV: {error}") from None


class ChatSource(Source):
    """A Telegram export: its messages are not rows in columns, but what comes of them is."""

    kind = "Telegram export"

    def __init__(self, origin: Origin, path: Path, hints: Hints) -> None:
        super().__init__(origin, CALLS, list(CALLS.types), NO_HINTS)  # who is who was looked up with the message
        self.taken = {}
        self._export = ChatExport(path, origin.name, hints.chats or Reading())

    def _frames(self, columns: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        calls = self._export.calls()
        schema = {name: pl.Datetime("ms") if dtype == TIMESTAMP else dtype for name, dtype in CALLS.types.items()}
        while True:
            frame = pl.DataFrame(list(islice(calls, BATCH_ROWS)), schema=schema, orient="row")
            if frame.is_empty():
                break
            yield frame.select(list(columns))
        self.left_out = Counter({str(reason): count for reason, count in self._export.skipped.most_common()})
        self.notes = [f"{count:,} {said}" for said, count in self._export.remarks.most_common()]

    def positions(self, rows: Sequence[int]) -> dict[int, str]:
        """Name the message."""
        wanted, places = set(rows), {}
        for row, call in enumerate(self._export.calls()):
            if row in wanted:
                places[row] = f"message {call['message_id']}"
        return places


class _MissingColumnError(LakeError):
    """A column that is needed is not there under any of its names.

    Attributes:
        what: what is missing, where.
    """

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        super().__init__(f"{what}: {remedy}")


def stated_lengths(source: Source, name: str) -> list[str]:
    """Return the lengths of candles that a file has: as its rows say, or its name.

    Args:
        source: the file.
        name: of the file; words in it may be a length, as in ``candles-5m.csv``.

    Raises:
        LakeError: if that is not said, or not certain.
    """
    settle = "--timeframe says it"
    if source.lengths:
        (column, cells), *others = source.lengths.items()
        if others and len(source.timeframes()) > 1:
            raise LakeError(f"{source.name} says in {column} and {others[0][0]} how long candles are: {settle}")
        for text, lengths in cells.items():
            if len(lengths) != 1:
                found = f"may be {names_of(lengths)}" if lengths else "is no length"
                raise LakeError(f"{source.name}, {column}: '{plain(text)}' {found}: {settle}")
        return sorted(source.timeframes())
    said = source.timeframes() or lengths_in([name])
    if len(said) != 1:
        found = f"names {' and '.join(sorted(said))}" if said else "does not say how long its candles are"
        raise LakeError(f"{source.name} {found}: {settle}")
    return list(said)


def lengths_in(parts: Iterable[str]) -> set[str]:
    """Return the words in parts of a path that are lengths of candles.

    >>> lengths_in(["candles", "may-5m.csv"])
    {'5m'}
    """
    return {word for part in parts for word in WORD.split(part) if _is_timeframe(word)}


def check_readable(files: Sequence[Path]) -> None:
    """Refuse paths that are not files before any work is done.

    Raises:
        LakeError: naming the first such path.
    """
    if not files:
        raise LakeError("no file was given: name at least one file")
    for path in files:
        if path.is_dir():
            raise LakeError(f"{path} is a directory: name the files in it, such as {path}/*.csv")
        if not path.exists():
            raise LakeError(f"{path} does not exist")
        if not path.is_file():
            raise LakeError(f"{path} is a pipe or a device: save what it gives into a file")
        try:
            path.open("rb").close()
        except OSError as error:
            raise LakeError(f"{path} cannot be read: {error.strerror}") from None


def _is_timeframe(word: str) -> bool:
    try:
        timeframe_ms(word)
    except ValueError:
        return False
    return True


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return read_bytes(file, len(magic), path) == magic


@contextmanager
def _readable(name: str, kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise LakeError(f"{name} is not a readable {kind} file: {plain(error, 300)}") from None


def _said_by_name(origin: Origin, table: Table, found: Sequence[str], hints: Hints) -> NameSays | None:
    """Return what the name of a file says, of all that it has the first that a vendor gave."""
    if table is not CANDLES:
        return None
    try:
        said = [says for name in origin.names if (says := said_by(name, found, origin.length)) is not None]
    except Uncertain as error:
        raise LakeError(f"{origin.name} seems to be {error}") from None
    said.sort(key=lambda says: not says.vouched)
    return said[0] if said and (said[0].vouched or hints.mint_from_name) else None


def _whose(origin: Origin, found: Sequence[str], hints: Hints, says: NameSays | None) -> tuple[str | None, str | None]:
    """Tell whose all rows are, and from where that is known, if no column says it."""
    if hints.mint is not None:
        return hints.mint, None
    if "mint" in hints.taken or _candidates("mint", CANDLES, _places(found)):
        return None, None
    if origin.mints:
        base, *others = origin.mints
        other = plain(others[0]) if others else "the other token"
        return base, (
            f"prices are taken for those of the base token, {plain(base)}; if the request said token=quote they are "
            f"those of {other}: say so with --mint"
        )
    if says is not None:
        whose = f"as {says.vendor} names files" if says.vouched else "as said"
        return says.mint, f"the mint {plain(says.mint)} is taken from the name, {whose}"
    return None, None


def _who(origin: Origin, found: Sequence[str], chats: Reading | None) -> tuple[str | None, str | None]:
    """Tell who calls in a file that does not say: whoever is named, or of signals the file's own name.

    Signals have the levels of a plan; what has none may be anything.
    """
    places = _places(found)
    given = chats.caller if chats is not None else None
    if _candidates("caller", CALLS, places):
        if given is not None:
            raise LakeError(f"{origin.name} has a column of callers: a caller can be given only to a file without one")
        return None, None
    if given is not None:
        return given, None
    levels = [_candidates(column, CALLS, places) for column in ("entry_price", "stop_price", "targets")]
    has_levels = sum(map(bool, levels)) + any(extra.startswith(TARGET) for extra in extras_of(origin.name, places)) > 1
    name = readable_name(Path(origin.name).name.partition(".")[0]) if has_levels else None
    said = f"its calls are taken to be of '{name}', after its name: --caller says otherwise"
    return name, said if name is not None else None


def _match(origin: Origin, table: Table, found: Sequence[str], hints: Hints, given: Collection[str]) -> dict[str, int]:
    """Map canonical names to positions, but for what is given otherwise.

    What was said wins, then an exact name, then an alias.
    """
    places = _places(found)
    name = origin.name
    matched = {**_of_cryptodatadownload(origin, table, places), **_as_said(name, table, found, hints)}
    missing = []
    for column in table.types:
        if column in matched:
            continue
        candidates = [place for place in _candidates(column, table, places) if place not in matched.values()]
        names = [plain(found[place]) for place in candidates]
        if column == "mint" and column in given:
            if names:
                raise LakeError(f"{name} has a column {names[0]}: a mint can be given only to a file that has none")
        elif len(candidates) > 1:
            choose = f", or say --map {column}=NAME" if len(set(names)) > 1 else ""
            raise LakeError(f"{name}: {' and '.join(names)} could both be {column}: rename or drop one{choose}")
        elif candidates:
            matched[column] = candidates[0]
        elif column in table.columns and column not in given:
            missing.append(column)
    if missing:
        aliases = {column: "/".join(table.aliases[column][:ALIASES_SHOWN]) for column in table.columns}
        needed = ", ".join(f"{column} (or {others})" for column, others in aliases.items() if column not in given)
        shown = listed([plain(column) for column in found]) or "none"
        say_whose = (
            "; if all rows are of one token, say which: --mint MINT, or a directory mint=MINT in the inbox; or that "
            "the file's name is its: --mint-from-name, or a directory mint-from-name"
        )
        say_who = "; if all calls are of one caller, say whose: --caller NAME, or a directory caller=NAME in the inbox"
        raise _MissingColumnError(
            f"{name} has no column {', '.join(missing)}",
            f"{table.name} need {needed}; found {shown}"
            + (say_whose if missing == ["mint"] and table is CANDLES else "")
            + (say_who if "caller" in missing else "")
            + (
                f"; if one of these is it, say --map {missing[0]}=NAME"
                if table is CANDLES and len(missing) == 1 and missing != ["mint"]
                else ""
            ),
        )
    return {column: matched[column] for column in table.types if column in matched}


def _as_said(name: str, table: Table, found: Sequence[str], hints: Hints) -> dict[str, int]:
    """Find the columns that are to be taken for something."""
    said = {}
    for column, wanted in hints.taken.items():
        if column not in table.types:
            raise LakeError(f"--map {plain(column)}: {table.name} have {', '.join(table.types)}")
        places = [place for place, one in enumerate(found) if one.strip() == wanted.strip()]
        if len(places) != 1:
            how_often = f"{len(places)} columns" if places else "no column"
            raise LakeError(f"{name} has {how_often} {plain(wanted)}; found {listed([plain(one) for one in found])}")
        said[column] = places[0]
    return said


def _of_cryptodatadownload(origin: Origin, table: Table, places: Mapping[str, list[int]]) -> dict[str, int]:
    """Find the columns of which its files have two: a Unix time and a date, the volume of either side of the pair."""
    unix = [places[column][0] for column in UNIX_COLUMNS if column in places]
    if table is not CANDLES or not {"date", "symbol", *PRICES} <= places.keys() or len(unix) != 1:
        return {}
    found = {"timestamp": unix[0]}
    volumes = {column: at[0] for column, at in places.items() if column.startswith("volume_")}
    if "volume" not in places and volumes:
        symbol = places["symbol"][0]
        base = base_volume(volumes, origin.first[symbol] if symbol < len(origin.first) else None)
        if base is not None:
            found["volume"] = base
    return found


def _named(name: str, rows: Sequence[Sequence[str | None]], table: Table, hints: Hints) -> tuple[list[str], int | None]:
    """Name the columns of rows that have no header, and tell how long the candles are if they say so."""
    if hints.columns:
        if (width := len(rows[0])) != len(hints.columns):
            raise LakeError(f"{name} has {width} columns, and --columns names {len(hints.columns)}")
        return list(hints.columns), None
    shown = plain(",".join(value or "" for value in rows[0]))
    settle = f"name its columns with --columns, such as --columns {','.join(table.columns)}"
    try:
        named = names_of_values(rows) if table is CANDLES else None
    except Uncertain as error:
        raise LakeError(f"{name}: line 1 is '{shown}', without a header: {error}: {settle}") from None
    if named is None:
        raise LakeError(
            f"{name}: line 1 is '{shown}', which are values of no order that is known: the header must be there, or "
            f"{settle}"
        )
    columns, length = named
    return list(columns), length


def _decimal_of(name: str, cells: Sequence[str]) -> str:
    """Tell what is before the fraction of numbers."""
    commas = [cell for cell in cells if WITH_COMMA.fullmatch(cell)]
    if not commas or any("." in cell for cell in cells):
        return "."
    if all(THOUSANDS.fullmatch(cell) for cell in commas):
        point = commas[0].replace(",", ".")
        raise LakeError(
            f"{name} has numbers such as {commas[0]}: if that is {point}, say --decimal , and if the comma is between "
            "thousands, write them without it"
        )
    return ","


def _candidates(column: str, table: Table, places: Mapping[str, list[int]]) -> list[int]:
    if column == "called_at" and CALL_TICKS in places:  # a bot's table has the same moment as text, too
        return places[CALL_TICKS]
    return places.get(column) or [place for alias in table.aliases.get(column, ()) for place in places.get(alias, [])]


def _places(found: Iterable[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, column in enumerate(found):
        places.setdefault(re.sub(r"[\s_-]+", "_", column.strip().lower()), []).append(place)
    return places


def _length_columns(name: str, found: Sequence[str]) -> dict[str, int]:
    """Map the columns that may say how long candles are to positions."""
    places = {label: at for label, at in _places(found).items() if label in LENGTH_COLUMNS}
    for label, at in places.items():
        if len(at) > 1:
            raise LakeError(f"{name}: column {label} comes {len(at)} times: rename or drop one")
    return {label: place for label, (place,) in places.items()}


def _why_no_header(header: Sequence[str], second: Sequence[str], table: Table) -> str | None:
    """Say what line 1 of a CSV is, if it is not the header; null if it seems to be."""
    shown = plain(",".join(header))
    if _is_header(second, table) and not _is_header(header, table):
        return f"line 1 is '{shown}', the header comes after it: delete line 1"
    if not shown.strip():
        return "line 1 is blank: the header must be there"
    return None


def _are_values(fields: Sequence[str]) -> bool:
    return bool(fields) and all(VALUE.fullmatch(field.strip()) for field in fields[1:] or fields)


def _is_header(fields: Sequence[str], table: Table) -> bool:
    """Return whether a line names most of the columns, whatever separates them."""
    names = _places(re.split(r"[,;|\t]", ",".join(fields)))
    return sum(bool(_candidates(column, table, names)) for column in table.columns) > len(table.columns) // 2
