"""Rows out of JSON: an array of objects or of arrays, an object a line, or an answer of Birdeye or GeckoTerminal.

Values stay text as in CSV, so that nothing is rounded. Arrays and lines are read block by block, however long they are.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.shapes import TIME_FIRST
from lab_pipeline.lake.sniffing import BYTE_ORDER_MARK, HEAD_RECORDS, LONGEST_LINE, listed, plain

BLOCK_BYTES = 1 << 23
LARGEST_ANSWER = 1 << 26
"""Bytes of a document that is read as a whole; answers have a few thousand rows."""
LONGEST_ROW = 1 << 26
BETWEEN_OBJECTS, BETWEEN_ARRAYS = re.compile(rb"\}\s*,\s*\{"), re.compile(rb"\]\s*,\s*\[")
MOST_CUTS = 8
"""Places at which a block is tried to be cut: a text, or an object in a row, may hold what lies between two rows."""
TAIL_BYTES = 1 << 16
NESTED = re.compile(rb"[\[\]{}\\]")
SPACE, APART = re.compile(rb"\s"), re.compile(rb"[^,\s]\s+[^,\s]")
BIRDEYE, GECKOTERMINAL = "an answer of Birdeye", "an answer of GeckoTerminal"
WHERE_ROWS_ARE = (
    "rows are needed in an array, as one object a line, or in an answer of Birdeye (data.items) or GeckoTerminal "
    "(data.attributes.ohlcv_list)"
)


class Rows:
    """Rows of one file.

    Attributes:
        kind: what the file is, in a few words.
        columns: the names of its columns; empty if they have none, and are "0", "1", ... in frames.
        mints: the token that the rows are of and the one that it is traded against, if that is said once for all.
        volume_in_quote: whether volume counts what prices are in, instead of tokens.
    """

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.columns: list[str] = []
        self.mints: tuple[str, ...] = ()
        self.volume_in_quote = False

    def frames(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield columns of text, block by block; null where a row does not have one."""
        raise NotImplementedError


def open_rows(name: str, path: Path) -> Rows:
    """Find the rows of a JSON file.

    Raises:
        LakeError: if it is none, or has no rows where any are known to be.
    """
    lines = _first_lines(path)
    first = next(lines, b"")
    if first.startswith(b"["):
        match (first[1:].lstrip() or next(lines, b""))[:1]:
            case b"{":
                return ObjectRows(name, path, lines=False)
            case b"[":
                return ArrayRows(name, path)
            case b"]":
                raise LakeError(f"{name} has no rows: it is an empty array")
            case _:
                raise LakeError(f"{name} is JSON, an array of neither objects nor arrays, which rows must be")
    try:
        one = _exact(first)
    except ValueError:
        one = _document(name, path)
    if (answer := _answer(name, one)) is not None:
        return answer
    if not next(lines, b"").startswith(b"{") and any(map(_is_nested, one.values())):
        raise LakeError(f"{name} is JSON, an object of {listed([plain(key) for key in one])}: {WHERE_ROWS_ARE}")
    return ObjectRows(name, path, lines=True)


class ObjectRows(Rows):
    """Objects in an array, or one a line."""

    def __init__(self, name: str, path: Path, *, lines: bool) -> None:
        super().__init__(name, "JSON, one object a line" if lines else "JSON, an array of objects")
        self._path, self._lines = path, lines
        for _, frame in self._blocks(None):
            self.columns = frame.columns
            break

    def frames(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Refuse keys that come only behind the first rows: they would be lost without a word."""
        for body, frame in self._blocks(names):
            if body.count(b'":') != frame.height * len(self.columns):  # else no row has others
                later = [key for key in self._parsed(body, None).columns if key not in self.columns]
                if later:
                    raise LakeError(
                        f"{self.name} has a key {plain(later[0])} that its first rows do not have: give every row "
                        "every key, null where it has no value"
                    )
            yield frame

    def _blocks(self, names: Sequence[str] | None) -> Iterator[tuple[bytes, pl.DataFrame]]:
        """Yield whole rows as they stand there, and as a frame of some columns, or of all in whatever types."""
        if self._lines:
            for body in _whole_lines(self._path):
                yield body, self._parsed(body, names)
            return
        rest = b""
        for chunk in _inside(self.name, self._path):
            rest += chunk
            for body, behind in _cuts(BETWEEN_OBJECTS, rest):
                with suppress(LakeError):  # it was cut within a row
                    frame = self._parsed(body, names)
                    rest = behind
                    yield body, frame
                    break
            if len(rest) > LONGEST_ROW:
                break
        yield rest, self._parsed(rest, names)

    def _parsed(self, body: bytes, names: Sequence[str] | None) -> pl.DataFrame:
        schema = None if names is None else dict.fromkeys(names, pl.String())
        on_lines = body if self._lines else BETWEEN_OBJECTS.sub(b"}\n{", body)
        if names is None:  # what infers types takes blanks before an object for a row
            on_lines = b"\n".join(line for one in on_lines.splitlines() if (line := one.strip()))
        try:
            return pl.read_ndjson(io.BytesIO(on_lines), schema=schema, infer_schema_length=None)
        except pl.exceptions.PolarsError as error:
            wrong = error
        if not self._lines:
            with suppress(pl.exceptions.PolarsError):  # in a text lies what lies between rows: half as fast, but exact
                return pl.read_json(io.BytesIO(b"[" + body + b"]"), schema=schema, infer_schema_length=None)
        first, *_ = str(wrong).splitlines() or [""]
        raise LakeError(f"{self.name} is not JSON of one object a row: {plain(first, 300)}") from None


class ArrayRows(Rows):
    """Arrays in an array, all of plain values."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name, "JSON, an array of arrays")
        self._path = path

    def frames(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield columns by their positions."""
        for body in self._bodies():
            yield self._parsed(body).select(names)

    def head(self) -> list[list[str | None]]:
        """Return the first rows."""
        rows: list[list[str | None]] = []
        for body in self._bodies():
            rows += [list(row) for row in self._parsed(body).head(HEAD_RECORDS).iter_rows()]
            if len(rows) >= HEAD_RECORDS:
                break
        return rows

    def _bodies(self) -> Iterator[bytes]:
        """Yield whole rows as they stand there."""
        rest = b""
        for chunk in _inside(self.name, self._path):
            rest += chunk
            for body, behind in _cuts(BETWEEN_ARRAYS, rest):
                rest = behind
                yield body
                break
            if len(rest) > LONGEST_ROW:
                raise LakeError(f"{self.name} is not JSON of one array a row")
        yield rest

    def _parsed(self, body: bytes) -> pl.DataFrame:
        inside = body.strip()
        if not (inside.startswith(b"[") and inside.endswith(b"]")):
            raise LakeError(f"{self.name} is not JSON of one array a row")
        try:
            if b'"' not in inside and not APART.search(inside):
                inside = inside.translate(None, b" \t\r\n")
            if SPACE.search(inside) or b"\\" in inside or inside.count(b'"') % 2:
                rows = [[_text(value) for value in row] for row in _exact(b"[" + inside + b"]")]
                width = len(rows[0])
                if {len(row) for row in rows} != {width}:
                    raise LakeError(f"{self.name} has rows of different length")
                return pl.DataFrame(rows, schema={str(n): pl.String for n in range(width)}, orient="row")
            on_lines = BETWEEN_ARRAYS.sub(b"\n", inside[1:-1])
            if NESTED.search(on_lines):
                raise LakeError(f"{self.name} has rows that hold more than plain values")
            frame = pl.read_csv(on_lines, has_header=False, infer_schema=False, null_values=["null"])
        except (ValueError, pl.exceptions.PolarsError) as error:
            first, *_ = str(error).splitlines() or [""]
            raise LakeError(f"{self.name} is not JSON of one array a row: {plain(first, 300)}") from None
        return frame.rename({column: str(place) for place, column in enumerate(frame.columns)})


class Answer(Rows):
    """An answer of an API, which fits into memory."""

    def __init__(self, name: str, kind: str, columns: Sequence[str], rows: list[list[str | None]]) -> None:
        super().__init__(name, kind)
        self.columns = list(columns)
        self._rows = rows

    def frames(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield all rows at once."""
        cells = {name: [row[self.columns.index(name)] for row in self._rows] for name in names}
        yield pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String()))


def _answer(name: str, one: dict[str, Any]) -> Answer | None:
    """Read what an API answered; null if it is no answer of one that is known."""
    if one.get("success") is False or isinstance(one.get("errors"), list):
        said = one.get("message") or one.get("errors")
        raise LakeError(f"{name} is an answer that holds an error instead of rows: {plain(said, 200)}")
    data = one.get("data")
    if not isinstance(data, dict):
        return None
    if isinstance(items := data.get("items"), list) and all(isinstance(item, dict) for item in items):
        columns = list(dict.fromkeys(key for item in items for key in item))
        return Answer(
            name, BIRDEYE, columns or ["items"], [[_text(item.get(key)) for key in columns] for item in items]
        )
    attributes = data.get("attributes")
    rows = attributes.get("ohlcv_list") if isinstance(attributes, dict) else None
    if not isinstance(rows, list):
        return None
    if any(not isinstance(row, list) or len(row) != len(TIME_FIRST) for row in rows):
        raise LakeError(f"{name} is {GECKOTERMINAL} whose rows are not of {len(TIME_FIRST)} values each")
    answer = Answer(name, GECKOTERMINAL, TIME_FIRST, [[_text(value) for value in row] for row in rows])
    meta = one.get("meta") or {}
    sides = [meta.get(side) or {} for side in ("base", "quote")]
    answer.mints = tuple(side["address"] for side in sides if side.get("address"))
    answer.volume_in_quote = True
    return answer


def _document(name: str, path: Path) -> dict[str, Any]:
    if (size := path.stat().st_size) > LARGEST_ANSWER:
        raise LakeError(f"{name} is JSON, an object of {size >> 20:,} MiB: {WHERE_ROWS_ARE}")
    try:
        one = _exact(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LakeError(f"{name} is not JSON: {plain(error, 300)}") from None
    if not isinstance(one, dict):
        raise LakeError(f"{name} is JSON of a single value: {WHERE_ROWS_ARE}")
    return one


def _exact(text: bytes) -> Any:  # noqa: ANN401 - whatever it holds
    """Read JSON, numbers as the text that they are written as."""
    return json.loads(text.removeprefix(BYTE_ORDER_MARK), parse_float=str, parse_int=str)


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _is_nested(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict | list) for one in value))


def _first_lines(path: Path) -> Iterator[bytes]:
    """Yield the first lines that are not blank, without the spaces before them."""
    with path.open("rb") as file:
        start = file.read(len(BYTE_ORDER_MARK))
        file.seek(len(start) if start == BYTE_ORDER_MARK else 0)
        while line := file.readline(LONGEST_LINE):
            if stripped := line.lstrip():
                yield stripped


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        rest = b""
        while chunk := file.read(BLOCK_BYTES):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            if newline and whole.strip():
                yield whole.removeprefix(BYTE_ORDER_MARK)
        if rest.strip():
            yield rest.removeprefix(BYTE_ORDER_MARK)


def _inside(name: str, path: Path) -> Iterator[bytes]:
    """Yield what is between the outer brackets of an array, in blocks."""
    with path.open("rb") as file:
        chunk = file.read(BLOCK_BYTES).removeprefix(BYTE_ORDER_MARK).lstrip().removeprefix(b"[")
        while chunk:
            following = file.read(BLOCK_BYTES)
            while following and not following.strip():
                following = file.read(BLOCK_BYTES)
            if not following:
                body = chunk.rstrip()
                if not body.endswith(b"]"):
                    raise LakeError(f"{name} is cut off: its array has no end")
                chunk = body[:-1]
            yield chunk
            chunk = following


def _cuts(between: re.Pattern[bytes], body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield what is before and behind places that may lie between two rows, the last places first."""
    start = max(0, len(body) - TAIL_BYTES)
    places = list(between.finditer(body, start)) or (list(between.finditer(body)) if start else [])
    for place in places[: -MOST_CUTS - 1 : -1]:
        yield body[: place.start() + 1], body[place.end() - 1 :]
