"""Tell a program elsewhere what happened: signed JSON over HTTP, after the Standard Webhooks specification."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import tenacity

from lab_pipeline.domain.backtest import iso
from lab_pipeline.domain.errors import LabError
from lab_pipeline.settings import ENCODED_SECRET, Settings

ATTEMPTS = 3
TIMEOUT_SECONDS = 5.0
PAUSE_SECONDS = 0.5
"""Before the second attempt, up to twice of it with the jitter; doubled before the third."""
PASSING = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS}
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class DeliveryError(LabError):
    """The receiver did not take a notice."""


class _PassingError(DeliveryError):
    """It may take it if asked again."""


@dataclass(frozen=True)
class Notice:
    """Something to tell.

    Attributes:
        id: the same for the same notice, so that a receiver can drop duplicates.
        type: what happened, such as ``run.failed``.
        happened_at: when, UTC.
        data: more of it, JSON under camelCase names.
    """

    id: str
    type: str
    happened_at: datetime
    data: Mapping[str, Any]

    def body(self) -> bytes:
        """Return the JSON that is sent and signed."""
        document = {"type": self.type, "timestamp": iso(self.happened_at), "data": self.data}
        return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True)
class Webhook:
    """The receiver of notices.

    Attributes:
        url: where it listens.
        secret: that it shares with the lab.
    """

    url: str
    secret: str = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the receiver of a lab, if it has one."""
        if settings.webhook_url is None or settings.webhook_secret is None:
            return None
        return cls(settings.webhook_url.get_secret_value(), settings.webhook_secret.get_secret_value())

    @property
    def host(self) -> str:
        """Whom it belongs to; the rest of the address may be a secret."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    def deliver(self, notice: Notice) -> None:
        """Send a notice; a receiver that is away or overloaded is asked up to three times.

        Raises:
            DeliveryError: saying what it answered, if it did not take it.
        """
        proxies = urlsplit(self.url).hostname not in LOOPBACK
        with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=proxies) as client:
            attempts = tenacity.Retrying(
                stop=tenacity.stop_after_attempt(ATTEMPTS),
                wait=tenacity.wait_exponential_jitter(multiplier=PAUSE_SECONDS, jitter=PAUSE_SECONDS),
                retry=tenacity.retry_if_exception_type(_PassingError),
                reraise=True,
            )
            attempts(self._attempt, client, notice)

    def _attempt(self, client: httpx.Client, notice: Notice) -> None:
        body, now = notice.body(), int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": notice.id,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(self.secret, notice.id, now, body),
        }
        try:
            answer = client.post(self.url, content=body, headers=headers)
        except httpx.TransportError as error:
            raise _PassingError(f"the webhook at {self.host} cannot be reached: {error}") from None
        if answer.is_success:
            return
        passing = answer.is_server_error or answer.status_code in PASSING
        kind = _PassingError if passing else DeliveryError
        raise kind(f"the webhook at {self.host} answers {answer.status_code} {answer.reason_phrase}")


def sign(secret: str, notice_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a notice: `v1,` and the Base64 of an HMAC-SHA256 over `id.timestamp.body`.

    >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
    ...      b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    encoded = secret.startswith(ENCODED_SECRET)
    key = base64.b64decode(secret.removeprefix(ENCODED_SECRET)) if encoded else secret.encode()
    signed = b".".join((notice_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
