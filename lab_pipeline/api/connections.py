"""Connections: how many there are, and for how long one may keep the others waiting.

A client that sends half a request, or takes nothing of its answer, costs a socket and some memory and no thread; it is
given up after a while, and at once where there is no room for one that may do better.
"""

import asyncio
from typing import ClassVar, cast
from uuid import uuid4

import uvicorn
from starlette.datastructures import MutableHeaders
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from lab_pipeline.api.errors import error_response

MOST_CONNECTIONS = 1000
HEAD_SECONDS = 10.0
"""From the first byte of a request, or from the connection, until its headers are complete."""
BODY_SECONDS = 30.0
"""From there until its body is."""
LAST_BODY_SECONDS = BODY_SECONDS + 5.0
"""The same where nobody reads the body, who would say that it came too late."""
STALLED_SECONDS = 60.0
"""Without a byte taken by the client of an answer that waits for it."""
HEAD_BYTES = 1 << 16
TICKS = 10
"""Of the server, a tenth of a second each, between two looks at the connections."""
HEAD, BODY = "head", "body"


class ConnectionState(ServerState):
    """What the connections share.

    Attributes:
        waiting: connections whose client is to send something next, the first to be given up first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[Connection, None] = {}


class Connection(HttpToolsProtocol):
    """A connection that is looked at every second.

    Attributes:
        most: connections there may be.
    """

    most: ClassVar[int] = MOST_CONNECTIONS
    server_state: ConnectionState

    _missing: str | None = HEAD
    _since = 0.0
    _head_bytes = 0
    _unsent = 0
    _taken_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        """Take a connection in; where there are too many, the one that has kept the lab waiting longest goes."""
        super().connection_made(transport)
        self._taken_at = self._now
        self._wait_for(HEAD)
        if len(self.connections) > self.most:
            first = next(iter(self.server_state.waiting))
            if first is self:
                self.refuse(503, f"there are {self.most} connections at work: come later")
            else:
                first.transport.abort()
                first.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.leave()
        super().connection_lost(exc)

    def leave(self) -> None:
        """Be counted no more."""
        self.connections.discard(self)
        self.server_state.waiting.pop(self, None)

    def data_received(self, data: bytes) -> None:
        """Read what has come; headers have an end."""
        if self._missing is None:
            self._wait_for(HEAD)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._missing == HEAD and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.refuse(431, f"a request's headers may have {HEAD_BYTES:,} bytes")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        if self._missing is None:
            self._wait_for(HEAD)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._missing, self._since, self._head_bytes = BODY, self._now, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Know that the client has said everything."""
        self._missing = None
        self.server_state.waiting.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self.server_state.waiting.setdefault(self)

    def resume_writing(self) -> None:
        """Know that the client goes on reading."""
        self._taken_at = self._now
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, in the one shape."""
        self.refuse(400, msg)

    def look(self) -> None:
        """Give the connection up if its client keeps the lab waiting for too long."""
        now = self._now
        waited = now - self._since
        answering = self.cycle is not None and not self.cycle.response_complete
        if self._missing == BODY and waited > LAST_BODY_SECONDS:
            self.transport.abort()
        elif self._missing == HEAD and waited > HEAD_SECONDS and not answering and not self.transport.is_closing():
            self.refuse(408, f"a request's headers may take {HEAD_SECONDS:.0f} s")
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent:
            self._taken_at = now
        elif now - self._taken_at > STALLED_SECONDS:
            self.transport.abort()
        self._unsent = unsent

    def refuse(self, status: int, message: str) -> None:
        """Answer instead of the application, and hang up."""
        request_id = uuid4().hex
        answer = error_response(request_id, status, message)
        headers = MutableHeaders(raw=answer.raw_headers)
        headers["X-Request-Id"] = request_id
        headers["Connection"] = "close"
        lines = [name + b": " + value + b"\r\n" for name, value in headers.raw]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()
        self.server_state.waiting.pop(self, None)

    @property
    def _now(self) -> float:
        return self.loop.time()

    def _wait_for(self, missing: str) -> None:
        self._missing, self._since, self._head_bytes = missing, self._now, 0
        self.server_state.waiting[self] = None


class Server(uvicorn.Server):
    """Serves, and looks at the connections every second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state = ConnectionState()

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does ten times a second."""
        if counter % TICKS == 0:
            for connection in list(self.server_state.connections):
                cast("Connection", connection).look()
        return await super().on_tick(counter)
