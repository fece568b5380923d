"""From raw columns to the lake's types: numbers, texts, and times in four notations.

What cannot be read becomes null, which the rules refuse like any other null; `why_null` then says what was wrong.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.lake.layout import Table

NS_PER_MS = 1_000_000
TICKS_PER_MS = {"ms": 1, "us": 1_000, "ns": NS_PER_MS}
ISO_8601 = re.compile(
    r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2}(?:\.\d{1,9})?))? ?([Zz]|[+-]\d{2}(?::?\d{2})?)?)?$"
)
NUMBER = re.compile(r"^\d+(\.\d*)?$")


class TimeUnit(StrEnum):
    """How a file writes its times; one for all of its rows."""

    ISO = "ISO 8601"
    SECONDS = "Unix seconds"
    MILLISECONDS = "Unix milliseconds"
    MICROSECONDS = "Unix microseconds"


NS_PER_UNIT = {TimeUnit.SECONDS: 10**9, TimeUnit.MILLISECONDS: 10**6, TimeUnit.MICROSECONDS: 10**3}
EARLIEST_NS = 10**17
"""1973-03-03. With this and the latest the magnitudes of the three units do not overlap."""
LATEST_NS = 9 * 10**18
"""2255-03-14, near the end of 64-bit nanoseconds."""


@dataclass(frozen=True)
class Parsed:
    """A batch in the lake's types.

    Attributes:
        frame: the table's columns, null where a value could not be read, in the order of the raw rows.
        off_grid: whether a time is not a multiple of the grid. Length n.
    """

    frame: pl.DataFrame
    off_grid: pl.Series


def parse(raw: pl.DataFrame, table: Table, unit: TimeUnit | None, grid_ms: int | None) -> Parsed:
    """Parse a batch.

    Args:
        raw: the table's columns in any type.
        table: which columns, and what they should become.
        unit: how the source writes times; null if it has none that can be read.
        grid_ms: times should be multiples of this. Null for times off any grid: they round up to the next
            millisecond, so that nothing is known before it was said.
    """
    columns, off_grid = [], pl.repeat(value=False, n=raw.height, eager=True)
    for name, dtype in table.columns.items():
        values = raw[name]
        if dtype == pl.String:
            columns.append(values.cast(pl.String, strict=False).str.strip_chars())
        elif dtype == pl.Float64:
            columns.append(_numbers(values))
        else:
            ticks, per_ms = _ticks(values, unit)
            if grid_ms:
                off_grid = (ticks % (grid_ms * per_ms) != 0).fill_null(value=False)
            columns.append((-(-ticks // per_ms)).cast(frames.TIMESTAMP).alias(name))
    return Parsed(pl.DataFrame(columns), off_grid)


def time_column(table: Table) -> str:
    """Return the name of the table's only time."""
    return next(name for name, dtype in table.columns.items() if dtype == frames.TIMESTAMP)


def time_unit(values: pl.Series) -> TimeUnit | None:
    """Detect the unit of a source from its first value that can be read, Unix units by magnitude."""
    if isinstance(values.dtype, pl.Datetime | pl.Date):
        return TimeUnit.ISO
    units = (_unit_of(value) for value in values)
    return next((unit for unit in units if unit), None)


def why_null(name: str, value: Any, table: Table, unit: TimeUnit | None) -> str:  # noqa: ANN401 - a cell of any type
    """Say why a raw value became null."""
    if value is None:
        return "must not be missing"
    if table.columns[name] == pl.Float64:
        return "must be a number"
    if table.columns[name] == pl.String:
        return "must be text"
    found = _unit_of(value)
    if found and found != unit:
        return f"mixed time units: this is {found}, the file began with {unit}"
    return "must be a time: ISO 8601 such as 2018-01-10T04:55:00Z, or Unix seconds, milliseconds or microseconds"


def _numbers(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        values = values.str.strip_chars()
    elif not values.dtype.is_numeric():
        return pl.repeat(None, len(values), dtype=pl.Float64, eager=True).alias(values.name)
    numbers = values.cast(pl.Float64, strict=False)
    return numbers.set(numbers == 0, 0.0)  # -0.0 becomes 0.0, so that equal values have equal bytes


def _ticks(values: pl.Series, unit: TimeUnit | None) -> tuple[pl.Series, int]:
    """Return times as integers, null where a value is not a time in the unit, and how many make a millisecond."""
    if isinstance(values.dtype, pl.Datetime):
        return values.to_physical(), TICKS_PER_MS[values.dtype.time_unit]
    if values.dtype == pl.Date:
        return values.cast(pl.Datetime("ms")).to_physical(), 1
    if unit is None:
        return pl.repeat(None, len(values), dtype=pl.Int64, eager=True).alias(values.name), NS_PER_MS
    if unit is TimeUnit.ISO:
        return _iso_nanoseconds(values.cast(pl.String, strict=False)), NS_PER_MS
    return _unix_nanoseconds(values, NS_PER_UNIT[unit]), NS_PER_MS


def _unix_nanoseconds(values: pl.Series, factor: int) -> pl.Series:
    if values.dtype.is_integer():
        number = values.cast(pl.Decimal(38, 9), strict=False)
    else:  # through text, because 1515560100.123 as a float is a little more or less than that
        number = values.cast(pl.String, strict=False).str.strip_chars().str.to_decimal(scale=9)
    in_range = number.is_between(EARLIEST_NS // factor, LATEST_NS // factor)
    return (number.set(~in_range, None) * factor).cast(pl.Int64, strict=False)


def _iso_nanoseconds(values: pl.Series) -> pl.Series:
    texts = values.alias("text").to_frame()
    fields = pl.col("text").str.strip_chars().str.extract_groups(ISO_8601.pattern).struct
    date, minute, second, offset = (fields.field(str(number)) for number in range(1, 5))
    local = pl.concat_str(
        date, pl.lit(" "), minute.fill_null("00:00"), pl.lit(":"), second.fill_null("00")
    ).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns", strict=False)
    digits = offset.str.replace(":", "")
    hours = digits.str.slice(1, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = digits.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    shift = sign * (hours * 60 + minutes) * 60 * 10**9
    return texts.select(local.to_physical() - shift).to_series()


def _unit_of(value: Any) -> TimeUnit | None:  # noqa: ANN401 - a cell of any type
    text = str(value).strip()
    if ISO_8601.match(text):
        return TimeUnit.ISO
    if not NUMBER.match(text):
        return None
    return next((unit for unit, ns in NS_PER_UNIT.items() if EARLIEST_NS <= float(text) * ns <= LATEST_NS), None)
