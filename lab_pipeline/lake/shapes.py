"""What the makers of files leave unsaid: what columns without names are, and what a file's name stands for.

Each answer is certain or none: it holds for rows that bear it out, and names are believed only of files whose columns
are those of the vendor that names its files so.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab_pipeline.lake.lengths import lengths_of

TIME_FIRST = ("timestamp", "open", "high", "low", "close", "volume")
"""Rows of ccxt, of freqtrade's JSON, and of most who write no header."""
OTHER_ORDERS = {
    "Coinbase": ("timestamp", "low", "high", "open", "close", "volume"),
    "KuCoin": ("timestamp", "open", "close", "high", "low", "volume"),
    "Gate.io": ("timestamp", "volume", "close", "high", "low", "open"),
}
"""Rows as wide as `TIME_FIRST`, which must not be taken for it."""
KLINES = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_base_volume",
    "taker_quote_volume",
    "ignore",
)
"""Rows of Binance: files of Binance Vision, which have no header before 2025 on spot, and answers of its API."""
TICKS_PER_MS = {13: 1, 16: 1_000}
"""By the digits of a Unix time: milliseconds, and microseconds as Binance Vision has them of spot since 2025."""
FEWEST_ROWS = 2

FREQTRADE = re.compile(
    r"(?P<mint>[A-Za-z0-9]+(?:_[A-Za-z0-9]+){1,2})-(?P<length>\d{1,2}(?:s|m|h|d|w|M|Mo|y))"
    r"(?:-(?P<kind>futures|spot|mark|index|premiumIndex|funding_rate|open_interest))?\.(?:feather|parquet|json)"
)
FREQTRADE_COLUMNS = ("date", *TIME_FIRST[1:])
TRADES = {None, "futures", "spot"}
"""Kinds of freqtrade's files that are candles of trades."""
BINANCE_VISION = re.compile(
    r"(?P<mint>[A-Z0-9]{2,}(?:_[A-Z0-9]+)?)-(?P<length>\d+(?:s|m|h|d|w|mo))-\d{4}-\d\d(?:-\d\d)?\.csv"
)
TRADING_VIEW = re.compile(r"(?P<mint>[^,]+), (?P<length>\d+[SDWM]?)(?:_[0-9a-f]+)?(?: \(\d+\))?\.csv")
TRADING_VIEW_COLUMNS = ("time", *TIME_FIRST[1:5])
NAMED = re.compile(
    r"(?P<mint>.+?)(?:[-_. ](?P<length>\d{1,3}[smhd]))?(?:[-_. ]\d{4}-\d\d(?:-\d\d)?)?"
    r"(?:\.(?:csv|tsv|txt|parquet|pq|feather|arrow|arrows|ipc|json|jsonl|ndjson|gz|gzip|xz|zst|zstd|bz2|zip)){0,2}"
)
"""Names of all others, for who says that a name is that of the token: a length and a day or month behind it are not."""
DIGITS = re.compile(r"\d+")


class Uncertain(ValueError):  # noqa: N818 - who opens a file makes a LakeError of it
    """What rows could be, which is more than one thing."""


@dataclass(frozen=True)
class NameSays:
    """What the name of a file says of its candles.

    Attributes:
        mint: whose they are.
        length: how long they are, in milliseconds; null if it does not say.
        vendor: who names files so.
        vouched: whether the columns are that vendor's, too: nobody need say that the name is to be believed.
    """

    mint: str
    length: int | None
    vendor: str
    vouched: bool


def names_of_values(rows: Sequence[Sequence[str | None]]) -> tuple[tuple[str, ...], int | None] | None:
    """Name the columns of rows without a header, and tell how long the candles are if they say; null if not known.

    Raises:
        Uncertain: saying what the rows may be, if that is not only one thing.

    >>> names_of_values([["1735689600", "1", "2", "0.5", "1.5", "10"], ["1735689660", "1.5", "3", "1", "2", "4"]])
    (('timestamp', 'open', 'high', 'low', 'close', 'volume'), None)
    """
    widths = {len(row) for row in rows}
    if widths == {len(KLINES)} and (length := _kline_length(rows)) is not None:
        return KLINES, length
    if widths != {len(TIME_FIRST)} or not _are_candles(rows, TIME_FIRST):
        return None
    others = [f"{whose} ({', '.join(order)})" for whose, order in OTHER_ORDERS.items() if _are_candles(rows, order)]
    if others:
        raise Uncertain(f"{len(rows)} rows that may be {', '.join(TIME_FIRST)}, and as well those of {others[0]}")
    return TIME_FIRST, None


def said_by(name: str, columns: Sequence[str], kline_length: int | None) -> NameSays | None:
    """Tell what the name of a file, without directories, says of candles whose columns are those.

    Args:
        name: of the file, without the ending of what it is packed in.
        columns: their names in order, those that were made up for a file without any included.
        kline_length: how long the rows themselves say that they are, of Binance's rows.

    Raises:
        Uncertain: if it names something else than candles of trades.
    """
    lowered = tuple(column.strip().lower().replace(" ", "_") for column in columns)
    if (found := FREQTRADE.fullmatch(name)) and lowered[: len(FREQTRADE_COLUMNS)] in (FREQTRADE_COLUMNS, TIME_FIRST):
        if found["kind"] not in TRADES:
            raise Uncertain(f"freqtrade's {found['kind'].replace('_', ' ')}, which are no candles of trades")
        exact = len(lowered) == len(FREQTRADE_COLUMNS)
        return NameSays(found["mint"], _length(found["length"]), "freqtrade", exact)
    if (found := BINANCE_VISION.fullmatch(name)) and lowered[:6] == KLINES[:6]:
        return NameSays(found["mint"], kline_length or _length(found["length"]), "Binance Vision", vouched=True)
    if (found := TRADING_VIEW.fullmatch(name)) and lowered[: len(TRADING_VIEW_COLUMNS)] == TRADING_VIEW_COLUMNS:
        return NameSays(found["mint"].strip(), _length(found["length"], "resolution"), "TradingView", vouched=False)
    if (found := NAMED.fullmatch(name)) and _length(found["mint"]) is None:
        return NameSays(found["mint"], _length(found["length"]) if found["length"] else None, "its name", vouched=False)
    return None


def base_volume(columns: Mapping[str, int], symbol: str | None) -> int | None:
    """Return which of the columns `volume X` counts tokens: the one whose X begins the symbol (BTC of BTC/USDT)."""
    fitting = [
        place
        for column, place in columns.items()
        if column.startswith("volume_") and (symbol or "").strip().casefold().startswith(column.removeprefix("volume_"))
    ]
    return fitting[0] if len(fitting) == 1 else None


def _kline_length(rows: Sequence[Sequence[str | None]]) -> int | None:
    """Return the milliseconds from open to close, if all rows are Binance's and agree on it."""
    lengths = set()
    for row in rows:
        opened, closed = (row[0] or "").strip(), (row[6] or "").strip()
        per_ms = TICKS_PER_MS.get(len(opened))
        if per_ms is None or len(closed) != len(opened) or not (DIGITS.fullmatch(opened) and DIGITS.fullmatch(closed)):
            return None
        ticks = int(closed) - int(opened) + 1
        if ticks <= 0 or ticks % per_ms:
            return None
        lengths.add(ticks // per_ms)
    return lengths.pop() if len(lengths) == 1 and _are_candles(rows, KLINES, fewest=1) else None


def _are_candles(rows: Sequence[Sequence[str | None]], order: Sequence[str], fewest: int = FEWEST_ROWS) -> bool:
    """Return whether rows keep what candles keep, if their values are these."""
    place = {name: order.index(name) for name in TIME_FIRST[1:]}

    def number(row: Sequence[str | None], name: str) -> float:
        text = row[place[name]] or ""
        return float(text if "." in text else text.replace(",", "."))

    try:
        for row in rows:
            low, high = number(row, "low"), number(row, "high")
            if not (0 < low <= number(row, "open") <= high and low <= number(row, "close") <= high):
                return False
            if number(row, "volume") < 0:
                return False
    except ValueError:
        return False
    return len(rows) >= fewest


def _length(text: str, column: str = "interval") -> int | None:
    if text.endswith("Mo"):
        text = text.lower()
    lengths = lengths_of(column, text)
    return min(lengths) if len(lengths) == 1 else None
