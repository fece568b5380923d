import pandera.errors
import polars as pl
import pytest

from lab_pipeline.domain import frames, schemas

CANDLE = {"mint": "A", "timestamp": 0, "open": 1.0, "high": 1.2, "low": 0.9, "close": 1.1, "volume": 5.0}


def frame(schema, *rows):
    return pl.DataFrame([list(row.values()) for row in rows], schema=schema, orient="row")


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (schemas.CANDLES, frames.CANDLES),
        (schemas.CALLS, frames.CALLS),
    ],
    ids=["candles", "calls"],
)
def test_an_empty_frame_is_valid_and_a_missing_column_is_not(table, columns):
    empty = pl.DataFrame(schema=columns)
    assert table.validate(empty).schema == columns
    with pytest.raises(pandera.errors.SchemaError):
        table.validate(empty.drop(columns.names()[-1]))
    with pytest.raises(pandera.errors.SchemaError):
        table.validate(empty.with_columns(extra=pl.lit(1)))


@pytest.mark.parametrize(
    "change",
    [
        {"mint": ""},
        {"open": float("nan")},
        {"open": float("inf")},
        {"low": 0.0},
        {"low": -1.0},
        {"low": 1.05},
        {"high": 1.05},
        {"volume": -1.0},
        {"volume": None},
        {"close": None},
    ],
)
def test_a_candle_that_cannot_be_is_refused(change):
    schemas.CANDLES.validate(frame(frames.CANDLES, CANDLE))
    with pytest.raises(pandera.errors.SchemaError):
        schemas.CANDLES.validate(frame(frames.CANDLES, CANDLE | change))


def test_two_candles_of_one_time_are_refused():
    with pytest.raises(pandera.errors.SchemaError):
        schemas.CANDLES.validate(frame(frames.CANDLES, CANDLE, CANDLE))
    schemas.CANDLES.validate(frame(frames.CANDLES, CANDLE, CANDLE | {"timestamp": 60_000}))
