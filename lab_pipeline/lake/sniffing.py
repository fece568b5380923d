"""Tell what a file is that is neither CSV nor Parquet, in words that say what to do."""

import csv
import re
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

NEEDED = "CSV or Parquet is needed"
ZIP = "a ZIP file: unpack it"
MAGICS = {
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,
    b"\xfd7zXZ\x00": "an xz file: unpack it",
    b"\x28\xb5\x2f\xfd": "a Zstandard file: unpack it",
    b"\x04\x22\x4d\x18": "an LZ4 file: unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z file: unpack it",
    b"Rar!\x1a\x07": "a RAR file: unpack it",
    b"\x1f\x8b": "a gzip file within a gzip file: unpack it",
    b"ARROW1": f"an Arrow (Feather) file: {NEEDED}",
    b"FEA1": f"a Feather file: {NEEDED}",
    b"\xff\xff\xff\xff": f"an Arrow stream: {NEEDED}",
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
JSON, MARKUP = re.compile(rb"\s*[\[{]"), re.compile(rb"\s*<[!?h]", re.IGNORECASE)
TAR_MAGIC, TAR_AT = b"ustar", 257
DUCKDB_MAGIC, DUCKDB_AT = b"DUCK", 8
HEAD_BYTES = 1 << 16
LONGEST_LINE = 1 << 20
"""Bytes of a line that may be a header or a record."""
SHOWN = 60
"""Characters of a value that a message shows."""
COLUMNS_SHOWN = 20
SEPARATORS = {";": ";", "\t": "tabs", "|": "|"}


def what_else(path: Path) -> str | None:
    """Say what a file that is no Parquet is, if it is not text in lines either; null if it may be CSV."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    for magic, what in MAGICS.items():
        if head.startswith(magic) and (b"\x00" in head or not magic.isalnum()):
            return _in_a_zip(path) or what if what is ZIP else what
    if BZIP2.match(head):
        return "a bzip2 file: unpack it"
    if head[TAR_AT:].startswith(TAR_MAGIC):
        return "a tar archive: unpack it"
    if head[DUCKDB_AT:].startswith(DUCKDB_MAGIC):
        return f"a DuckDB database: {NEEDED}"
    if b"\x00" in head:
        return _with_zeros(head)
    if b"\r" in head and b"\n" not in head:
        return "text whose lines end in CR alone, as on old Macs: save it with LF or CRLF"
    text = head.removeprefix(b"\xef\xbb\xbf")
    if JSON.match(text):
        return f"JSON: {NEEDED}"
    return f"HTML or XML: {NEEDED}" if MARKUP.match(text) else None


def read_head(path: Path) -> list[list[str]]:
    """Read the first two records of a CSV.

    Raises:
        ValueError: saying what is wrong with them.
    """
    with path.open("rb") as file:
        if len(file.readline(LONGEST_LINE)) == LONGEST_LINE:
            raise ValueError(f"line 1 is longer than a header can be: {NEEDED}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(islice(csv.reader(file), 2))
    except UnicodeDecodeError:
        raise ValueError(not_utf8(path) or "save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"its first lines are not CSV: {error}") from None


def not_utf8(path: Path) -> str | None:
    """Name the first line that is not UTF-8; null if all are."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"line {number} has an invalid utf-8 sequence (byte {line[error.start]:#04x}): save it as UTF-8"
    return None


def separator_of(line: str) -> str | None:
    """Name what separates the columns of a line, if that is not the comma."""
    counts = {name: line.count(sign) for sign, name in SEPARATORS.items()}
    most = max(counts, key=counts.__getitem__)
    return most if counts[most] > line.count(",") else None


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


def _in_a_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as packed:
            names = packed.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    sheets = {"xl/workbook.xml", "xl/workbook.bin", "content.xml"}
    return "a workbook (Excel, OpenDocument): save its sheet as CSV UTF-8" if sheets & set(names) else None


def _with_zeros(head: bytes) -> str:
    evens, odds = head[::2].count(0), head[1::2].count(0)
    if max(evens, odds) > len(head) // 4 and min(evens, odds) == 0:
        return "UTF-16 text: save it as UTF-8"
    return f"neither text nor Parquet, from line {head[: head.index(0)].count(10) + 1}: {NEEDED}"
