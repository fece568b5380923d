"""Log in to the UI or to the lab's pages: the token, once, for a cookie that is good for some days."""

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from html import escape
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from lab_pipeline.doors import SAFE_METHODS, SAME_SITE, Door

LOGIN, LOGOUT = "/login", "/logout"
SESSION_SECONDS = 7 * 24 * 3600
WRONG_TOKEN_SECONDS = 1.0
"""For which a wrong token waits for its answer."""
FORM_BYTES = 16 << 10
SALT = b"session of the lab's UI"
LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of this server, which no browser reads as the address of another."""
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lab</title><meta name="viewport" content="width=device-width">{head}
<style>
body {{ font: 16px system-ui, sans-serif; margin: 20vh auto; max-width: 22rem; padding: 0 1rem; }}
input, button {{ box-sizing: border-box; font: inherit; margin: .4rem 0; padding: .5rem; width: 100%; }}
</style></head><body>
{body}
</body></html>
"""
FORM = """<form method="post" action="{action}"><h1>Lab</h1>
<label for="token">Token (LAB_API_TOKEN)</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input type="hidden" name="next" value="{next}">
<p role="alert">{said}</p><button>Log in</button></form>"""
LEAVE = """<form method="post" action="{action}"><h1>Lab</h1>
<p>You are logged in. <a href="/">To the lab</a></p><button>Log out</button></form>"""
RELOAD = '<meta http-equiv="refresh" content="0">'


class Login:
    """The log-in page and the sessions that it begins.

    A session is a cookie with the time of its end, signed with a key made from the token by a function that is slow
    on purpose: who steals the cookie cannot find the token by trying. Another token ends every session.
    """

    def __init__(self, door: Door, token: str, port: int) -> None:
        self._door = door
        self._key = hashlib.scrypt(token.encode(), salt=SALT, n=1 << 14, r=8, p=1)
        self._cookie = f"lab_session_{port}"  # browsers do not tell the ports of a machine apart

    def is_at(self, path: str) -> bool:
        """Return whether a path is of this page."""
        return path in {LOGIN, LOGOUT}

    def has_session(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request brings the cookie of a session that has not ended."""
        end, _, signature = cookie_parser(headers.get("cookie", "")).get(self._cookie, "").partition(".")
        genuine = hmac.compare_digest(signature.encode(), self._signature(end).encode())
        return genuine and time.time() < int(end)

    async def ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the page instead of what was asked for."""
        headers = Headers(scope=scope)
        if headers.get("sec-fetch-site", "none") not in SAME_SITE:
            # A link from elsewhere does not bring the cookie. The page that it leads to may ask once more, and does.
            response: Response = _page("", head=RELOAD)
        else:
            query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
            response = _form(scope["path"] + query)
        response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Show the page, begin a session or end it."""
        request = Request(scope, receive)
        if request.method == "POST" and scope["path"] == LOGOUT:
            response: Response = RedirectResponse(LOGIN, 303)
            response.delete_cookie(self._cookie, httponly=True, samesite="strict")
        elif request.method == "POST":
            response = await self._begin(request)
        elif request.method not in SAFE_METHODS:
            response = Response(status_code=405, headers={"Allow": "GET, POST"})
        elif self.has_session(request.headers):
            response = _page(LEAVE.format(action=LOGOUT))
        else:
            response = _form("/", status=200)
        await response(scope, receive, send)

    async def _begin(self, request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > FORM_BYTES:
                return _form("/", "This is no token.", 413)
        fields = parse_qs(body.decode("latin-1"), encoding="utf-8", errors="replace")
        token, (target,) = fields.get("token", [""])[0], fields.get("next", ["/"])[:1]
        if not self._door.is_token(token.strip().encode()):
            await asyncio.sleep(WRONG_TOKEN_SECONDS)
            return _form(target, "This is not the token.")
        end = str(int(time.time()) + SESSION_SECONDS)
        response = RedirectResponse(_local(target), 303)
        response.set_cookie(
            self._cookie,
            f"{end}.{self._signature(end)}",
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.headers.get("origin", "").startswith("https:"),
        )
        return response

    def _signature(self, end: str) -> str:
        return hmac.new(self._key, end.encode(), hashlib.sha256).hexdigest()


def _form(target: str, said: str = "", status: int = 401) -> HTMLResponse:
    return _page(FORM.format(action=LOGIN, next=escape(_local(target)), said=said), status)


def _page(body: str, status: int = 200, *, head: str = "") -> HTMLResponse:
    return HTMLResponse(PAGE.format(head=head, body=body), status, PAGE_HEADERS)


def _local(target: str) -> str:
    return target if LOCAL_PATH.fullmatch(target) else "/"
