"""Tell what a file is, and in words that say what to do if it is nothing that can be read."""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

NEEDED = "CSV, Parquet, Feather or JSON is needed"
MAGICS = {
    b"PK\x03\x04": "a ZIP file within another packed file: unpack it",
    b"PK\x05\x06": "a ZIP file within another packed file: unpack it",
    b"\xfd7zXZ\x00": "an xz file within another packed file: unpack it",
    b"\x28\xb5\x2f\xfd": "a Zstandard file within another packed file: unpack it",
    b"\x04\x22\x4d\x18": "an LZ4 file: unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z file: unpack it",
    b"Rar!\x1a\x07": "a RAR file: unpack it",
    b"\x1f\x8b": "a gzip file within another packed file: unpack it",
    b"FEA1": "a Feather file of version 1: write it as version 2",
    b"PARE": "an encrypted Parquet file: decrypt it",
    b"ORC": f"an ORC file: {NEEDED}",
    b"Obj\x01": f"an Avro file: {NEEDED}",
    b"\x89HDF": f"an HDF5 file: {NEEDED}",
    b"\x93NUMPY": f"a NumPy file: {NEEDED}",
    b"SQLite format 3\x00": f"an SQLite database: {NEEDED}",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save its sheet as CSV UTF-8",
    b"%PDF": f"a PDF: {NEEDED}",
    b"\xff\xfe\x00\x00": "UTF-32 text: save it as UTF-8",
    b"\x00\x00\xfe\xff": "UTF-32 text: save it as UTF-8",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
}
"""By its first bytes; where one is the start of another, the longer comes first. Letters may begin a header, too."""
BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
JSON, MARKUP = re.compile(rb"\s*[\[{]"), re.compile(rb"\s*<[!?h]", re.IGNORECASE)
TAR_MAGIC, TAR_AT = b"ustar", 257
DUCKDB_MAGIC, DUCKDB_AT = b"DUCK", 8
HEAD_BYTES = 1 << 16
LONGEST_LINE = 1 << 20
"""Bytes of a line that may be a header or a record."""
SHOWN = 60
"""Characters of a value that a message shows."""
COLUMNS_SHOWN = 20
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "|"}
"""Beside the comma, by how they are called."""
FEWEST_DECIMALS = 4
"""The prices of a candle."""
HEAD_RECORDS = 1_000
DECLARED_SEPARATOR = re.compile(r"\"?sep=([,;|\t])\"?", re.IGNORECASE)
ADDRESS = re.compile(r"(?:https?://|www\.)[^\s,;|]+", re.IGNORECASE)


def what_else(path: Path) -> str | None:
    """Say what a file is that is neither Parquet nor Arrow, nor text in lines; null if it may be CSV or JSON."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    for magic, what in MAGICS.items():
        if head.startswith(magic) and (b"\x00" in head or not magic.isalnum()):
            return what
    if BZIP2.match(head):
        return "a bzip2 file within another packed file: unpack it"
    if head[TAR_AT:].startswith(TAR_MAGIC):
        return "a tar archive: unpack it"
    if head[DUCKDB_AT:].startswith(DUCKDB_MAGIC):
        return f"a DuckDB database: {NEEDED}"
    if b"\x00" in head:
        return _with_zeros(head)
    if b"\r" in head and b"\n" not in head:
        return "text whose lines end in CR alone, as on old Macs: save it with LF or CRLF"
    return f"HTML or XML: {NEEDED}" if MARKUP.match(head.removeprefix(BYTE_ORDER_MARK)) else None


def workbook_in(names: Collection[str]) -> str | None:
    """Say what a ZIP of files of these names is, if it is a workbook."""
    sheets = {"xl/workbook.xml", "xl/workbook.bin", "content.xml"}
    return "a workbook (Excel, OpenDocument): save its sheet as CSV UTF-8" if sheets & set(names) else None


def is_json(path: Path) -> bool:
    """Return whether a text begins as JSON does."""
    with path.open("rb") as file:
        return JSON.match(file.read(HEAD_BYTES).removeprefix(BYTE_ORDER_MARK)) is not None


@dataclass(frozen=True)
class Head:
    """How a text in lines begins.

    Attributes:
        records: the first of them, a header if there is one.
        separator: what is between the columns.
        skipped: lines before the first record that are none: an address of a vendor, or `sep=;` for a spreadsheet.
    """

    records: list[list[str]]
    separator: str = ","
    skipped: int = 0


def read_head(path: Path) -> Head:
    """Read the first records of a CSV.

    Raises:
        ValueError: saying what is wrong with them.
    """
    with path.open("rb") as file:
        if len(file.readline(LONGEST_LINE)) == LONGEST_LINE:
            raise ValueError(f"line 1 is longer than a header can be: {NEEDED}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(LONGEST_LINE)
            declared = DECLARED_SEPARATOR.fullmatch(first.strip())
            skipped = int(bool(declared or ADDRESS.fullmatch(first.strip(' \t\r\n,;"'))))
            second = file.readline(LONGEST_LINE) if skipped else first
            separator = declared[1] if declared else separator_of(second)
            file.seek(0)
            for _ in range(skipped):
                file.readline()
            return Head(_first_records(csv.reader(file, delimiter=separator)), separator, skipped)
    except UnicodeDecodeError:
        raise ValueError(not_utf8(path) or "save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"its first lines are not CSV: {error}") from None


def _first_records(reader: Iterator[list[str]]) -> list[list[str]]:
    """Read records, without the blank ones behind the first; what is wrong behind two is left to who reads all."""
    records: list[list[str]] = []
    try:
        records += (record for record in islice(reader, HEAD_RECORDS) if record or not records)
    except csv.Error:
        if len(records) < len(("header", "record")):
            raise
    return records


def not_utf8(path: Path) -> str | None:
    """Name the first line that is not UTF-8; null if all are."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"line {number} has an invalid utf-8 sequence (byte {line[error.start]:#04x}): save it as UTF-8"
    return None


def separator_of(line: str) -> str:
    """Tell what separates the columns of a line: the comma, unless there is more of something else.

    >>> separator_of("time;open;high"), separator_of("1735689600;1,5;2,5;0,5;1,5;10,5")
    (';', ';')
    """
    counts = {sign: line.count(sign) for sign in SEPARATORS}
    most = max(counts, key=counts.__getitem__)
    commas = line.count(",")  # as many, where they are those of decimals
    return most if counts[most] > commas or counts[most] == commas >= FEWEST_DECIMALS else ","


def plain(text: object, longest: int = SHOWN) -> str:
    r"""Return a text as a terminal may show it: short, and what cannot be seen escaped.

    >>> plain("a\x1b[31m")
    'a\\x1b[31m'
    """
    whole = str(text)
    seen = "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in whole[:longest]
    )
    return seen + "…" if len(whole) > longest else seen


def listed(names: Sequence[str]) -> str:
    """Name the first columns, and how many more there are."""
    more = f" and {len(names) - COLUMNS_SHOWN:,} more" if len(names) > COLUMNS_SHOWN else ""
    return ", ".join(names[:COLUMNS_SHOWN]) + more


def _with_zeros(head: bytes) -> str:
    evens, odds = head[::2].count(0), head[1::2].count(0)
    if max(evens, odds) > len(head) // 4 and min(evens, odds) == 0:
        return "UTF-16 text: save it as UTF-8"
    return f"neither text nor Parquet, from line {head[: head.index(0)].count(10) + 1}: {NEEDED}"
