"""What a run has logged: pages, a stream that follows, a file."""

import json
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import polars as pl
from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response

from lab_pipeline.api.downloads import Held, in_threads, send_text
from lab_pipeline.api.errors import NotAcceptableError, describe
from lab_pipeline.api.pagination import Cursor, decode_cursor, encode_cursor
from lab_pipeline.api.routes.runs import From, RunId, To
from lab_pipeline.api.schemas.series import Level, LogPage
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.clickhouse import logs as lines
from lab_pipeline.clickhouse.series import EARLIEST, LATEST
from lab_pipeline.domain.backtest import iso
from lab_pipeline.domain.errors import FieldError, InvalidConfigError, LabError

CURSOR = "logs"
PAGE = 100
LONGEST_PAGE = 1000
STREAM_PAGE = 200
"""Lines that a stream sends together: few, as whoever does not read them is not sent the next ones."""
SILENCE_SECONDS = 15.0
"""After which a stream says that it is alive, lest something between here and the client give it up."""
LAST_LINES_SECONDS = 6.0
"""After a run's end, its lines may be this late."""

PLAIN_LINE = pl.format(
    "{} {}{} - {}\n{}",
    pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"),
    "level",
    pl.when(pl.col("step_key") == "").then(pl.lit("")).otherwise(pl.format(" {}", "step_key")),
    "message",
    pl.when(pl.col("stack") == "").then(pl.lit("")).otherwise(pl.format("{}\n", pl.col("stack").str.strip_chars_end())),
)
"""A line of the text, written by polars: a log may have a hundred thousand of them."""

JSON, PLAIN, STREAM = "application/json", "text/plain", "text/event-stream"

router = APIRouter(tags=["logs"])


@router.get(
    "/runs/{runId}/logs",
    summary="Read, follow or download a run's log",
    response_model=LogPage,
    responses={
        **describe(404, 406),
        200: {
            "description": "A page (JSON), the lines as they come (server-sent events), or all of them as text",
            "content": {STREAM: {"schema": {"type": "string"}}, PLAIN: {"schema": {"type": "string"}}},
        },
    },
)
async def list_logs(
    stores: LabStores,
    request: Request,
    run_id: RunId,
    level: Annotated[Level, Query(description="The least one wanted.")] = Level.DEBUG,
    q: Annotated[str, Query(max_length=1000, description="Text that message or stack contain, in any case.")] = "",
    start: From = None,
    end: To = None,
    order: Annotated[
        lines.Order, Query(description="`asc`: oldest first; `desc`: newest first.")
    ] = lines.Order.OLDEST_FIRST,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE, description="Lines of a page at most.")] = PAGE,
    cursor: Cursor = None,
    last_event_id: Annotated[str | None, Header(description="Of a stream: it goes on after this event.")] = None,
) -> Response:
    """Return lines of a run.

    As `Accept` says: a page (`application/json`); a stream (`text/event-stream`) of what there is and what comes, until
    the run has ended; or everything as a text file (`text/plain`). A running run's newest lines are there within 5 s.
    """
    form = _form(request.headers.get("accept", ""))
    after = _after(last_event_id or cursor)
    wanted: dict[str, Any] = {
        "level": level.value,
        "text": q,
        "start": _within(start, EARLIEST),
        "end": _within(end, LATEST),
        "order": lines.Order.OLDEST_FIRST if form == STREAM else order,
    }
    with ExitStack() as place:
        if form == STREAM:
            place.enter_context(stores.followers.one())
            ask = partial(_first, stores, run_id, after, 1, wanted)  # a store that is down is an error, not a stream
            await stores.following.ask(("first", run_id, after, *wanted.values()), ask)
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            events = _follow(stores, run_id, after, wanted)
            return Held(events, place.pop_all(), headers=headers, media_type=STREAM)
        if form == PLAIN:
            place.enter_context(stores.downloads.one())
            ask = partial(_first, stores, run_id, after, LONGEST_PAGE, wanted)
            first = await to_thread.run_sync(ask, limiter=stores.threads.files)
            body = in_threads(_text(stores, run_id, first, wanted), stores.threads.files)
            headers = {"Content-Disposition": f'attachment; filename="{run_id}.log"'}
            return Held(body, place.pop_all(), headers=headers, media_type=PLAIN)
        answer = partial(_answer, stores, run_id, after, limit, wanted)
        text = await to_thread.run_sync(answer, limiter=stores.threads.queries)
        return send_text(text, JSON, place, stores.downloads)


def _answer(stores: Stores, run_id: str, after: int | None, limit: int, wanted: dict[str, Any]) -> str:
    page = _first(stores, run_id, after, limit, wanted)
    more = None if page.next_cursor is None else encode_cursor(CURSOR, page.next_cursor)
    return _json({"logs": [_line(row) for row in page.lines.iter_rows(named=True)], "nextCursor": more})


def _form(accept: str) -> str:
    """Choose what the client likes best of what there is; JSON where it does not care."""
    liked = []
    for part in accept.split(","):
        kind, *parameters = (text.strip().lower() for text in part.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        liked.append((float(weight) if weight.replace(".", "", 1).isdecimal() else 0.0, kind))
    if not accept.strip():
        return JSON
    forms = {JSON: JSON, "application/*": JSON, "*/*": JSON, STREAM: STREAM, PLAIN: PLAIN, "text/*": PLAIN}
    found = [(weight, forms[kind]) for weight, kind in liked if kind in forms and weight > 0]
    if not found:
        raise NotAcceptableError(f"a log is there as {JSON}, {STREAM} and {PLAIN}")
    return max(found, key=lambda one: one[0])[1]


def _after(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    (after,) = decode_cursor(CURSOR, cursor, int)
    if not 0 <= after <= lines.AFTER_ALL:
        raise InvalidConfigError("the request", [FieldError("cursor", "is no cursor of this list")])
    return int(after)


def _within(moment: datetime | None, default: datetime) -> datetime:
    """Keep a moment within what ClickHouse can tell apart."""
    return default if moment is None else min(max(moment, EARLIEST), LATEST)


def _first(stores: Stores, run_id: str, after: int | None, limit: int, wanted: dict[str, Any]) -> lines.LinePage:
    stores.runs.result(run_id)  # or it is unknown
    return _page(stores, run_id, after, limit, wanted)


def _page(stores: Stores, run_id: str, after: int | None, limit: int, wanted: dict[str, Any]) -> lines.LinePage:
    with stores.clickhouse.connection() as clickhouse:
        return lines.list_lines(clickhouse, run_id, cursor=after, limit=limit, **wanted)


def _line(row: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `LogLine`; a model of each would take longer than all the rest of a page."""
    extra = {"eventType": row["event_type"], "logger": row["logger"], "stack": row["stack"]}
    data = {**_object(row["data"]), **{key: value for key, value in extra.items() if value}}
    return {
        "timestamp": iso(row["timestamp"]),
        "level": row["level"],
        "step": row["step_key"] or None,
        "message": row["message"],
        "data": data or None,
    }


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text, parse_constant=lambda _: None) if text else {}
    return value if isinstance(value, dict) else {"value": value}


def _json(value: dict[str, Any]) -> str:
    """Write JSON; half a character, which data may have as an escape, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()


def _text(stores: Stores, run_id: str, page: lines.LinePage, wanted: dict[str, Any]) -> Generator[bytes]:
    while True:
        yield "".join(page.lines.select(PLAIN_LINE).to_series()).encode()
        if page.next_cursor is None:
            return
        page = _page(stores, run_id, page.next_cursor, LONGEST_PAGE, wanted)


@dataclass(frozen=True)
class _Events:
    """Some lines as events.

    Attributes:
        text: of the events; empty where there are none.
        after: number of the last line; of the one before if there are none.
        more: whether there are more now.
    """

    text: str
    after: int | None
    more: bool


async def _follow(stores: Stores, run_id: str, after: int | None, wanted: dict[str, Any]) -> AsyncGenerator[str]:
    """Yield events: `log` for each line, its id a cursor; `end` when the run has ended and its lines are there."""
    spoke = time.monotonic()
    ended: float | None = None
    read_to, last_line = -1, 0
    yield ": following\n\n"
    with stores.following.run(run_id):
        while True:
            came = False
            try:
                while read_to < last_line:
                    question = (run_id, after, *wanted.values())
                    found = await stores.following.ask(question, partial(_events, stores, run_id, after, wanted))
                    after, came = found.after, came or bool(found.text)
                    read_to = read_to if found.more else last_line
                    if found.text:
                        yield found.text
                seen = await stores.following.look(run_id)
            except LabError as error:  # too late for another status: say so and let the client come again
                yield _event("error", {"message": str(error)})
                return
            now = time.monotonic()
            if came:
                spoke, ended = now, None
            last_line = seen.last_line
            if seen.run.finished and read_to >= last_line:
                ended = ended or now
                if now - ended >= LAST_LINES_SECONDS or _settled(seen.run.completed_at):
                    yield _event("end", {"status": seen.run.status})
                    return
            if now - spoke >= SILENCE_SECONDS:
                spoke = now
                yield ": still there\n\n"


def _events(stores: Stores, run_id: str, after: int | None, wanted: dict[str, Any]) -> _Events:
    page = _page(stores, run_id, after, STREAM_PAGE, wanted)
    rows = list(page.lines.iter_rows(named=True))
    text = "".join(_event("log", _line(row), encode_cursor(CURSOR, row["seq"])) for row in rows)
    return _Events(text, rows[-1]["seq"] if rows else after, page.next_cursor is not None)


def _settled(completed_at: datetime | None) -> bool:
    return completed_at is not None and time.time() - completed_at.timestamp() > 10 * LAST_LINES_SECONDS


def _event(kind: str, data: dict[str, Any], event_id: str | None = None) -> str:
    head = f"event: {kind}\n" + (f"id: {event_id}\n" if event_id else "")
    return f"{head}data: {_json(data)}\n\n"
