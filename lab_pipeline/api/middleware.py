"""What every request passes first: an id, the door, the limits of its body; and the line in the log at its end."""

import asyncio
import logging
import re
import time
import uuid
from pathlib import Path

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab_pipeline.api.connections import BODY_SECONDS
from lab_pipeline.api.errors import error_response
from lab_pipeline.api.telemetry import NO_ROUTE, Requests
from lab_pipeline.doors import NO_TOKEN, OTHER_SITE, SAFE_METHODS, UNKNOWN_HOST, Door, is_from_other_site
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.login import Login
from lab_pipeline.settings import Settings

OPEN_PATHS = frozenset({"/api/health"})
"""What asks for no token; what it says to those who bring none is up to it."""
READ_ONLY = "this lab is read-only: LAB_READ_ONLY is set where it is served"
BODY_BYTES = 1 << 20
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
REQUEST_ID_HEADER = "X-Request-Id"
HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
"""No page of another site shows the API's own page (`/docs`) in a frame, to have its buttons clicked."""

_log = logging.getLogger("lab_pipeline.api")


class Gate:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, settings: Settings, requests: Requests) -> None:
        self._app = app
        self._requests = requests
        self._home = settings.home
        self._door = door = Door.of(settings)
        self._login = None if door.token is None else Login(door, door.token, settings.api_port)
        self._read_only = settings.read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it; every answer carries the request's id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        began = time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({REQUEST_ID_HEADER: request_id, **HEADERS})
            await send(message)

        head = scope["method"] == "HEAD"
        passed = _without_body(scope, receive, answer) if head else (scope, receive, answer)
        try:
            await self._pass(passed[0], headers, *passed[1:])
        except Exception as error:  # whatever broke, the client gets an answer in the one shape, and the log the stack
            _log.exception("%s: %s %s broke", request_id, scope["method"], scope["path"])
            if status:
                raise  # too late for an answer: the connection breaks off, which the client notices
            await _broken(request_id, error, self._home)(*passed)
        finally:
            spent = time.perf_counter() - began
            _log.info("%s %s %s %d %.1f ms", request_id, scope["method"], scope["path"], status, spent * 1000)
            route = passed[0].get("route")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._requests.count(method, getattr(route, "path", NO_ROUTE), status, spent)

    async def _pass(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        request_id, method, path = scope["state"]["request_id"], scope["method"], scope["path"]
        response: ASGIApp
        if not self._door.knows_host(headers):
            response = error_response(request_id, 421, UNKNOWN_HOST)
        elif method not in SAFE_METHODS and is_from_other_site(headers):
            response = error_response(request_id, 403, OTHER_SITE)
        elif self._login is not None and self._login.is_at(path):
            response = self._login
        elif not (trusted := self._is_in(headers)) and path not in OPEN_PATHS:
            response = error_response(request_id, 401, NO_TOKEN, headers={"WWW-Authenticate": "Bearer"})
            if self._login is not None and method in SAFE_METHODS and "text/html" in headers.get("accept", ""):
                response = self._login.ask
        elif self._read_only and method not in SAFE_METHODS and not _only_reads(method, path):
            response = error_response(request_id, 403, READ_ONLY)
        elif _declared_bytes(headers) > BODY_BYTES:
            response = error_response(request_id, 413, TOO_LARGE)
        else:
            scope["state"]["trusted"] = trusted
            await self._app(scope, _limited(receive), send)
            return
        await response(scope, receive, send)

    def _is_in(self, headers: Headers) -> bool:
        return self._door.has_token(headers) or (self._login is not None and self._login.has_session(headers))


def _only_reads(method: str, path: str) -> bool:
    """Return whether a request takes a body and changes nothing: a read-only lab answers it, too."""
    return method == "POST" and path.endswith(("/dry-run", "/validate"))


TOO_LARGE = f"a request's body may have {BODY_BYTES:,} bytes"
TOO_LATE = f"a request's body may take {BODY_SECONDS:.0f} s"


def _broken(request_id: str, error: Exception, home: Path) -> Response:
    """Answer what no room of the lab expects: the machine's fault if a disk is behind it, else the lab's."""
    said = disk_error(error, home)
    if said is not None:
        return error_response(request_id, 503, said)
    return error_response(request_id, 500, f"an error of the lab itself; its log says more under {request_id}")


def _declared_bytes(headers: Headers) -> int:
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        return 0
    return int(length) if len(length) <= len(str(BODY_BYTES)) else BODY_BYTES + 1


def _limited(receive: Receive) -> Receive:
    """Count a body that comes without its length, and wait for it no longer than there is time."""
    taken, more = 0, True
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS

    async def take() -> Message:
        nonlocal taken, more
        if not more:
            return await receive()  # until the client is gone
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, TOO_LATE, headers={"Connection": "close"}) from None
        more = message.get("more_body", False)
        taken += len(message.get("body", b""))
        if taken > BODY_BYTES:
            raise HTTPException(413, TOO_LARGE)
        return message

    return take


def _without_body(scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
    """Make a HEAD the GET that it stands for: its answer ends with the headers, as if the client were gone then."""
    ended = False

    async def take() -> Message:
        return {"type": "http.disconnect"} if ended else await receive()

    async def answer(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            ended = True
        await asyncio.sleep(0)  # whoever sends much lets the one who sees that the client is gone have his turn

    return {**scope, "method": "GET"}, take, answer
