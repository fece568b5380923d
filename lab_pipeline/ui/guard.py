"""What stands before Dagster's webserver, which itself answers whoever asks, from whatever page and in any form."""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab_pipeline.doors import (
    NO_TOKEN,
    OTHER_SITE,
    SAFE_METHODS,
    UNKNOWN_HOST,
    Door,
    is_from_other_site,
    opens_page,
)
from lab_pipeline.login import Login

GRAPHQL = "/graphql"
NO_PAGES = (GRAPHQL, "/logs/", "/notebook", "/dagit/", "/download_debug/", "/report_asset_")
"""Where the paths begin that are no page of the UI: a link from elsewhere does not lead there."""
LABEL = "op"
"""The parameter with which the UI labels what it posts, for logs; nobody reads it."""
JSON = "application/json"
BODY_BYTES = 32 << 20
POLICY_VIOLATION = 1008
HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
FRAMES = "frame-ancestors 'self'"


class Refusal(NamedTuple):
    """The answer to what may not pass."""

    status: int
    reason: str

    def response(self) -> Response:
        """Return it as one line."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else None  # noqa: PLR2004
        return PlainTextResponse(f"{self.reason}\n", self.status, headers)


class Guard:
    """The outermost layer of the UI."""

    def __init__(self, app: ASGIApp, door: Door, login: Login | None) -> None:
        self._app = app
        self._door = door
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, _with_headers(send))
        else:
            await self._app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if self._door.knows_host(headers) and not is_from_other_site(headers) and self._is_in(headers):
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})  # before it is accepted: a 403

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path, headers = scope["method"], scope["path"], Headers(scope=scope)
        refusal = self._stranger(method, path, headers)
        if refusal is None and self._login is not None and self._login.is_at(path):
            await self._login(scope, receive, send)
            return
        if refusal is None and not self._is_in(headers):
            if self._login is not None and method in SAFE_METHODS and "text/html" in headers.get("accept", ""):
                await self._login.ask(scope, receive, send)
                return
            refusal = Refusal(401, NO_TOKEN)
        if refusal is None:
            refusal = _no_request_of_dagsters(method, path, scope["query_string"], headers)
        if refusal is None and method == "POST" and path == GRAPHQL:
            body = await _read(receive)
            refusal = _no_operation(body)
            receive = _again(body, receive)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal.response()(scope, receive, send)

    def _stranger(self, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
        if not self._door.knows_host(headers):
            return Refusal(421, UNKNOWN_HOST)
        if is_from_other_site(headers) and not (opens_page(method, headers) and not path.startswith(NO_PAGES)):
            return Refusal(403, OTHER_SITE)
        return None

    def _is_in(self, headers: Mapping[str, str]) -> bool:
        return self._door.has_token(headers) or (self._login is not None and self._login.has_session(headers))


def _no_request_of_dagsters(method: str, path: str, query: bytes, headers: Mapping[str, str]) -> Refusal | None:
    """Refuse the forms in which nobody but an attacker sends operations.

    A form that a page posts, and a picture that it shows, cannot have the content type of JSON.
    """
    kind = headers.get("content-type")
    media_type = None if kind is None else kind.partition(";")[0].strip()
    if path == GRAPHQL and QueryParams(query).keys() - {LABEL}:
        return Refusal(400, "an operation is the JSON body of a POST: this address takes none in its query string")
    if method not in SAFE_METHODS and media_type != JSON and (path == GRAPHQL or media_type is not None):
        return Refusal(415, f"the content type of a request with a body is {JSON}")
    return None


def _no_operation(body: bytes) -> Refusal | None:
    if len(body) > BODY_BYTES:
        return Refusal(413, f"an operation may have {BODY_BYTES:,} bytes")
    if not body.lstrip().startswith(b"{"):
        return Refusal(400, "send one operation at a time, as a JSON object")
    return None


async def _read(receive: Receive) -> bytes:
    """Read a body to its end, or a little beyond the limit; nothing of one that was broken off."""
    body = bytearray()
    more = True
    while more and len(body) <= BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read to whoever comes next, and then what else arrives."""
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


def _with_headers(send: Send) -> Send:
    """Forbid foreign pages to show what is answered in frames, and browsers to guess what it is."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            headers.append("Content-Security-Policy", FRAMES)  # beside one of Dagster's: the stricter counts
        await send(message)

    return answer
