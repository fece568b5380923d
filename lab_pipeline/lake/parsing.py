"""From raw columns to the lake's types: numbers, texts, and times in five notations.

What cannot be read becomes null, which the rules refuse like any other null; `why_null` then says what was wrong.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.lake.layout import Table

NS_PER_MS = 1_000_000
US_PER_MS = 1_000
TICKS_PER_MS = {"ms": 1, "us": US_PER_MS, "ns": NS_PER_MS}
ISO_8601 = re.compile(
    r"^(\d{4}-\d{2}-\d{2})"
    r"(?:[T ](\d{2}:\d{2})(?::([0-5]\d)(?:[.,](\d{1,9}))?)? ?([Zz]|(?i:UTC|GMT)|[+-]\d{2}(?::?\d{2})?)?)?$"
)
WHOLE_SECONDS = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9](?:[.,]0{1,9})?(?: ?(?:Z|UTC|[+-]00(?::?00)?))?$"
)
"""The part of `ISO_8601` that most files write: whole seconds in UTC."""
OFFSET = re.compile(r"[+-](\d{2}):?(\d{2})?$")
LAST_HOUR, LAST_MINUTE = 23, 59
"""Of an offset from UTC, as RFC 3339 has it."""
DIRECTIONS = {"buy": "long", "bullish": "long", "sell": "short", "bearish": "short"}
"""How else people write what a call is."""
NUMBER = re.compile(r"^\d+(\.\d*)?$")
SCIENTIFIC = re.compile(r"^\d+(\.\d*)?[eE][+-]?\d+$")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_MS, END_MS = ((moment - EPOCH) // timedelta(milliseconds=1) for moment in (frames.EARLIEST, frames.END))


class TimeUnit(StrEnum):
    """How a file writes its times; one for all of its rows."""

    ISO = "ISO 8601"
    SECONDS = "Unix seconds"
    MILLISECONDS = "Unix milliseconds"
    MICROSECONDS = "Unix microseconds"
    NANOSECONDS = "Unix nanoseconds"


NS_PER_UNIT = {
    TimeUnit.SECONDS: 10**9,
    TimeUnit.MILLISECONDS: 10**6,
    TimeUnit.MICROSECONDS: 10**3,
    TimeUnit.NANOSECONDS: 1,
}
EARLIEST_NS = 10**17
"""1973-03-03, before which the magnitudes of the four units would overlap."""
END_NS = END_MS * NS_PER_MS
IN_RANGE = f"must be a time from {frames.EARLIEST:%Y-%m-%d} to before {frames.END:%Y-%m-%d}"
A_TIME = (
    "must be a time: ISO 8601 such as 2018-01-10T04:55:00Z, or Unix seconds, milliseconds, microseconds or "
    f"nanoseconds from 1973 to {frames.END.year - 1}"
)


@dataclass(frozen=True)
class Parsed:
    """A batch in the lake's types.

    Attributes:
        frame: the table's columns and those options that the raw rows have, null where a value could not be read, in
            the order of the raw rows.
        off_grid: whether a time is not a multiple of the grid. Length n.
    """

    frame: pl.DataFrame
    off_grid: pl.Series


def parse(raw: pl.DataFrame, table: Table, unit: TimeUnit | None, grid_ms: int | None, decimal: str = ".") -> Parsed:
    """Parse a batch.

    Args:
        raw: the table's columns, with or without its options: names as text, numbers as numbers or text, times without
            zone, as numbers or text.
        table: which columns, and what they should become.
        unit: how the source writes times; null if it has none that can be read.
        grid_ms: times should be multiples of this. Null for times off any grid: they round up to the next
            millisecond, so that nothing is known before it was said.
        decimal: what is before the fraction of a number; one written with the other sign is none.
    """
    columns, off_grid = [], pl.repeat(value=False, n=raw.height, eager=True)
    for name in table.present(raw.columns):
        values, dtype = raw[name], table.types[name]
        if name in table.options and dtype == pl.String:
            columns.append(
                _said(values) if name != "direction" else _said(values).str.to_lowercase().replace(DIRECTIONS)
            )
        elif dtype == pl.String:
            columns.append(_stripped(values))
        elif isinstance(dtype, pl.List):
            columns.append(_lists(values))
        elif dtype == pl.Float64:
            columns.append(_numbers(values if decimal == "." else _with_points(values)))
        else:
            ticks, per_ms = _ticks(values, unit)
            whole = ticks if per_ms == 1 else -(-ticks // per_ms)
            taken = whole.is_between(EARLIEST_MS, END_MS, closed="left")
            if grid_ms:
                off_grid = (taken & (ticks % (grid_ms * per_ms) != 0)).fill_null(value=False)
            times = whole if taken.all() else whole.set(~taken, None)
            columns.append(times.cast(frames.TIMESTAMP).alias(name))
    return Parsed(pl.DataFrame(columns), off_grid)


def time_unit(values: pl.Series) -> TimeUnit | None:
    """Detect the unit of a source from its first value that can be read, Unix units by magnitude."""
    if isinstance(values.dtype, pl.Datetime):
        return TimeUnit.ISO
    units = (_unit_of(str(value)) for value in values)
    return next((unit for unit in units if unit), None)


def value_at(values: pl.Series, row: int) -> str | None:
    """Return a raw value as text; a time as ISO 8601, or as a number where no calendar reaches."""
    if not isinstance(values.dtype, pl.Datetime):
        value = values[row]
        if isinstance(value, pl.Series):
            return ";".join(map(str, value))
        return None if value is None else str(value)
    ticks, unit = values.to_physical()[row], values.dtype.time_unit
    if ticks is None:
        return None
    try:
        moment = EPOCH + timedelta(microseconds=ticks * US_PER_MS // TICKS_PER_MS[unit])
    except OverflowError:
        return f"{ticks} {unit} since 1970"
    return moment.isoformat().replace("+00:00", "Z")


def why_null(name: str, values: pl.Series, row: int, table: Table, unit: TimeUnit | None) -> str:
    """Say why a raw value became null."""
    text = value_at(values, row)
    if text is None:
        return "must not be missing"
    if isinstance(table.types[name], pl.List):
        return "must be numbers, with semicolons between them"
    if table.types[name] == pl.Float64:
        return "must be a number"
    if isinstance(values.dtype, pl.Datetime):
        return IN_RANGE
    found = _unit_of(text)
    if found and unit and found != unit:
        return f"mixed time units: this is {found}, the file began with {unit}"
    if found is TimeUnit.ISO:
        return _why_no_iso(text.strip())
    if SCIENTIFIC.match(text.strip()):
        return f"{A_TIME}, written out: a number with an exponent has lost digits"
    return A_TIME


def _why_no_iso(text: str) -> str:
    if not _has_offset(text):
        return f"must be a time whose offset from UTC is at most {LAST_HOUR}:{LAST_MINUTE}"
    try:  # seconds and offset can be: what is right otherwise is a time outside
        datetime.fromisoformat(f"{text[:10]}T{text[11:16] or '00:00'}")
    except ValueError:
        return IN_RANGE if text.startswith("0000") else A_TIME
    return IN_RANGE


def _has_offset(text: str) -> bool:
    """Return whether the offset of a text of the form of ISO 8601, if it has one, is one that can be."""
    offset = OFFSET.search(text[10:])
    return offset is None or (int(offset[1]) <= LAST_HOUR and int(offset[2] or 0) <= LAST_MINUTE)


def _stripped(values: pl.Series) -> pl.Series:
    runs = values.rle().struct  # few where a file is sorted by mint
    texts = runs.field("value").str.strip_chars()
    if texts.equals(runs.field("value"), null_equal=True):
        return values
    return texts.gather(np.repeat(np.arange(len(texts)), runs.field("len").to_numpy())).alias(values.name)


def _said(values: pl.Series) -> pl.Series:
    """Return the texts of an option, null for an empty one."""
    texts = values.cast(pl.String).str.strip_chars()
    return texts.set(texts == "", None)


def unread(values: pl.Series, parsed: pl.Series) -> pl.Series:
    """Tell of each value of an option whether it says something that could not be read."""
    there = values.is_not_null()
    if values.dtype == pl.String:
        there &= (values.str.strip_chars() != "").fill_null(value=False)
    if isinstance(values.dtype, pl.List):
        there &= (values.list.len() > 0).fill_null(value=False)
    return there & parsed.is_null()


def _lists(values: pl.Series) -> pl.Series:
    """Read lists of numbers, from text with semicolons between them or in JSON; null for none, or one of no number."""
    if not isinstance(values.dtype, pl.List):
        text = pl.col(values.name).cast(pl.String).str.strip_chars()
        as_json = text.str.starts_with("[") & text.str.ends_with("]")
        inside = pl.when(as_json).then(text.str.strip_chars("[]").str.replace_all(",", ";")).otherwise(text)
        cells = inside.str.split(";").list.eval(pl.element().str.strip_chars())
        values = values.to_frame().select(pl.when(inside.str.strip_chars() != "").then(cells)).to_series()
    numbers = values.cast(pl.List(pl.Float64), strict=False)
    unreadable = (numbers.list.len() == 0) | (numbers.list.eval(pl.element().is_null()).list.any())
    return numbers.set(unreadable.fill_null(value=False), None)


def _with_points(values: pl.Series) -> pl.Series:
    """Write decimal commas as points; null where there is a point, which would be between thousands."""
    if values.dtype != pl.String:
        return values
    has_point = values.str.contains(".", literal=True).fill_null(value=False)
    return values.set(has_point, None).str.replace(",", ".", literal=True)


def _numbers(values: pl.Series) -> pl.Series:
    numbers = values.cast(pl.Float64, strict=False)
    if values.dtype == pl.String and numbers.null_count() > values.null_count():
        numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
    zeros = numbers == 0
    return numbers.set(zeros, 0.0) if zeros.any() else numbers  # -0.0 is 0.0, so that equal values have equal bytes


def _ticks(values: pl.Series, unit: TimeUnit | None) -> tuple[pl.Series, int]:
    """Return times as integers, null where a value is not a time in the unit, and how many make a millisecond."""
    if isinstance(values.dtype, pl.Datetime):
        return values.to_physical(), TICKS_PER_MS[values.dtype.time_unit]
    if unit is None:
        return pl.repeat(None, len(values), dtype=pl.Int64, eager=True).alias(values.name), NS_PER_MS
    if unit is TimeUnit.ISO:
        return _iso_ticks(values.cast(pl.String))
    return _unix_nanoseconds(values, NS_PER_UNIT[unit]), NS_PER_MS


def _unix_nanoseconds(values: pl.Series, factor: int) -> pl.Series:
    if values.dtype.is_integer():
        number = values.cast(pl.Decimal(38, 9), strict=False)
    else:  # through text, because 1515560100.123 as a float is a little more or less than that
        text = values.cast(pl.String).str.strip_chars()
        number = text.set(~text.str.contains(NUMBER.pattern), None).str.to_decimal(scale=9)
    in_range = (number >= EARLIEST_NS // factor) & (number < END_NS // factor)
    return (number.set(~in_range, None) * factor).cast(pl.Int64, strict=False)


def _iso_ticks(values: pl.Series) -> tuple[pl.Series, int]:
    """Read ISO 8601 of any year, null where it is not a time that may be taken."""
    taken = _whole_seconds(values)
    left = taken.is_null() & values.is_not_null()
    if not left.any():
        return taken, 1
    return (taken * NS_PER_MS).scatter(left.arg_true(), _any_iso_nanoseconds(values.filter(left))), NS_PER_MS


def _whole_seconds(values: pl.Series) -> pl.Series:
    """Read what has the form of `WHOLE_SECONDS` in milliseconds, fifty times as fast as all other forms."""
    first = values.drop_nulls().head(1).str.slice(10, 1)
    separator = " " if first.len() and first[0] == " " else "T"
    common = values.set(~values.str.contains(WHOLE_SECONDS), None).str.slice(0, 19)
    moments = common.str.to_datetime(f"%Y-%m-%d{separator}%H:%M:%S", time_unit="ms", strict=False).to_physical()
    return moments.set(~moments.is_between(EARLIEST_MS, END_MS, closed="left"), None)


def _any_iso_nanoseconds(values: pl.Series) -> pl.Series:
    """Read every form, in seconds first, and add the nanoseconds only to times that may be taken."""
    texts = values.alias("text").to_frame()
    fields = pl.col("text").str.strip_chars().str.extract_groups(ISO_8601.pattern).struct
    date, minute, second, fraction, offset = (fields.field(str(number)) for number in range(1, 6))
    local = pl.concat_str(
        date, pl.lit(" "), minute.fill_null("00:00"), pl.lit(":"), second.fill_null("00")
    ).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms", strict=False)
    digits = offset.str.extract(r"^[+-](.*)$").str.replace(":", "")
    hours = digits.str.slice(0, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = digits.str.slice(2, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    utc = local.to_physical() - sign * (hours * 60 + minutes) * 60 * 1000
    taken = utc.is_between(EARLIEST_MS, END_MS, closed="left") & (hours <= LAST_HOUR) & (minutes <= LAST_MINUTE)
    nanoseconds = fraction.str.pad_end(9, "0").cast(pl.Int64).fill_null(0)
    return texts.select(pl.when(taken).then(utc) * NS_PER_MS + nanoseconds).to_series()


def _unit_of(text: str) -> TimeUnit | None:
    text = text.strip()
    if ISO_8601.match(text):
        return TimeUnit.ISO
    if not NUMBER.match(text):
        return None
    return next((unit for unit, ns in NS_PER_UNIT.items() if EARLIEST_NS <= float(text) * ns < END_NS), None)
