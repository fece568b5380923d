"""Open what a user hands over, CSV or Parquet, plain or gzip, as batches of raw columns under canonical names."""

import csv
import gzip
import re
import uuid
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from itertools import islice
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain.frames import TIMESTAMP
from lab_pipeline.lake.chats import ChatExport, Reading
from lab_pipeline.lake.columns import is_text, to_labels, to_series, why_unusable
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
from lab_pipeline.lake.layout import CALLS, CANDLES, Table
from lab_pipeline.lake.lengths import LENGTH_COLUMNS, MOST_LENGTHS, Lengths, lengths_of, name_of
from lab_pipeline.lake.people import Directory, People, readable_name
from lab_pipeline.lake.sniffing import listed, not_utf8, plain, read_head, separator_of, what_else
from lab_pipeline.lake.telegram import is_export

BATCH_ROWS = 1 << 17
GZIP_MAGIC = b"\x1f\x8b"
HARMLESS_BYTES, LARGEST_RATIO = 1 << 30, 300
"""Of a file that is unpacked; beyond both it is made to fill disks, of no candles."""
PARQUET_MAGIC = b"PAR1"
CALL_TICKS = "call_ts_ms"
ROW = "row"
"""Column with the position of a record in its source, from 0."""
ALIASES_SHOWN = 3
VALUE = re.compile(r"[-+]?\d[\d.:TZ+eE -]*")
"""A number or a time, which is no name of a column."""


def open_source(
    path: Path, table: Table, scratch: Path, mint: str | None = None, chats: Reading | None = None
) -> "Source":
    """Open one file, whatever its kind; its first bytes decide, not its name.

    Args:
        path: CSV or Parquet, or of calls a Telegram export, plain or gzip.
        table: what its rows are.
        scratch: directory that outlives the source; compressed files are unpacked into it.
        mint: whose rows they are, of a file that does not say.
        chats: how calls are read: what is one in a message, and who calls in a file that does not say.

    Raises:
        LakeError: if it is empty, broken, something else, or has not the columns that are needed.
    """
    plain_file = _unpacked(path, scratch) if _starts_with(path, GZIP_MAGIC) else path
    with reading(str(path)):
        if plain_file.stat().st_size == 0:
            raise LakeError(f"{path} is empty: {table.name} come as CSV with a header, or as Parquet")
        if _starts_with(plain_file, PARQUET_MAGIC):
            return ParquetSource(str(path), plain_file, table, mint, chats)
        if table is CALLS and is_export(plain_file):
            return ChatSource(str(path), plain_file, chats or Reading())
        if (what := what_else(plain_file)) is not None:
            raise LakeError(f"{path} is {what}")
        if {".parquet", ".pq"} & set(path.suffixes):
            raise LakeError(f"{path} is not a Parquet file: it does not start with PAR1")
        return CsvSource(str(path), plain_file, table, mint, chats)


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
        ignored: columns that are not used.
        options: of the table, those that it has.
        lengths: what each column that says how long candles are may mean, by its texts.
        has_ids: whether it names its calls itself; else names are made, and rows may come twice.
        left_out: rows that are no calls, by the reason, as far as it is read.
        remarks: what else is to be said of it, as far as it is read.
    """

    def __init__(
        self, name: str, table: Table, found: Sequence[str], mint: str | None, chats: Reading | None = None
    ) -> None:
        self.name = name
        self._table = table
        self._mint = mint
        self.left_out: Counter[str] = Counter()
        self.remarks: list[str] = []
        self._extras = extras_of(name, _places(found)) if table is CALLS else {}
        self._caller = _caller_of(name, found, chats) if table is CALLS else None
        if self._caller is not None and (chats is None or chats.caller is None):
            self.remarks.append(
                f"its calls are taken to be of '{self._caller}', after its name: --caller says otherwise"
            )
        self._people = Directory(chats.people) if chats is not None and table is CALLS else Directory(People())
        given = {"call_id"} if table is CALLS else set()
        given |= {"caller"} if self._caller is not None or CALLER_ID in self._extras else set()
        self._columns = _match(name, table, found, mint, given)
        self.has_ids = table is CANDLES or "call_id" in self._columns
        self._from_chat = CHAT in self._extras and "message_id" in self._columns
        self._is_bots_table = table is CALLS and not self.has_ids and set(_places(found)) >= A_BOTS_TABLE
        unused = [RECORDED] if self.has_ids or not self._from_chat else []
        unused += [CHAT] if self.has_ids or not self._from_chat else []
        self._extras = {extra: place for extra, place in self._extras.items() if extra not in unused}
        self.options = [option for option in table.options if option in self._columns]
        if any(extra.startswith(TARGET) for extra in self._extras):
            if "targets" in self._columns:
                raise LakeError(f"{name} has a column of all targets and columns of one each: drop one or the other")
            self.options.append("targets")
        self.lengths: dict[str, dict[str | None, Lengths]] = {}
        self._labels = _length_columns(name, found) if table is CANDLES else {}
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
            rows = frame if self._mint is None else frame.with_columns(mint=pl.lit(self._mint))
            rows = rows.with_row_index(ROW, offset)
            yield self._as_calls(rows) if self._table is CALLS else rows
            offset += frame.height

    def _as_calls(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Fill in what rows of calls do not say themselves, but for names that are made of what they say."""
        if self._is_bots_table:
            rows = with_tokens(rows, self.left_out)
        if self._caller is not None:
            rows = rows.with_columns(caller=pl.lit(self._caller))
        rows = with_targets(with_callers(rows, self._people, self.left_out))
        if self._from_chat and not self.has_ids:
            rows = with_message_ids(rows)
            if RECORDED in rows.columns:
                rows = rows.with_columns(rank_of(rows[RECORDED]))
        return rows

    def timeframes(self) -> set[str]:
        """Return the lengths that the rows say their candles have."""
        return {name_of(length) for cells in self.lengths.values() for said in cells.values() for length in said}

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

    def __init__(
        self, name: str, table: Table, schema: pa.Schema, mint: str | None, chats: Reading | None = None
    ) -> None:
        self._schema = schema
        super().__init__(name, table, schema.names, mint, chats)
        self._types = {**table.types, **{extra: extra_type(extra) for extra in self._extras}}
        for column, place in {**self._columns, **self._extras}.items():
            field = schema.field(place)
            if (why := why_unusable(field, self._types[column])) is not None:
                raise LakeError(f"{name}: column {plain(field.name)} {why}")

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

    def __init__(self, frame: pl.DataFrame, table: Table) -> None:
        with reading("frame"):
            self._rows = frame.to_arrow()
            super().__init__("frame", table, self._rows.schema, None)

    def _record_batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._rows.select(names).to_batches(BATCH_ROWS)


class ParquetSource(ArrowSource):
    """A Parquet file."""

    def __init__(self, name: str, path: Path, table: Table, mint: str | None, chats: Reading | None = None) -> None:
        self._path = path
        with self._readable(name):
            schema = pq.read_schema(path)
        super().__init__(name, table, schema, mint, chats)

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
            self._readable(self.name),
            pq.ParquetFile(
                self._path, read_dictionary=texts, pre_buffer=False, coerce_int96_timestamp_unit="us"
            ) as file,
        ):
            yield from file.iter_batches(BATCH_ROWS, columns=names, use_threads=False)  # others have work to do

    @contextmanager
    def _readable(self, name: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise LakeError(f"{name} is not a readable Parquet file: {plain(error, 300)}") from None


class CsvSource(Source):
    """A comma-separated file with a header."""

    def __init__(self, name: str, path: Path, table: Table, mint: str | None, chats: Reading | None = None) -> None:
        self._path = path
        try:
            header, *rest = read_head(path) or [[]]
        except ValueError as error:
            raise LakeError(f"{name}: {error}") from None
        self._width = len(header)
        try:
            super().__init__(name, table, header, mint, chats)
        except _MissingColumnError as error:
            hint = _why_no_header(header, rest[0] if rest else [], table)
            raise (_MissingColumnError(error.what, hint) if hint else error) from None

    def _frames(self, columns: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        """Yield columns of text; every column is read, for a line that is too long shows only then."""
        names = [str(place) for place in range(self._width)]
        lines = pl.scan_csv(self._path, infer_schema=False, glob=False, with_column_names=lambda _: names)
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
        """Count lines as an editor does: the header is line 1, a quoted line break counts."""
        wanted = set(rows)
        places = {}
        for record, line, _ in _csv_records(self.name, self._path):
            if record - 1 in wanted:
                places[record - 1] = f"line {line}"
            if len(places) == len(wanted):
                break
        return places

    def _first_ragged_line(self) -> str | None:
        width = None
        for _, line, fields in _csv_records(self.name, self._path):
            width = width or len(fields)
            if len(fields) > width:
                return f"line {line} has {len(fields)} fields, the header has {width}"
        return None


class ChatSource(Source):
    """A Telegram export: its messages are not rows in columns, but what comes of them is."""

    def __init__(self, name: str, path: Path, chats: Reading) -> None:
        super().__init__(name, CALLS, list(CALLS.types), None)  # who is who was looked up with the message
        self._export = ChatExport(path, name, chats)
        self._messages: dict[int, str] = {}

    def _frames(self, columns: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        calls = self._export.calls()
        schema = {name: pl.Datetime("ms") if dtype == TIMESTAMP else dtype for name, dtype in CALLS.types.items()}
        while True:
            frame = pl.DataFrame(list(islice(calls, BATCH_ROWS)), schema=schema, orient="row")
            if frame.is_empty():
                break
            yield frame.select(list(columns))
        self.left_out = Counter({str(reason): count for reason, count in self._export.skipped.most_common()})
        self.remarks = [f"{count:,} {said}" for said, count in self._export.remarks.most_common()]

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


def check_readable(files: Sequence[Path]) -> None:
    """Refuse paths that are not files before any work is done.

    Raises:
        LakeError: naming the first such path.
    """
    if not files:
        raise LakeError("no file was given: name at least one CSV or Parquet file")
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


def _unpacked(path: Path, scratch: Path) -> Path:
    target, packed_size = scratch / f"unpacked-{uuid.uuid4().hex}", path.stat().st_size
    try:
        with gzip.open(path) as packed, target.open("wb") as plain_file:
            while chunk := _read(packed, 1 << 20, path):
                plain_file.write(chunk)
                if (size := plain_file.tell()) > HARMLESS_BYTES and size > LARGEST_RATIO * packed_size:
                    raise LakeError(f"{path} unpacks to over {LARGEST_RATIO} times its size: unpack it and look at it")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise LakeError(f"{path} is a broken gzip file: {error}") from None
    return target


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return _read(file, len(magic), path) == magic


def _read(file: BufferedIOBase, size: int, path: Path) -> bytes:
    """Read bytes; where the disk does not give them it is about this file, unlike what goes wrong in writing."""
    try:
        return file.read(size)
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        raise LakeError(f"{path} cannot be read: {error.strerror}") from None


def _caller_of(name: str, found: Sequence[str], chats: Reading | None) -> str | None:
    """Return who calls in a file that does not say: whoever is named, or of signals the file's own name.

    Signals have the levels of a plan; what has none may be anything.
    """
    places = _places(found)
    given = chats.caller if chats is not None else None
    if _candidates("caller", CALLS, places):
        if given is not None:
            raise LakeError(f"{name} has a column of callers: a caller can be given only to a file that has none")
        return None
    if given is not None:
        return given
    levels = [_candidates(column, CALLS, places) for column in ("entry_price", "stop_price", "targets")]
    has_levels = sum(map(bool, levels)) + any(extra.startswith(TARGET) for extra in extras_of(name, places)) > 1
    return readable_name(Path(name).name.partition(".")[0]) if has_levels else None


def _match(
    name: str, table: Table, found: Sequence[str], mint: str | None, given: Collection[str] = ()
) -> dict[str, int]:
    """Map canonical names to positions, but for what is given otherwise; an exact name wins over an alias."""
    places = _places(found)
    matched, missing = {}, []
    for column in table.types:
        candidates = _candidates(column, table, places)
        names = [plain(found[place]) for place in candidates]
        if mint is not None and column == "mint":
            if names:
                raise LakeError(f"{name} has a column {names[0]}: a mint can be given only to a file that has none")
        elif len(candidates) > 1:
            raise LakeError(f"{name}: {' and '.join(names)} could both be {column}: rename or drop one")
        elif candidates:
            matched[column] = candidates[0]
        elif column in table.columns and column not in given:
            missing.append(column)
    if missing:
        aliases = {column: "/".join(table.aliases[column][:ALIASES_SHOWN]) for column in table.columns}
        needed = ", ".join(f"{column} (or {others})" for column, others in aliases.items() if column not in given)
        shown = listed([plain(column) for column in found]) or "none"
        say_whose = "; if all rows are of one token, say which: --mint MINT, or a directory mint=MINT in the inbox"
        say_who = "; if all calls are of one caller, say whose: --caller NAME, or a directory caller=NAME in the inbox"
        raise _MissingColumnError(
            f"{name} has no column {', '.join(missing)}",
            f"{table.name} need {needed}; found {shown}"
            + (say_whose if missing == ["mint"] and table is CANDLES else "")
            + (say_who if "caller" in missing else ""),
        )
    return matched


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
    """Say what line 1 of a CSV is, if it is not the header or not separated by commas; null if it seems to be."""
    shown = plain(",".join(header))
    if _is_header(second, table) and not _is_header(header, table):
        return f"line 1 is '{shown}', the header comes after it: delete line 1"
    if not shown.strip():
        return "line 1 is blank: the header must be there"
    separator = separator_of(",".join(header))
    if separator is not None:
        return f"the columns are separated by {separator} - commas are needed"
    if all(VALUE.fullmatch(field.strip()) for field in header[1:] or header):
        return f"line 1 is '{shown}', which are values: the header must be there"
    return None


def _is_header(fields: Sequence[str], table: Table) -> bool:
    """Return whether a line names most of the columns, whatever separates them."""
    names = _places(re.split(r"[,;|\t]", ",".join(fields)))
    return sum(bool(_candidates(column, table, names)) for column in table.columns) > len(table.columns) // 2


def _csv_records(name: str, path: Path) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (record, first line, fields); record 0 is the header."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        line = 1
        try:
            for record, fields in enumerate(reader):
                yield record, line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise LakeError(f"{name}, line {line} is not CSV: {error}") from None
