"""Open what a user hands over, CSV or Parquet, plain or gzip, as batches of raw columns under canonical names."""

import csv
import gzip
import uuid
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.layout import Table

BATCH_ROWS = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
ROW = "row"
"""Column with the position of a record in its source, from 0."""


def open_source(path: Path, table: Table, scratch: Path) -> "Source":
    """Open one file, whatever its kind; its first bytes decide, not its name.

    Args:
        path: CSV or Parquet, plain or gzip.
        table: what its rows are.
        scratch: directory that outlives the source; compressed files are unpacked into it.

    Raises:
        LakeError: if it is empty, broken, or has not the columns that are needed.
    """
    plain = _unpacked(path, scratch) if _starts_with(path, GZIP_MAGIC) else path
    if plain.stat().st_size == 0:
        raise LakeError(f"{path} is empty: {table.name} come as CSV with a header, or as Parquet")
    if _starts_with(plain, PARQUET_MAGIC):
        return ParquetSource(str(path), plain, table)
    if {".parquet", ".pq"} & set(path.suffixes):
        raise LakeError(f"{path} is not a Parquet file: it does not start with PAR1")
    return CsvSource(str(path), plain, table)


class Source:
    """Rows from one place, in order, as they stand there.

    Attributes:
        name: how errors call it.
        ignored: columns that are not used.
    """

    def __init__(self, name: str, table: Table, found: Sequence[str]) -> None:
        self.name = name
        self._columns = _match(name, table, found)
        self.ignored = [column for column in found if column not in self._columns.values()]

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the table's columns, of whatever type the source has, and `ROW`."""
        raise NotImplementedError

    def positions(self, rows: Sequence[int]) -> dict[int, str]:
        """Say where records are, in the words of the source's own kind."""
        return {row: f"row {row}" for row in rows}

    def _select(self, frame: pl.DataFrame, offset: int) -> pl.DataFrame:
        columns = [pl.col(source).alias(name) for name, source in self._columns.items()]
        return frame.select(columns).with_row_index(ROW, offset)


class FrameSource(Source):
    """A frame in memory."""

    def __init__(self, frame: pl.DataFrame, table: Table) -> None:
        super().__init__("frame", table, frame.columns)
        self._frame = frame

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield slices of the frame."""
        for offset in range(0, self._frame.height, BATCH_ROWS):
            yield self._select(self._frame.slice(offset, BATCH_ROWS), offset)


class ParquetSource(Source):
    """A Parquet file."""

    def __init__(self, name: str, path: Path, table: Table) -> None:
        self._path = path
        try:
            found = pq.read_schema(path).names
        except (pa.ArrowException, OSError) as error:
            raise LakeError(f"{name} is not a readable Parquet file: {error}") from None
        super().__init__(name, table, found)

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield record batches, only of the columns that are used."""
        offset = 0
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=list(self._columns.values())):
                    frame = pl.DataFrame(batch)
                    yield self._select(frame, offset)
                    offset += frame.height
        except (pa.ArrowException, OSError) as error:
            raise LakeError(f"{self.name} is not a readable Parquet file: {error}") from None


class CsvSource(Source):
    """A comma-separated file with a header."""

    def __init__(self, name: str, path: Path, table: Table) -> None:
        self._path = path
        super().__init__(name, table, _read_csv_header(name, path))

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield columns of text; lines with nothing on them are left out, as an editor's last line is."""
        lines = pl.scan_csv(self._path, infer_schema=False, glob=False)
        offset = 0
        try:
            for frame in lines.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
                selected = self._select(frame, offset)
                offset += frame.height
                yield selected.filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise LakeError(f"{self.name}: {self._first_ragged_line() or error}") from None

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
        try:
            path.open("rb").close()
        except OSError as error:
            raise LakeError(f"{path} cannot be read: {error.strerror}") from None


def _unpacked(path: Path, scratch: Path) -> Path:
    target = scratch / f"unpacked-{uuid.uuid4().hex}"
    try:
        with gzip.open(path) as packed, target.open("wb") as plain:
            while chunk := _read(packed, 1 << 20, path):
                plain.write(chunk)
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


def _match(name: str, table: Table, found: Sequence[str]) -> dict[str, str]:
    """Map canonical names to the source's; an exact name wins over an alias."""
    lower: dict[str, list[str]] = {}
    for column in found:
        lower.setdefault(column.strip().lower(), []).append(column)
    matched, missing = {}, []
    for column in table.columns:
        candidates = lower.get(column) or [c for alias in table.aliases[column] for c in lower.get(alias, [])]
        if len(candidates) > 1:
            raise LakeError(f"{name}: {' and '.join(candidates)} could both be {column}: rename or drop one")
        if candidates:
            matched[column] = candidates[0]
        else:
            missing.append(column)
    if missing:
        needed = ", ".join(f"{column} (or {'/'.join(table.aliases[column])})" for column in table.columns)
        raise LakeError(
            f"{name} has no column {', '.join(missing)}: {table.name} need {needed}; found {', '.join(found) or 'none'}"
        )
    return matched


def _read_csv_header(name: str, path: Path) -> list[str]:
    try:
        return pl.read_csv(path, n_rows=0, infer_schema=False, glob=False).columns
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LakeError(f"{name} is not a readable CSV file: {error}") from None


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
