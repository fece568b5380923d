"""From Arrow's many types to the few that `parsing` reads, each with its exact meaning or not at all."""

import uuid

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from lab_pipeline.domain import frames

MS_PER_DAY = 86_400_000
FARTHEST_SECONDS = 10**12
"""Far outside the times that are taken, as all beyond it is."""
EXTENSION = b"ARROW:extension:name"
NEEDED = {
    pl.String(): "names are text, whole numbers or UUIDs",
    pl.Float64(): "numbers are needed",
    frames.TIMESTAMP: "times are timestamps, dates, text, or Unix numbers that are exact (no 16 or 32-bit floats)",
}
"""What a column must be, by the type that the lake gives it."""


def why_unusable(field: pa.Field, wanted: pl.DataType) -> str | None:
    """Say why a column of this type cannot become the wanted one; null if it can."""
    kind = _plain(field.type)
    foreign = isinstance(kind, pa.BaseExtensionType) or EXTENSION in (field.metadata or {})
    if not (kind == pa.uuid() and wanted == pl.String) and (foreign or not _is_readable(kind, wanted)):
        return f"is {field.type}: {NEEDED[wanted]}"
    return None


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is one of Arrow's texts."""
    return any((kinds.is_string(kind), kinds.is_large_string(kind), kinds.is_string_view(kind)))


def to_series(values: pa.Array, wanted: pl.DataType) -> pl.Series:
    """Convert a column that is not unusable: to text, a number or a time (UTC, without zone), never inexactly."""
    if kinds.is_dictionary(values.type) and is_text(values.type.value_type):
        return _text(values.dictionary).gather(_series(values.indices))
    values = _decoded(values)
    if values.type == pa.uuid():
        return pl.Series([None if one is None else str(uuid.UUID(bytes=one)) for one in values.storage.to_pylist()])
    if kinds.is_date(values.type) or kinds.is_timestamp(values.type):
        return _times(values)
    if kinds.is_null(values.type) or is_text(values.type) or kinds.is_decimal(values.type) or wanted == pl.String:
        return _text(values)
    return _series(values.cast(pa.float64()) if kinds.is_float16(values.type) else values)


def to_labels(values: pa.Array) -> pl.Series:
    """Convert a column that may say how long candles are to text; null where its type says no such thing."""
    values = _decoded(values)
    kind = values.type
    if kinds.is_duration(kind):
        return _series(values.view(pa.int64())).cast(pl.String) + str(kind.unit)
    readable = is_text(kind) or kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)
    return _text(values if readable else pa.nulls(len(values)))


def _plain(kind: pa.DataType) -> pa.DataType:
    while kinds.is_dictionary(kind) or kinds.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind


def _decoded(values: pa.Array) -> pa.Array:
    while True:
        if kinds.is_dictionary(values.type):
            values = values.dictionary_decode()
        elif kinds.is_run_end_encoded(values.type):
            values = pc.run_end_decode(values)
        else:
            return values


def _is_readable(kind: pa.DataType, wanted: pl.DataType) -> bool:
    accepted: list[bool] = [kinds.is_null(kind), is_text(kind), kinds.is_integer(kind)]
    if wanted == pl.String:
        accepted.append(kinds.is_decimal(kind) and kind.scale == 0)
    elif wanted == pl.Float64:
        accepted += [kinds.is_floating(kind), kinds.is_decimal(kind)]
    else:
        accepted += [kinds.is_float64(kind), kinds.is_decimal(kind), kinds.is_timestamp(kind), kinds.is_date(kind)]
    return any(accepted)


def _times(values: pa.Array) -> pl.Series:
    """Take the instants alone: whatever a zone is called, Arrow keeps them in UTC."""
    if kinds.is_date32(values.type):
        days = _series(values.view(pa.int32())).cast(pl.Int64)
        return (days * MS_PER_DAY).cast(pl.Datetime("ms"))
    ticks = _series(values.view(pa.int64()))
    match None if kinds.is_date64(values.type) else values.type.unit:
        case "s":
            return (ticks.clip(-FARTHEST_SECONDS, FARTHEST_SECONDS) * 1000).cast(pl.Datetime("ms"))
        case "us":
            return ticks.cast(pl.Datetime("us"))
        case "ns":
            return ticks.cast(pl.Datetime("ns"))
        case _:
            return ticks.cast(pl.Datetime("ms"))


def _text(values: pa.Array) -> pl.Series:
    text = values.cast(pa.large_string())
    text.validate(full=True)  # what others wrote need not be UTF-8
    return _series(text)


def _series(values: pa.Array) -> pl.Series:
    series = pl.from_arrow(values)
    assert isinstance(series, pl.Series)  # noqa: S101 - an array is one
    return series
