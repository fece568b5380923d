"""Sources on loopback: they answer in the real shapes, from candles of a test's making, with faults on demand."""

import hashlib
import io
import json
import re
import zipfile
from datetime import UTC, datetime

from werkzeug import Response

MINUTE = 60
DAY = 86_400
KEY = "key-of-a-test"


def at(text):
    """Return Unix seconds of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def market(start, minutes, *, missing=()):
    """Make candles by second: open, high, low, close, volume in tokens; exact in binary, so that nothing is rounded."""
    return {
        start + number * MINUTE: (1.0 + number % 7, 16.0, 0.5, 2.0 + number % 3, float(8 * (1 + number % 5)))
        for number in range(minutes)
        if number not in missing
    }


class Source:
    """What a source has, and how it misbehaves.

    Attributes:
        known: name by which the lab remembers it.
        chain: of its tokens.
        exchange: of ccxt's, where it is one.
        newest_first: whether the newest candle of an answer comes first.
        unit: of times: how many of them are a second; null for what the source really has.
        candles: by mint, those of `market`.
        page: candles that an answer has at most.
        as_text: whether numbers are written as text.
        overlap: whether a page begins with what the one before ended with.
        faults: answers of the next requests for candles.
        asked: the requests for candles, their paths and queries.
    """

    chain, exchange = "solana", None

    def __init__(self, server):
        self.known = self.name
        self.candles, self.page, self.as_text, self.overlap = {}, 1000, False, False
        self.newest_first, self.unit = True, None
        self.faults, self.asked = [], []
        self.url = server.url_for("")

    def answer(self, request, build):
        """Answer with a fault, if one is left, else with what is built."""
        self.asked.append((request.path, dict(request.args)))
        return self.faults.pop(0) if self.faults else build(request)

    def token(self, name="TOKEN"):
        """Return how the source calls a token."""
        return name

    def ordered(self, times):
        return sorted(times, reverse=self.newest_first)

    def time(self, second):
        return second * (self.unit or 1)

    def written(self, value):
        return str(value) if self.as_text else value


class Gecko(Source):
    name, prefix = "geckoterminal", ""

    def __init__(self, server):
        super().__init__(server)
        self.pools = {}
        """By mint: address, created_at, reserve; candles of a pool are those of the mint unless it has its own."""
        tokens = re.compile(rf"{self.prefix}/networks/\w+/tokens/\w+/pools")
        server.expect_request(tokens).respond_with_handler(self._pools)
        path = re.compile(rf"{self.prefix}/networks/\w+/pools/\w+/ohlcv/\w+")
        server.expect_request(path).respond_with_handler(lambda request: self.answer(request, self._ohlcv))

    def settings(self):
        return {"geckoterminal_url": self.url, "geckoterminal_per_minute": 1_000_000}

    def _pools(self, request):
        mint = request.path.split("/")[-2]
        pools = self.pools.get(mint, [(f"pool{mint}", None, "1000.5")] if mint in self.candles else None)
        if pools is None:
            return Response(json.dumps({"errors": [{"status": "404", "title": "Not Found"}]}), 404)
        data = [
            {
                "id": f"solana_{pool}",
                "type": "pool",
                "attributes": {"address": pool, "reserve_in_usd": reserve, "pool_created_at": created},
                "relationships": {"dex": {"data": {"id": "raydium", "type": "dex"}}},
            }
            for pool, created, reserve in pools
        ]
        return Response(json.dumps({"data": data}), content_type="application/json")

    def _ohlcv(self, request):
        pool, _, unit = request.path.split("/")[-3:]
        candles = self.candles.get(pool) or self.candles.get(pool.removeprefix("pool"), {})
        before, limit = int(request.args["before_timestamp"]), min(int(request.args["limit"]), self.page)
        assert request.args["currency"] == "usd"
        assert request.args["include_empty_intervals"] == "false"
        length = {"minute": MINUTE, "hour": 60 * MINUTE, "day": DAY}[unit] * int(request.args["aggregate"])
        times = [time for time in candles if time % length == 0 and time < before + length * self.overlap]
        latest = sorted(times, reverse=True)[:limit]
        rows = [self._row(time, candles[time]) for time in self.ordered(latest)]
        said = {"data": {"id": "x", "type": "ohlcv", "attributes": {"ohlcv_list": rows}}, "meta": {}}
        return Response(json.dumps(said), content_type="application/json")

    def _row(self, time, candle):
        *prices, tokens = candle
        usd = tokens * sum(prices) / 4
        return [self.time(time), *map(self.written, (*prices, usd))]


class CoinGecko(Gecko):
    name, prefix = "coingecko", "/onchain"

    def settings(self):
        return {"coingecko_url": self.url, "coingecko_key": KEY, "coingecko_per_minute": 1_000_000}

    def _ohlcv(self, request):
        assert request.headers["x-cg-pro-api-key"] == KEY
        assert not [name for name, _ in request.headers if "stainless" in name.lower()]
        return super()._ohlcv(request)


class Birdeye(Source):
    name = "birdeye"

    def __init__(self, server):
        super().__init__(server)
        server.expect_request("/defi/v3/ohlcv").respond_with_handler(lambda request: self.answer(request, self._ohlcv))

    def settings(self):
        return {"birdeye_url": self.url, "birdeye_key": KEY, "birdeye_per_minute": 1_000_000}

    def _ohlcv(self, request):
        assert request.headers["X-API-KEY"] == KEY
        assert request.headers["x-chain"] == "solana"
        start, end = int(request.args["time_from"]), int(request.args["time_to"])
        candles = self.candles.get(request.args["address"], {})
        items = [
            {
                "address": request.args["address"],
                "type": request.args["type"],
                "currency": "usd",
                "unix_time": self.time(time),
                "v_usd": 1.0,
                **dict(zip("ohlcv", map(self.written, candles[time]), strict=True)),
            }
            for time in self.ordered(candles)
            if start <= time <= end
        ]
        if self.overlap:
            items += items[-2:]
        said = {"success": True, "data": {"is_scaled_ui_token": False, "items": items}}
        return Response(json.dumps(said), content_type="application/json")


class Binance(Source):
    name, chain = "binance_vision", ""

    def __init__(self, server):
        super().__init__(server)
        self.newest_first = False
        self.header, self.microseconds_from, self.months = False, at("2025-01-01"), True
        path = re.compile(r"/spot/\w+/klines/.*\.zip")
        server.expect_request(re.compile(r".*\.CHECKSUM")).respond_with_handler(self._checksum)
        server.expect_request(path).respond_with_handler(lambda request: self.answer(request, self._zip))

    def settings(self):
        return {"binance_vision_url": self.url, "binance_vision_per_minute": 1_000_000}

    def _zip(self, request):
        content = self._content(request.path)
        return Response("not here", 404) if content is None else Response(content, content_type="application/zip")

    def _checksum(self, request):
        path = request.path.removesuffix(".CHECKSUM")
        digest = hashlib.sha256(self._content(path)).hexdigest()
        return Response(f"{digest}  {path.rpartition('/')[2]}\n")

    def _content(self, path):
        _, _, kind, _, symbol, interval, file = path.split("/")
        period = file.removeprefix(f"{symbol}-{interval}-").removesuffix(".zip")
        if kind == "monthly" and not self.months:
            return None
        rows = [
            self._row(time, self.candles[symbol][time])
            for time in self.ordered(self.candles.get(symbol, {}))
            if f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}".startswith(period)
        ]
        if not rows:
            return None
        names = ["open_time,open,high,low,close,volume,close_time,quote_volume,count,taker,taker_quote,ignore"]
        rows += rows[-2:] if self.overlap else []
        text = "\n".join([*(names if self.header else []), *rows]) + "\n"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(zipfile.ZipInfo(file.replace(".zip", ".csv")), text)
        return packed.getvalue()

    def _row(self, time, candle):
        unit = self.unit or (1_000_000 if time >= self.microseconds_from else 1_000)
        return ",".join(map(str, [time * unit, *candle, (time + MINUTE) * unit - 1, 0, 0, 0, 0, 0]))


class Spot(Source):
    """Binance's spot market, as ccxt asks for it; its other markets are empty."""

    name, exchange, chain = "ccxt", "binance", ""

    def __init__(self, server):
        super().__init__(server)
        self.known, self.newest_first = "ccxt-binance", False
        server.expect_request(re.compile(r"/.api/v1/exchangeInfo")).respond_with_json({"symbols": []})
        server.expect_request("/api/v3/exchangeInfo").respond_with_handler(self._markets)
        server.expect_request("/api/v3/klines").respond_with_handler(lambda request: self.answer(request, self._klines))

    def settings(self):
        return {"ccxt_url": self.url, "ccxt_per_minute": 1_000_000}

    def token(self, name="TOKEN"):
        return f"{name}/USDT"

    def _markets(self, _):
        said = {"status": "TRADING", "isSpotTradingAllowed": True, "filters": []}
        pairs = [(mint.replace("/", ""), *mint.split("/")) for mint in self.candles]
        symbols = [{**said, "symbol": one, "baseAsset": base, "quoteAsset": quote} for one, base, quote in pairs]
        return Response(json.dumps({"symbols": symbols}), content_type="application/json")

    def _klines(self, request):
        assert request.args["interval"] == "1m"
        (candles,) = (
            candles for mint, candles in self.candles.items() if mint.replace("/", "") == request.args["symbol"]
        )
        start, limit = int(request.args["startTime"]), min(int(request.args["limit"]), self.page)
        times = sorted(time for time in candles if time * 1000 >= start - MINUTE * 1000 * self.overlap)[:limit]
        rest = ["0", 0, "0", "0", "0"]
        rows = [
            [time * 1000, *map(str, candles[time]), (time + MINUTE) * 1000 - 1, *rest] for time in self.ordered(times)
        ]
        return Response(json.dumps(rows), content_type="application/json")


def cut(content_type="application/json"):
    """Answer with fewer bytes than are announced."""

    def body():
        yield b'{"data": '

    return Response(body(), headers={"Content-Length": "1000"}, content_type=content_type)
