"""Who may ask: whoever is on this machine, or has the token."""

import hmac
import ipaddress

from starlette.datastructures import Headers

from lab_pipeline.domain.errors import LabError
from lab_pipeline.settings import Settings

OPEN_PATHS = frozenset({"/api/health"})
SCHEME = "bearer"
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "testserver"})


class OpenDoorError(LabError):
    """The API would be open to the network without a token."""


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
    """Tell whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def may_ask(token: str | None, path: str, headers: Headers) -> bool:
    """Tell whether a request may pass; the comparison takes as long for a nearly right token as for a wrong one."""
    if token is None or path in OPEN_PATHS:
        return True
    scheme, _, given = headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    return right and scheme.lower() == SCHEME


def is_known_host(token: str | None, host: str, headers: Headers) -> bool:
    """Tell whether a request names this server.

    Without a token the only protection is that the port is on loopback, and a web page can get a browser to send
    requests there under a name of its own.
    """
    if token is not None:
        return True
    named = headers.get("host", "").rsplit("@", 1)[-1]
    name = named[1:].partition("]")[0] if named.startswith("[") else named.partition(":")[0]
    return name in LOCAL_NAMES or name == host or is_loopback(name)
