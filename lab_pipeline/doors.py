"""Who is answered: the one rule for everything of the lab that listens, as decisions over the headers of a request.

A listener on loopback is reached by every program of this machine, and by every web page that a browser on it shows: a
page sends requests to any address, and can have its own name lead here. So a request must name this server (`Host`)
and must not come from a page of another site (`Sec-Fetch-Site`, `Origin`). A listener that others reach wants the
token too.
"""

import hmac
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from lab_pipeline.domain.errors import LabError
from lab_pipeline.settings import Settings

SCHEME = "bearer"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_NAMES = frozenset({"localhost", "testserver"})
"""Names of this machine that nobody else can be given; the second is what Starlette's test client calls it."""
SAME_SITE = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of a page's request to its own server, and of what a person typed or a bookmark opened."""
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/?#@\[\]]+)(?::[0-9]{1,5})?")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the other way round: how to reach who listens there
BACKLOG = 512

UNKNOWN_HOST = "the Host header names another server than this one; LAB_ALLOWED_HOSTS says which names it has"
OTHER_SITE = "a page of another site sent this, and may not"
NO_TOKEN = "send the lab's token: Authorization: Bearer ..."  # noqa: S105 - that there is none


class OpenDoorError(LabError):
    """Something would be open to the network without a token."""


@dataclass(frozen=True)
class Door:
    """What a listener asks of each request.

    Attributes:
        host: the address on which it listens.
        token: that a program must send, if any.
        names: other names under which it is reached, in lower case.
    """

    host: str
    token: str | None = field(default=None, repr=False)
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the door of what listens on LAB_HOST.

        Raises:
            OpenDoorError: if it would be open to the network without a token.
        """
        require_token_off_loopback(settings)
        token = settings.api_token.get_secret_value() if settings.api_token else None
        return cls(settings.host.lower(), token, settings.host_names)

    def knows_host(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request names this server.

        A listener on every address is reached by any of the machine's, and no page can make an address its own.
        """
        name = _host_name(headers.get("host", ""))
        return name is not None and (
            name in LOCAL_NAMES
            or name == self.host
            or name in self.names
            or is_loopback(name)
            or (_is_address(name) and _is_everywhere(self.host))
        )

    def has_token(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request brings the token, if there is one, in a time that does not depend on it."""
        if self.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return self.is_token(given.strip().encode("latin-1")) and scheme.lower() == SCHEME

    def is_token(self, given: bytes) -> bool:
        """Compare with the token, in constant time."""
        return self.token is not None and hmac.compare_digest(given, self.token.encode())


def is_from_other_site(headers: Mapping[str, str]) -> bool:
    """Return whether a browser says that a page of another site (or another port) sent this; a program says nothing."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    return (site is not None and site not in SAME_SITE) or (origin is not None and not _is_own(origin, headers))


def opens_page(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether a person follows a link: the browser's window leaves the page that the link was on."""
    return (
        method in {"GET", "HEAD"}
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and "origin" not in headers
    )


def _is_own(origin: str, headers: Mapping[str, str]) -> bool:
    scheme, separator, server = origin.lower().partition("://")
    if not separator or scheme not in DEFAULT_PORTS:
        return False
    default = DEFAULT_PORTS[scheme]
    return server.removesuffix(default) == headers.get("host", "").lower().removesuffix(default)


def require_token_off_loopback(settings: Settings) -> None:
    """Refuse to serve to the network without a token.

    Raises:
        OpenDoorError: saying which settings to change.
    """
    if settings.api_token is None and not is_loopback(settings.host):
        raise OpenDoorError(
            f"LAB_HOST is {settings.host}, which others reach: set LAB_API_TOKEN, or LAB_HOST to 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def api_url(settings: Settings) -> str:
    """Return the address at which the HTTP API of a lab is reached, without a slash at its end."""
    return (settings.api_url or reached_at(settings.host, settings.api_port)).rstrip("/")


def reached_at(host: str, port: int) -> str:
    """Return the address of what listens on a host, from this machine if that is every one of its addresses.

    >>> reached_at("0.0.0.0", 8000), reached_at("::1", 8000)
    ('http://127.0.0.1:8000', 'http://[::1]:8000')
    """
    named = EVERYWHERE.get(host, host)
    return f"http://{f'[{named}]' if ':' in named else named}:{port}"


def listen(host: str, port: int, setting: str) -> socket.socket:
    """Take a port; 0 takes a free one.

    Args:
        host: the address.
        port: of it.
        setting: that says which, for the message.

    Raises:
        LabError: if the address cannot be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because the event loop turns Nagle's delay off only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise LabError(f"cannot listen on {host}:{port}: {error.strerror}. Set {setting} to another.") from None
    listener.listen(BACKLOG)
    return listener


def address(listener: socket.socket) -> str:
    """Return the URL of what listens."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _host_name(header: str) -> str | None:
    found = HOST.fullmatch(header)
    return found[1].lower().strip("[]") if found else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_everywhere(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified
