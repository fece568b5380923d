"""How long candles are by what a file says of itself."""

import re
from collections.abc import Iterable, Mapping

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
WEEK_MS, MONTH_MS = 7 * DAY_MS, 30 * DAY_MS
UNITS = {
    MONTH_MS: "mo mon month months monthly mth mn",
    WEEK_MS: "w wk week weeks weekly",
    DAY_MS: "d day days daily",
    HOUR_MS: "h hr hrs hour hours hourly",
    MINUTE_MS: "m min mins minute minutes minutely t",
    SECOND_MS: "s sec secs second seconds",
    1: "ms msec millisecond milliseconds",
}
UNIT_MS = {word: length for length, words in UNITS.items() for word in words.split()}
AROUND = re.compile(
    r"^(?:ohlcv?|candlesticks?|candles?|klines?|bars?)[ _:-]*|[ _:-]*(?:ohlcv?|candles?|klines?|bars?)$"
)
COUNTED = re.compile(r"(\d{1,12})[ _-]?([a-z]+)")
METATRADER = re.compile(r"(s|m|h|d|w|mn)(\d{1,3})")
ISO_DURATION = re.compile(r"(pt?)(\d{1,6})([smhdw])")
CLOCK = re.compile(r"(?:(\d{1,3}) days?,? )?(\d{1,2}):(\d\d):(\d\d)(?:\.0+)?")
BARE = re.compile(r"(\d{1,12})(?:\.0*)?")
BARE_UNITS = {
    "interval_seconds": [SECOND_MS],
    "resolution": [MINUTE_MS, SECOND_MS],  # as charts have it; what is no number of minutes, in seconds
    "interval": [SECOND_MS, MINUTE_MS, 1],
    "timeframe": [SECOND_MS, MINUTE_MS, 1],
    "type": [],
}
"""What a number without a unit may count, by column: if several make a length, the row says one of them."""
LENGTH_COLUMNS = tuple(BARE_UNITS)
FIRST_ONLY = {"resolution"}
MOST_LENGTHS = 1_000
"""Different texts in a column; with more it says something else."""

Lengths = frozenset[int]


def lengths_of(column: str, text: str | None) -> Lengths:
    """Return the lengths in milliseconds that a cell may mean; none if it does not speak of a length.

    >>> lengths_of("interval", "1H"), lengths_of("resolution", "60"), lengths_of("type", "spot")
    (frozenset({3600000}), frozenset({3600000}), frozenset())
    """
    cell = AROUND.sub("", (text or "").strip().casefold())
    if number := BARE.fullmatch(cell):
        return _bare(column, int(number[1]))
    if found := COUNTED.fullmatch(cell):
        return _counted(int(found[1]), found[2], text or "")
    if found := ISO_DURATION.fullmatch(cell):
        return _counted(int(found[2]), "mo" if found[1] == "p" and found[3] == "m" else found[3], "")
    if found := METATRADER.fullmatch(cell):
        return _counted(int(found[2]), found[1], "")
    if found := CLOCK.fullmatch(cell):
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return _some((days * 24 + hours) * HOUR_MS + minutes * MINUTE_MS + seconds * SECOND_MS)
    if len(cell) == 1 and column == "type":
        return frozenset()
    return _counted(1, cell, text or "")


def name_of(length: int) -> str:
    """Write a length.

    >>> name_of(3_600_000), name_of(7 * 86_400_000)
    ('1h', '7d')
    """
    units = {"d": DAY_MS, "h": HOUR_MS, "m": MINUTE_MS, "s": SECOND_MS, "ms": 1}
    return next(f"{length // ms}{unit}" for unit, ms in units.items() if length % ms == 0)


def names_of(lengths: Iterable[int]) -> str:
    """Write the lengths that a cell may mean."""
    return " or ".join(name_of(length) for length in sorted(lengths))


def matching(cells: Mapping[str | None, Lengths], length: int) -> list[str]:
    """Return the texts of a column that say, or may say, a length."""
    return [text for text, lengths in cells.items() if text is not None and length in lengths]


def _bare(column: str, number: int) -> Lengths:
    units = BARE_UNITS[column]
    lengths = [number * unit for unit in units if number]
    found = [length for length in lengths if length % SECOND_MS == 0 and DAY_MS % length == 0]
    if column in FIRST_ONLY:
        del found[1:]
    return frozenset(found) or _some(number * units[0] if units else 0)


def _counted(number: int, unit: str, text: str) -> Lengths:
    if unit in {"us", "ns"}:  # a duration's, in whole milliseconds or none
        per_ms = {"us": 1_000, "ns": 1_000_000}[unit]
        return _some(number // per_ms if number % per_ms == 0 else 0)
    lengths = {number * UNIT_MS[unit]} if number and unit in UNIT_MS else set()
    if unit == "m" and "M" in text:  # months for most, minutes for some
        lengths.add(number * MONTH_MS)
    return frozenset(lengths)


def _some(length: int) -> Lengths:
    return frozenset({length}) if length else frozenset()
