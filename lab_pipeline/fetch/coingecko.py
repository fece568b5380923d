"""CoinGecko, by the library of its makers: that says what to ask, the lab does the asking.

So the pace is that of all processes, answers are kept as they came, and what may pass is asked again, as of every
source.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.fetch.web import Web

KEY = "x-cg-pro-api-key"
HEADERS = ("accept", KEY)
"""That are sent; the library would tell what machine this is, too."""


class CoinGecko:
    """What GeckoTerminal has, behind a key."""

    def __init__(self, web: Web, url: str, key: str) -> None:
        """Make a client.

        Args:
            web: asks it.
            url: that `web` asks below.
            key: of a plan with on-chain data.

        Raises:
            FetchError: if the library is not installed.
        """
        try:
            import coingecko_sdk  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - an extra
        except ModuleNotFoundError:
            raise FetchError("source coingecko needs the library: pip install 'lab-pipeline[coingecko]'") from None
        self._web = web
        self._failed, self._missing = coingecko_sdk.APIConnectionError, coingecko_sdk.NotFoundError
        transport = httpx.Client(transport=_Asking(web, urlsplit(url).path.rstrip("/")))
        client = coingecko_sdk.Coingecko(pro_api_key=key, base_url=url, max_retries=0, http_client=transport)
        self._networks: Any = client.onchain.networks

    def pools(self, network: str, token: str) -> bytes | None:
        """Return what it says of the pools of a token, null if it knows none."""
        return self._read(self._networks.tokens.pools, "get", token, network=network)

    def candles(self, network: str, pool: str, unit: str, parameters: Mapping[str, str]) -> bytes | None:
        """Return what it says of the candles of a pool, null if it knows none."""
        ohlcv = self._networks.pools.ohlcv
        return self._read(ohlcv, "get_timeframe", unit, network=network, pool_address=pool, **parameters)

    def close(self) -> None:
        """Let go of connections."""
        self._web.close()

    def _read(self, resource: Any, method: str, *arguments: str, **named: Any) -> bytes | None:  # noqa: ANN401 - the library's
        try:
            answer: bytes = getattr(resource.with_raw_response, method)(*arguments, **named).http_response.content
        except self._missing:
            return None
        except self._failed as error:
            raise error.__cause__ or error from None
        return answer


class _Asking(httpx.BaseTransport):
    """Has the lab send what the library would."""

    def __init__(self, web: Web, below: str) -> None:
        self._web, self._below = web, below

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode().partition("?")[0].removeprefix(self._below)
        headers = {name: request.headers[name] for name in HEADERS}
        content = self._web.get(path, dict(request.url.params), headers=headers)
        if content is None:
            return httpx.Response(httpx.codes.NOT_FOUND)
        return httpx.Response(httpx.codes.OK, content=content, headers={"content-type": "application/json"})
