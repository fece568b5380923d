"""What every request passes first: an id, the door, the limit of its body; and the line in the log at its end."""

import logging
import re
import time
import uuid
from pathlib import Path

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab_pipeline.api.errors import error_response
from lab_pipeline.doors import NO_TOKEN, OTHER_SITE, SAFE_METHODS, UNKNOWN_HOST, Door, is_from_other_site
from lab_pipeline.settings import Settings
from lab_pipeline.storage.trouble import disk_trouble

OPEN_PATHS = frozenset({"/api/health"})
"""What asks for no token; what it says to those who bring none is up to it."""
BODY_BYTES = 1 << 20
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
REQUEST_ID_HEADER = "X-Request-Id"
HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
"""No page of another site shows the API's own page (`/docs`) in a frame, to have its buttons clicked."""

_log = logging.getLogger("lab_pipeline.api")


class Gate:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._home = settings.home
        self._door = Door.of(settings)

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

        try:
            await self._pass(scope, headers, receive, answer)
        except Exception as error:  # whatever broke, the client gets an answer in the one shape, and the log the stack
            _log.exception("%s: %s %s broke", request_id, scope["method"], scope["path"])
            if status:
                raise  # too late for an answer: the connection breaks off, which the client notices
            await _broken(request_id, error, self._home)(scope, receive, answer)
        finally:
            spent = (time.perf_counter() - began) * 1000
            _log.info("%s %s %s %d %.1f ms", request_id, scope["method"], scope["path"], status, spent)

    async def _pass(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        request_id = scope["state"]["request_id"]
        if not self._door.knows_host(headers):
            response = error_response(request_id, 421, UNKNOWN_HOST)
        elif scope["method"] not in SAFE_METHODS and is_from_other_site(headers):
            response = error_response(request_id, 403, OTHER_SITE)
        elif not (trusted := self._door.has_token(headers)) and scope["path"] not in OPEN_PATHS:
            response = error_response(request_id, 401, NO_TOKEN, headers={"WWW-Authenticate": "Bearer"})
        elif _declared_bytes(headers) > BODY_BYTES:
            response = error_response(request_id, 413, TOO_LARGE)
        else:
            scope["state"]["trusted"] = trusted
            await self._app(scope, _limited(receive), send)
            return
        await response(scope, receive, send)


TOO_LARGE = f"a request's body may have {BODY_BYTES:,} bytes"


def _broken(request_id: str, error: Exception, home: Path) -> Response:
    """Answer what no room of the lab expects: the machine's fault if a disk is behind it, else the lab's."""
    said = disk_trouble(error, home)
    if said is not None:
        return error_response(request_id, 503, said)
    return error_response(request_id, 500, f"an error of the lab itself; its log says more under {request_id}")


def _declared_bytes(headers: Headers) -> int:
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        return 0
    return int(length) if len(length) <= len(str(BODY_BYTES)) else BODY_BYTES + 1


def _limited(receive: Receive) -> Receive:
    """Count a body that comes without its length."""
    taken = 0

    async def take() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > BODY_BYTES:
            raise HTTPException(413, TOO_LARGE)
        return message

    return take
