"""The sources by name, as the settings of a lab describe them."""

from pathlib import Path

from pydantic import SecretStr

from lab_pipeline.domain.text import shown
from lab_pipeline.fetch.binance_vision import BinanceVision
from lab_pipeline.fetch.birdeye import Birdeye
from lab_pipeline.fetch.coingecko import CoinGecko
from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.fetch.exchange import Exchange
from lab_pipeline.fetch.freqtrade import Freqtrade
from lab_pipeline.fetch.geckoterminal import GeckoTerminal, Public
from lab_pipeline.fetch.ledger import Ledger
from lab_pipeline.fetch.pace import Pace
from lab_pipeline.fetch.quantbot import in_clickhouse, in_duckdb
from lab_pipeline.fetch.raw import RawAnswers
from lab_pipeline.fetch.source import CandleSource
from lab_pipeline.fetch.web import Address, Web
from lab_pipeline.settings import PREFIX, Settings

SOURCES = ("geckoterminal", "coingecko", "birdeye", "ccxt", "binance_vision", "freqtrade", "clickhouse", "duckdb")
"""Where candles come from."""
FILES = ("freqtrade", "duckdb")
"""Those that a path names."""
EXCHANGES = "ccxt"
"""That which is one for each exchange."""
GECKO_HEADERS = {"accept": "application/json;version=20230302"}


def remembered_as(name: str, exchange: str | None) -> str:
    """Return the name by which a source is remembered."""
    return name if exchange is None else f"{name}-{exchange}"


def open_source(
    name: str, settings: Settings, ledger: Ledger, path: Path | None = None, exchange: str | None = None
) -> CandleSource:
    """Open a source. Close it when done.

    Args:
        name: one of `SOURCES`.
        settings: of the lab: addresses, keys, limits.
        ledger: of the lab.
        path: of a directory or file, for those of `FILES`.
        exchange: for `EXCHANGES`, as ccxt calls it.

    Raises:
        FetchError: if there is no such source, or something is missing that it needs.
    """
    _check(name, path, exchange)
    match name:
        case "geckoterminal":
            address = Address(name, settings.geckoterminal_url, GECKO_HEADERS)
            web = _web(settings, address, settings.geckoterminal_per_minute)
            return GeckoTerminal(name, settings.geckoterminal_per_minute, 0.0, Public(web), ledger)
        case "coingecko":
            key = _needed(settings.coingecko_key, "COINGECKO_KEY")
            address = Address(name, settings.coingecko_url, {}, f"{PREFIX}COINGECKO_KEY")
            web = _web(settings, address, settings.coingecko_per_minute)
            return GeckoTerminal(
                name,
                settings.coingecko_per_minute,
                settings.coingecko_cost_per_1000,
                CoinGecko(web, settings.coingecko_url, key),
                ledger,
                has_seconds=True,
            )
        case "birdeye":
            header = {"X-API-KEY": _needed(settings.birdeye_key, "BIRDEYE_KEY")}
            address = Address(name, settings.birdeye_url, header, f"{PREFIX}BIRDEYE_KEY")
            web = _web(settings, address, settings.birdeye_per_minute)
            return Birdeye(settings.birdeye_per_minute, settings.birdeye_cost_per_1000, web)
        case "binance_vision":
            address = Address(name, settings.binance_vision_url, {})
            limit = settings.binance_vision_per_minute
            return BinanceVision(limit, _web(settings, address, limit))
        case "clickhouse":
            return in_clickhouse(_needed(settings.candles_clickhouse_url, "CANDLES_CLICKHOUSE_URL"))
    if exchange is not None:
        known = remembered_as(name, exchange)
        web = _web(settings, Address(known, settings.ccxt_url or "", {}), settings.ccxt_per_minute)
        return Exchange(known, exchange, settings.ccxt_per_minute, web, moved=settings.ccxt_url is not None)
    if path is None:
        raise FetchError(f"source {name} needs --path")
    return Freqtrade(path) if name == "freqtrade" else in_duckdb(path)


def _check(name: str, path: Path | None, exchange: str | None) -> None:
    """Refuse what does not go together."""
    if name not in SOURCES:
        raise FetchError(f"there is no source '{name}': use one of {', '.join(SOURCES)}")
    if (path is None) == (name in FILES):
        raise FetchError(f"source {name} needs --path" if path is None else f"--path is not for source {name}")
    if (exchange is None) == (name == EXCHANGES):
        raise FetchError(
            f"source {name} needs --exchange, such as kraken"
            if exchange is None
            else f"--exchange is not for source {name}"
        )
    if exchange is not None and not exchange.isidentifier():  # files are named after it
        raise FetchError(f"ccxt knows no exchange {shown(exchange)}: say one of its ids, such as kraken")


def _web(settings: Settings, address: Address, per_minute: int) -> Web:
    pace = Pace(settings.home / "locks" / f"{address.name}.pace", per_minute)
    return Web(address, pace, RawAnswers(settings.raw_dir / address.name))


def _needed(value: SecretStr | None, setting: str) -> str:
    if value is None:
        raise FetchError(f"this source needs {PREFIX}{setting}")
    return value.get_secret_value()
