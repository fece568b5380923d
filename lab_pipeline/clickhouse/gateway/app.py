"""ClickHouse's HTTP interface as an ASGI application on top of the engine."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from time import monotonic
from typing import Any, TypeVar

from lab_pipeline.clickhouse.gateway.engine import Engine, ExternalTable, Result, Session
from lab_pipeline.clickhouse.gateway.errors import (
    AUTHENTICATION_FAILED,
    SYNTAX_ERROR,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    GatewayError,
)
from lab_pipeline.clickhouse.gateway.exchange import Body, ClientGoneError, Exchange, Receive, Scope, Send
from lab_pipeline.clickhouse.gateway.permissions import require_inside
from lab_pipeline.clickhouse.gateway.requests import (
    Credentials,
    Request,
    check_credentials,
    external_tables,
    parameters_of,
    read_form,
    read_request,
)
from lab_pipeline.clickhouse.gateway.statements import READING, InsertHead, Undecided, first_word, shape, split_insert
from lab_pipeline.doors import OTHER_SITE, UNKNOWN_HOST, Door, is_from_other_site

Answer = TypeVar("Answer")

HOST = "127.0.0.1"
"""Where it listens, and nowhere else whatever the settings say: its one user may do everything."""
DOOR = Door(HOST)

HEAD_BYTES = 256 << 10  # of an INSERT before its rows
STATEMENT_BYTES = 16 << 20  # of a statement that the engine must see whole
FORM_BYTES = 256 << 20  # of a form with external tables
APPEND_BYTES = 1 << 20  # given to the engine at once, because a call has its price
HELD_BYTES = 32 << 20  # of a result whose errors are to have their own status
FIRST_BYTES = 64 << 10  # of a result before its response begins
PARALLEL_CALLS = 32
PARALLEL_REQUESTS = 256
KILL_EVERY = 0.2  # seconds: a statement that has not begun cannot be found yet

PLAIN_TEXT = "text/plain; charset=UTF-8"
CONTENT_TYPES = {
    **dict.fromkeys(("tabseparated", "tsv"), "text/tab-separated-values; charset=UTF-8"),
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    **dict.fromkeys(("json", "jsoncompact"), "application/json; charset=UTF-8"),
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    **dict.fromkeys(("native", "rowbinary", "arrow", "arrowstream", "parquet"), "application/octet-stream"),
}


class Gateway:
    """The ASGI application. The engine works in threads; the event loop moves bytes.

    Attributes:
        quiet: set while no request is under way.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        instance: str,
        credentials: Credentials,
        body_bytes: int,
        idle_seconds: float,
        confined: bool,
    ) -> None:
        self._engine = engine
        self._instance = instance
        self._credentials = credentials
        self._body_bytes = body_bytes
        self._idle_seconds = idle_seconds
        self._confined = confined
        self._threads = ThreadPoolExecutor(PARALLEL_CALLS, thread_name_prefix="statement")
        self._killers = ThreadPoolExecutor(2, thread_name_prefix="kill")
        self._requests = 0
        self.quiet = asyncio.Event()
        self.quiet.set()
        self._last_request = monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, receive, send)
        exchange.always["x-clickhouse-server-display-name"] = self._instance
        self._requests += 1
        self.quiet.clear()
        try:
            with suppress(ClientGoneError):
                await self._respond(exchange)
        finally:
            self._requests -= 1
            self._last_request = monotonic()
            if not self._requests:
                self.quiet.set()

    @property
    def idle(self) -> bool:
        """Whether there has been no request for some time."""
        return self.quiet.is_set() and monotonic() - self._last_request > self._idle_seconds

    def close(self) -> None:
        """Wait for the threads; requests must have ended."""
        self._threads.shutdown()
        self._killers.shutdown()

    async def _respond(self, exchange: Exchange) -> None:
        try:
            await self._route(exchange)
        except GatewayError as error:
            await exchange.fail(error, self._engine.version)
        except UnicodeDecodeError as error:
            await exchange.fail(GatewayError(SYNTAX_ERROR, f"Syntax error: not UTF-8: {error}"), self._engine.version)

    async def _route(self, exchange: Exchange) -> None:
        if not DOOR.knows_host(exchange.headers):
            raise GatewayError(AUTHENTICATION_FAILED, UNKNOWN_HOST)
        if is_from_other_site(exchange.headers):
            raise GatewayError(AUTHENTICATION_FAILED, OTHER_SITE)
        if exchange.path == "/ping" or (
            exchange.path == "/" and exchange.method == "GET" and not exchange.query_string
        ):
            await exchange.respond(200, b"Ok.\n", {"content-type": PLAIN_TEXT})
            return
        check_credentials(self._credentials, exchange.query_string, exchange.headers)
        if exchange.path != "/":
            await exchange.respond(404, f"There is no handle {exchange.path}\n".encode(), {"content-type": PLAIN_TEXT})
            return
        if self._requests > PARALLEL_REQUESTS:
            raise GatewayError(TOO_MANY_SIMULTANEOUS_QUERIES, "Too many simultaneous queries")
        request = read_request(exchange.method, exchange.query_string, exchange.headers)
        exchange.always["x-clickhouse-query-id"] = request.query_id
        await self._execute(exchange, request)

    async def _execute(self, exchange: Exchange, request: Request) -> None:
        body = Body(exchange, self._body_bytes)
        content_type = exchange.headers.get("content-type", "")
        if content_type.lower().startswith("multipart/form-data"):
            form = read_form(content_type, await body.rest(FORM_BYTES))
            request = replace(request, parameters={**request.parameters, **parameters_of(form.fields)})
            text = (request.query or form.fields.get("query", "")).encode()
            await self._statement(exchange, request, text, external_tables(request.external, form))
            return
        text = request.query.encode() + b"\n" if request.query else b""
        while (head := split_insert(text, complete=body.complete)) is Undecided.INCOMPLETE:
            if len(text) > HEAD_BYTES:
                raise GatewayError(
                    SYNTAX_ERROR, f"Syntax error: no FORMAT in the first {HEAD_BYTES} bytes of an INSERT"
                )
            text += await body.next()
        if isinstance(head, InsertHead):
            await self._insert(exchange, request, head, text[head.data_at :], body)
        else:
            await self._statement(exchange, request, text + await body.rest(STATEMENT_BYTES), [])

    async def _insert(self, exchange: Exchange, request: Request, head: InsertHead, rows: bytes, body: Body) -> None:
        require_inside(b"INSERT", [head.clause, *request.settings.values()], confined=self._confined)
        async with self._session(request) as calls:
            insert = await calls.run(calls.session.insert, head.clause, head.format)
            pending = bytearray(rows)
            while not body.complete:
                pending += await body.next()
                if len(pending) >= APPEND_BYTES:
                    await calls.run(insert.append, bytes(pending))
                    pending.clear()
            await calls.run(insert.append, bytes(pending))
            result = await calls.run(insert.finish)
        await exchange.respond(200, b"", {"x-clickhouse-summary": summary(result)})

    async def _statement(
        self, exchange: Exchange, request: Request, text: bytes, external: list[ExternalTable]
    ) -> None:
        outside = shape(text, self._engine.formats)
        word = first_word(text)
        if outside.statements > 1 or not word:
            reason = "Multi-statements are not allowed" if word else "Empty query"
            raise GatewayError(SYNTAX_ERROR, f"Syntax error: {reason}")
        output = outside.format or request.default_format
        sql = text.decode()
        structures = [table.structure for table in external]
        require_inside(word, [sql, *structures, *request.settings.values()], confined=self._confined)
        async with self._session(request) as calls, exchange.hang_up() as gone:
            calls.gone = gone
            for table in external:
                await calls.run(calls.session.bring, table)
            if word in READING:
                await self._read(exchange, calls, calls.session.stream(sql, output), output, wait=request.wait)
                return
            result = await calls.run(calls.session.execute, sql, output)
            headers = {"x-clickhouse-format": output} if result.data else {}
            await exchange.respond(200, result.data, {**headers, "x-clickhouse-summary": summary(result)})

    async def _read(
        self, exchange: Exchange, calls: "Calls", parts: Iterator[bytes], output: str, *, wait: bool
    ) -> None:
        """Send a result while it is made, or in one message where it is small.

        An error before the first bytes are sent has its own status. A later one goes in band, marked by a tag that
        the data cannot contain because the header announced it.
        """
        part, ended = await calls.run(_take, parts, HELD_BYTES if wait else FIRST_BYTES)
        headers = {
            "x-clickhouse-format": output,
            "x-clickhouse-summary": summary(Result()),
            "content-type": CONTENT_TYPES.get(output.lower(), PLAIN_TEXT),
        }
        if ended:
            await exchange.respond(200, part, headers)
            return
        tag = secrets.token_hex(8)
        await exchange.begin(200, {**headers, "x-clickhouse-exception-tag": tag})
        try:
            while not ended:
                await exchange.more(part)
                part, ended = await calls.run(_take, parts, 0)
        except GatewayError as error:
            text = error.body(self._engine.version)
            mark = f"{tag}\r\n__exception__\r\n"
            part = f"\r\n__exception__\r\n{tag}\r\n{text}{len(text.encode())} {mark}".encode()
        await exchange.more(part, last=True)

    @asynccontextmanager
    async def _session(self, request: Request) -> AsyncIterator["Calls"]:
        calls = Calls(self._engine, self._threads, self._killers)
        await calls.open(request)
        try:
            yield calls
        finally:
            await calls.close()


class Calls:
    """The engine calls of one request: one at a time, in a thread, stopped when the client hangs up.

    Attributes:
        session: of the request, once it is open.
        gone: done when the client has hung up; None while the client is still sending.
    """

    session: Session

    def __init__(self, engine: Engine, threads: ThreadPoolExecutor, killers: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._threads = threads
        self._killers = killers
        self._tag = secrets.token_hex(8)
        self.gone: asyncio.Task[None] | None = None

    async def open(self, request: Request) -> None:
        """Open the session."""
        self.session = await self.run(
            lambda: self._engine.session(
                self._tag,
                database=request.database or "default",
                settings=request.settings,
                parameters=request.parameters,
            )
        )

    async def close(self) -> None:
        """Close the session."""
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._threads, self.session.close))

    async def run(self, function: Callable[..., Answer], *args: object) -> Answer:
        """Call a function of the session in a thread and return what it returns.

        The call has ended when this has, whatever happens: a connection must not be closed under a call.

        Raises:
            ClientGoneError: if the client hung up; the engine has been made to stop.
        """
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, function, *args)
        either: set[asyncio.Future[Any]] = {work, self.gone} if self.gone else {work}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped = not work.done()
            while not work.done():
                await loop.run_in_executor(self._killers, self._engine.kill, self._tag)
                await asyncio.wait({work}, timeout=KILL_EVERY)
            failure = work.exception()
        if stopped:
            raise ClientGoneError
        if failure is not None:
            raise failure
        return work.result()


def _take(parts: Iterator[bytes], enough: int) -> tuple[bytes, bool]:
    """Return parts of more than `enough` bytes together and whether they were the last."""
    held, size = [], 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size > enough:
            return b"".join(held), False
    return b"".join(held), True


def summary(result: Result) -> str:
    """Write the X-ClickHouse-Summary header: numbers as strings, as clients expect them."""
    numbers = {
        "read_rows": result.read_rows,
        "read_bytes": result.read_bytes,
        "written_rows": result.written_rows,
        "written_bytes": result.written_bytes,
        "total_rows_to_read": 0,
        "result_rows": result.result_rows,
        "result_bytes": len(result.data),
        "elapsed_ns": 0,
    }
    return json.dumps({name: str(value) for name, value in numbers.items()})
