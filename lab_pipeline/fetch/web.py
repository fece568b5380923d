"""Ask a source over HTTP: at its pace, again where that can help, and keep what it answers."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx
import tenacity

from lab_pipeline.domain.text import shown
from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.fetch.pace import LONGEST_WAIT_SECONDS, Pace
from lab_pipeline.fetch.raw import RawAnswers

ATTEMPTS = 6
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 0.5
"""Before the second attempt, up to twice of it with the jitter; doubled before each further one."""
PASSING = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS}
FORBIDDEN = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class _PassingError(FetchError):
    """It may be answered if asked again."""

    may_pass = True


class _LaterError(FetchError):
    """It will be answered later than anybody waits here."""

    may_pass = True


@dataclass(frozen=True)
class Address:
    """Where a source is.

    Attributes:
        name: of the source.
        url: what its paths are below.
        headers: of each request, a key among them.
        key_setting: the variable that holds the key, if there is one.
    """

    name: str
    url: str
    headers: Mapping[str, str]
    key_setting: str | None = None


class Web:
    """A source over HTTP. Close it when done."""

    def __init__(self, address: Address, pace: Pace, raw: RawAnswers) -> None:
        self._address, self._pace, self._raw = address, pace, raw
        self.requests = 0
        proxies = urlsplit(address.url).hostname not in LOOPBACK
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=proxies, headers=dict(address.headers))

    def get(
        self,
        path: str,
        parameters: Mapping[str, str] | None = None,
        *,
        suffix: str = "json",
        headers: Mapping[str, str] | None = None,
    ) -> bytes | None:
        """Return what a path answers, or null if there is no such thing (404).

        Args:
            path: below the address.
            parameters: of the query.
            suffix: what the answer is; it is kept under it.
            headers: of this request.

        Raises:
            FetchError: if it is not answered.
        """
        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_exponential_jitter(multiplier=PAUSE_SECONDS, jitter=PAUSE_SECONDS),
            retry=tenacity.retry_if_exception_type(_PassingError),
            reraise=True,
        )
        return attempts(self._attempt, path, parameters or {}, suffix, headers or {})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _attempt(
        self, path: str, parameters: Mapping[str, str], suffix: str, headers: Mapping[str, str]
    ) -> bytes | None:
        self._pace.wait()
        self.requests += 1
        try:
            url = self._address.url.rstrip("/") + path
            answer = self._client.get(url, params=dict(parameters), headers=dict(headers))
        except httpx.TransportError as error:
            raise _PassingError(f"{self._address.name} cannot be reached: {error or type(error).__name__}") from None
        if answer.is_success:
            self._raw.keep(answer.content, suffix, path, parameters)
            return answer.content
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        what = f"{self._address.name} answers {answer.status_code} {answer.reason_phrase} for {path}"
        if answer.status_code in FORBIDDEN:
            cure = (
                f": set {self._address.key_setting}, or look at the plan of its key"
                if self._address.key_setting
                else ""
            )
            raise FetchError(what + cure)
        if answer.is_server_error or answer.status_code in PASSING:
            self._hold(answer, what)
            raise _PassingError(what)
        raise FetchError(f"{what}: {shown(answer.text)}")

    def _hold(self, answer: httpx.Response, what: str) -> None:
        """Have all processes wait for as long as a source asks.

        Raises:
            FetchError: if that is too long to wait.
        """
        seconds = retry_after_seconds(answer.headers.get("retry-after"))
        if seconds is None:
            return
        if seconds > LONGEST_WAIT_SECONDS:
            raise _LaterError(f"{what} and asks to come back in {seconds:,.0f} seconds: do the same again then")
        self._pace.hold(seconds)


def retry_after_seconds(text: str | None) -> float | None:
    """Return how long an answer asks to wait, in seconds or until a date; null if it does not say, or not clearly.

    >>> retry_after_seconds("2"), retry_after_seconds("soon"), retry_after_seconds(None)
    (2.0, None, None)
    """
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, aware.timestamp() - time.time())
