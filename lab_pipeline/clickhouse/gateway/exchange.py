"""One HTTP request and its response on the ASGI interface."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from lab_pipeline.clickhouse.gateway.encodings import Decoder, decoder_for
from lab_pipeline.clickhouse.gateway.errors import QUERY_IS_TOO_LARGE, GatewayError

Message = MutableMapping[str, Any]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DRAINED_BYTES = 64 << 20  # read from a client after an error, so that it gets to reading the answer


class ClientGoneError(Exception):
    """The client has closed the connection: there is nobody to answer."""


class Exchange:
    """A request's bytes in and its response's bytes out.

    Attributes:
        method, path, query_string: of the request.
        headers: of the request, by lower-case name.
        always: headers that every response has.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query_string: bytes = scope["query_string"]
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self.always: dict[str, str] = {"x-clickhouse-timezone": "UTC"}
        self._receive = receive
        self._send = send
        self._received = False

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            ClientGoneError: if the connection ends before the body does.
        """
        while not self._received:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            self._received = not message.get("more_body", False)
            yield message.get("body", b"")

    @asynccontextmanager
    async def hang_up(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Provide a task that is done once the client closes the connection; the body must have been read."""

        async def wait() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass

        task = asyncio.create_task(wait())
        try:
            yield task
        finally:
            task.cancel()

    async def respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole response."""
        await self.begin(status, {**headers, "content-length": str(len(body))})
        await self.more(body, last=True)

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send status and headers; without a content-length the body is chunked."""
        pairs = [(name.encode(), value.encode()) for name, value in {**self.always, **headers}.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def more(self, part: bytes, *, last: bool = False) -> None:
        """Send a part of the body; wait while the client does not read."""
        await self._send({"type": "http.response.body", "body": part, "more_body": not last})

    async def fail(self, error: GatewayError, version: str) -> None:
        """Send an error, after reading what the client is still sending: most clients read only then."""
        drained = 0
        async for piece in self.body():
            drained += len(piece)
            if drained > DRAINED_BYTES:
                break
        headers = {
            "content-type": "text/plain; charset=UTF-8",
            "x-clickhouse-exception-code": str(error.code),
            **({} if self._received else {"connection": "close"}),
        }
        await self.respond(error.status, error.body(version).encode(), headers)


class Body:
    """The decoded body of a request, read piece by piece under a limit.

    Attributes:
        complete: whether there is nothing more to read.
    """

    def __init__(self, exchange: Exchange, limit: int) -> None:
        if int(exchange.headers.get("content-length", "0")) > limit:
            raise _too_large(limit)
        self._decoder = decoder_for(exchange.headers.get("content-encoding", ""))
        self._limit = limit
        self._pieces = self._decoded(exchange, self._decoder)
        self.complete = False

    async def next(self) -> bytes:
        """Return the next piece; empty once the body is complete.

        Raises:
            GatewayError: if it cannot be decoded or exceeds the limit.
            ClientGoneError: if the client went away.
        """
        piece = await anext(self._pieces, None)
        self.complete = piece is None
        return piece or b""

    async def rest(self, limit: int) -> bytes:
        """Return all that is left.

        Raises:
            GatewayError: if that is more than `limit` bytes, too.
        """
        whole = bytearray()
        while not self.complete:
            whole += await self.next()
            if len(whole) > limit:
                raise _too_large(limit)
        return bytes(whole)

    async def _decoded(self, exchange: Exchange, decoder: Decoder) -> AsyncIterator[bytes]:
        received = decoded = 0
        async for data in exchange.body():
            received += len(data)
            for piece in decoder.decode(data):
                decoded += len(piece)
                if max(received, decoded) > self._limit:
                    raise _too_large(self._limit)
                yield piece
        decoder.finish()


def _too_large(limit: int) -> GatewayError:
    return GatewayError(QUERY_IS_TOO_LARGE, f"The request is larger than the {limit} bytes that are accepted")
