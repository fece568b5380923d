"""Send files: whole or in part, as they are or converted on the way, never a whole one in memory."""

import io
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import polars as pl
import pyarrow.parquet as pq
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from lab_pipeline.api.errors import RangeError
from lab_pipeline.api.limiter import Limiter
from lab_pipeline.api.schemas.artifacts import FileFormat
from lab_pipeline.domain.text import FORMULA

CHUNK_BYTES = 1 << 18
ROWS_AT_ONCE = 5_000
"""Converted together; what a client does not take stays in memory for as long."""
LONG_BYTES = 1 << 20
"""Of an answer that is made as a whole: one that is longer stays in memory until its reader has taken it."""
REMEMBERED = 1_000
"""Tables of which it is known where in their converted forms each batch of rows ends."""
MEDIA_TYPES = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "html": "text/html; charset=utf-8",
}
ONE_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)
MILLISECONDS = "%Y-%m-%dT%H:%M:%S.%3fZ"


class Held(StreamingResponse):
    """What is sent for as long as the client takes to read it, and holds a place meanwhile."""

    def __init__(
        self,
        body: AsyncGenerator[str | bytes],
        place: ExitStack,
        status: int = 200,
        *,
        headers: dict[str, str] | None = None,
        media_type: str,
    ) -> None:
        super().__init__(body, status, headers, media_type)
        self._body, self._place = body, place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; the place is free afterwards, whatever happens."""
        with self._place:
            async with aclosing(self._body):
                await super().__call__(scope, receive, send)


def send_text(text: str, media_type: str, place: ExitStack, places: Limiter) -> Response:
    """Answer with a text that has been made; one so long that it waits for its reader takes a place meanwhile.

    Raises:
        UnavailableError: if all are taken.
    """
    body = text.encode()
    if len(body) <= LONG_BYTES:
        return Response(body, media_type=media_type)
    place.enter_context(places.one())
    return Held(_pieces(body), place.pop_all(), headers={"Content-Length": str(len(body))}, media_type=media_type)


async def _pieces(body: bytes) -> AsyncGenerator[bytes]:
    for first in range(0, len(body), CHUNK_BYTES):
        yield body[first : first + CHUNK_BYTES]


async def in_threads(chunks: Generator[bytes], threads: CapacityLimiter) -> AsyncGenerator[bytes]:
    """Take chunk by chunk in threads of their own, each when the one before has been sent."""
    try:
        while (chunk := await to_thread.run_sync(next, chunks, None, limiter=threads)) is not None:
            yield chunk
    finally:
        chunks.close()


def send_file(
    request: Request, path: Path, name: str, kind: str, etag: str, place: ExitStack, threads: CapacityLimiter
) -> Response:
    """Answer with a file: all of it, a part (`Range`), or that the client has it (`If-None-Match`).

    Raises:
        RangeError: if the part begins beyond its end.
        FileNotFoundError: if the file is gone.
    """
    headers = _headers(PurePosixPath(name).name, etag)
    if _has_it(request, etag):
        return Response(status_code=304, headers=headers)
    with ExitStack() as opened:
        file = opened.enter_context(path.open("rb", buffering=0))
        size = os.fstat(file.fileno()).st_size
        part = _part(request, size, etag)
        first, last = part or (0, size - 1)
        place.enter_context(opened.pop_all())
    chunks = _chunks(file, first, last - first + 1)
    return _sent(chunks, place, threads, headers, MEDIA_TYPES[kind], part, size)


def send_converted(
    request: Request, path: Path, name: str, form: FileFormat, etag: str, place: ExitStack, threads: CapacityLimiter
) -> Response:
    """Answer with the rows of a Parquet file as CSV or as a JSON array, converted batch by batch; else as `send_file`.

    Of a table that has not been converted yet the size is found by doing it once; later, parts are converted alone.

    Raises:
        RangeError: if the part begins beyond its end.
        FileNotFoundError: if the file is gone.
    """
    headers = _headers(PurePosixPath(name).with_suffix(f".{form}").name, etag)
    if _has_it(request, etag):
        return Response(status_code=304, headers=headers)
    batches = _measured(path, form, etag)
    size = batches.ends[-1]
    part = _part(request, size, etag)
    first, last = part or (0, size - 1)
    chunks = _converted(path, form, batches, first, last - first + 1)
    return _sent(chunks, place, threads, headers, MEDIA_TYPES[form], part, size)


def _sent(
    chunks: Generator[bytes],
    place: ExitStack,
    threads: CapacityLimiter,
    headers: dict[str, str],
    media_type: str,
    part: tuple[int, int] | None,
    size: int,
) -> Response:
    first, last = part or (0, size - 1)
    headers["Content-Length"] = str(last - first + 1)
    if part:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    body = in_threads(chunks, threads)
    return Held(body, place.pop_all(), 206 if part else 200, headers=headers, media_type=media_type)


def _headers(name: str, etag: str) -> dict[str, str]:
    return {
        "ETag": f'"{etag}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }


def _has_it(request: Request, etag: str) -> bool:
    known = [text.strip().removeprefix("W/") for text in request.headers.get("if-none-match", "").split(",")]
    return "*" in known or f'"{etag}"' in known


def _part(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """Return first and last byte of the part that is asked for; None for all, as for several parts or nonsense."""
    found = ONE_RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or request.headers.get("if-range", f'"{etag}"') != f'"{etag}"' or found[1] + found[2] == "":
        return None
    if found[1] == "":
        wanted = int(found[2])
        if wanted == 0 or size == 0:
            raise RangeError(size)
        return max(0, size - wanted), size - 1
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < first:
        return None
    if first >= size:
        raise RangeError(size)
    return first, last


def _chunks(file: io.FileIO, offset: int, left: int) -> Generator[bytes]:
    while left > 0:
        chunk = os.pread(file.fileno(), min(CHUNK_BYTES, left), offset)
        if not chunk:
            raise OSError(f"{file.name} is shorter than it was")
        offset += len(chunk)
        left -= len(chunk)
        yield chunk


@dataclass(frozen=True)
class _Batches:
    """Where the batches of rows are in the converted form of a table.

    Attributes:
        ends: where each ends; the last is the end of the whole.
        groups: the row group of the table that each is of.
    """

    ends: tuple[int, ...]
    groups: tuple[int, ...]


@lru_cache(REMEMBERED)
def _measured(path: Path, form: FileFormat, etag: str) -> _Batches:  # noqa: ARG001 - it tells one content from the next
    end, ends, groups = 0, [], []
    for group, chunk in _convert(path, form):
        end += len(chunk)
        ends.append(end)
        groups.append(group)
    return _Batches(tuple(ends), tuple(groups))


def _converted(path: Path, form: FileFormat, batches: _Batches, offset: int, left: int) -> Generator[bytes]:
    """Convert the row groups that a part is in, and cut it out of them."""
    group = batches.groups[bisect_right(batches.ends, offset)]
    before = bisect_left(batches.groups, group)
    offset -= batches.ends[before - 1] if before else 0
    for _, chunk in _convert(path, form, group):
        piece = chunk[offset : offset + left]
        offset, left = max(0, offset - len(chunk)), left - len(piece)
        if piece:
            yield piece
        if left == 0:
            return


def _convert(path: Path, form: FileFormat, first_group: int = 0) -> Generator[tuple[int, bytes]]:
    """Iterate over the batches of a table in its converted form, each with its row group."""
    convert, tail = (_csv, b"") if form is FileFormat.CSV else (_json, b"]\n")
    with pq.ParquetFile(path) as table:
        groups = table.metadata.num_row_groups
        first = first_group == 0
        for group in range(first_group, groups):
            for batch in table.iter_batches(ROWS_AT_ONCE, row_groups=[group]):
                yield group, convert(pl.DataFrame(pl.from_arrow(batch)), first)
                first = False
        if first:  # no rows: for the sake of the header
            yield 0, convert(pl.DataFrame(pl.from_arrow(table.read())), first)
        yield groups, tail


def as_csv(frame: pl.DataFrame) -> bytes:
    """Write a small table as CSV, in the form in which tables of any size are sent."""
    return _csv(frame, first=True)


def _csv(rows: pl.DataFrame, first: bool) -> bytes:  # noqa: FBT001 - of two functions that are called alike
    return _as_text(rows).write_csv(include_header=first, datetime_format=MILLISECONDS).encode()


def _as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before text that a spreadsheet would calculate, and semicolons between the items of a list."""
    text = pl.col(pl.String)
    return frame.with_columns(
        pl.when(text.str.contains(FORMULA)).then("'" + text).otherwise(text).name.keep()
    ).with_columns(pl.col(pl.List(pl.Float64)).cast(pl.List(pl.String)).list.join(";"))


def _json(rows: pl.DataFrame, first: bool) -> bytes:  # noqa: FBT001
    plain = rows.with_columns(pl.col(pl.Datetime).dt.strftime(MILLISECONDS), pl.col(pl.Float64).fill_nan(None))
    return (b"[" if first else b",\n") + plain.write_json()[1:-1].encode()
