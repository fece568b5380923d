"""Send files: whole or in part, as they are or converted on the way, never a whole one in memory."""

import io
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lab_pipeline.api.errors import RangeError
from lab_pipeline.api.schemas.artifacts import FileFormat
from lab_pipeline.domain.text import FORMULA

CHUNK_BYTES = 1 << 20
ROWS_AT_ONCE = 50_000
MEDIA_TYPES = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "html": "text/html; charset=utf-8",
}
ONE_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)
MILLISECONDS = "%Y-%m-%dT%H:%M:%S.%3fZ"


def send_file(request: Request, path: Path, kind: str, etag: str) -> Response:
    """Answer with a file: all of it, a part (`Range`), or that the client has it (`If-None-Match`).

    Raises:
        RangeError: if the part begins beyond its end.
        FileNotFoundError: if the file is gone.
    """
    headers = _headers(path.name, etag) | {"Accept-Ranges": "bytes"}
    if _has_it(request, etag):
        return Response(status_code=304, headers=headers)
    file = path.open("rb", buffering=0)
    try:
        size = os.fstat(file.fileno()).st_size
        part = _part(request, size, etag)
    except BaseException:
        file.close()
        raise
    first, last = part or (0, size - 1)
    headers["Content-Length"] = str(last - first + 1)
    if part:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    body: AsyncIterator[bytes] = _chunks(file, first, last - first + 1)
    return StreamingResponse(body, 206 if part else 200, headers, media_type=MEDIA_TYPES[kind])


def send_converted(request: Request, path: Path, form: FileFormat, etag: str) -> Response:
    """Answer with the rows of a Parquet file as CSV or as a JSON array, converted batch by batch."""
    headers = _headers(path.with_suffix(f".{form}").name, etag) | {"Accept-Ranges": "none"}
    if _has_it(request, etag):
        return Response(status_code=304, headers=headers)
    rows = pq.ParquetFile(path)
    batches = _csv(rows) if form is FileFormat.CSV else _json(rows)
    return StreamingResponse(batches, headers=headers, media_type=MEDIA_TYPES[form])


def _headers(name: str, etag: str) -> dict[str, str]:
    return {
        "ETag": f'"{etag}"',
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


async def _chunks(file: io.FileIO, offset: int, left: int) -> AsyncIterator[bytes]:
    """Read ahead by nothing: the next chunk is read when the one before has been taken."""
    try:
        while left > 0:
            chunk = await to_thread.run_sync(os.pread, file.fileno(), min(CHUNK_BYTES, left), offset)
            if not chunk:
                raise OSError(f"{file.name} is shorter than it was")
            offset += len(chunk)
            left -= len(chunk)
            yield chunk
    finally:
        file.close()


def _csv(rows: pq.ParquetFile) -> Iterator[bytes]:
    first = True
    for frame in _frames(rows):
        yield _as_text(frame).write_csv(include_header=first, datetime_format=MILLISECONDS).encode()
        first = False


def _as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before text that a spreadsheet would calculate; numbers and times stay as they are."""
    text = pl.col(pl.String)
    return frame.with_columns(pl.when(text.str.contains(FORMULA)).then("'" + text).otherwise(text).name.keep())


def _json(rows: pq.ParquetFile) -> Iterator[bytes]:
    yield b"["
    first = True
    for frame in _frames(rows):
        if frame.height:
            written = frame.with_columns(
                pl.col(pl.Datetime).dt.strftime(MILLISECONDS), pl.col(pl.Float64).fill_nan(None)
            ).write_json()
            yield (b"" if first else b",\n") + written[1:-1].encode()
            first = False
    yield b"]\n"


def _frames(rows: pq.ParquetFile) -> Iterator[pl.DataFrame]:
    """Iterate over the rows; a file without any yields one empty frame, for the sake of its header."""
    with rows:
        if rows.metadata.num_rows == 0:
            yield pl.DataFrame(pl.from_arrow(rows.read()))
            return
        for batch in rows.iter_batches(ROWS_AT_ONCE):
            yield pl.DataFrame(pl.from_arrow(batch))
