import pandera.errors
import polars as pl
import pytest

from lab_pipeline.domain import frames, schemas

CANDLE = {"mint": "A", "timestamp": 0, "open": 1.0, "high": 1.2, "low": 0.9, "close": 1.1, "volume": 5.0}
TRADE = {
    "call_id": "c1", "caller": "ann", "mint": "A", "trade_no": 1, "called_at": 0,
    "entry_time": 60_000, "entry_price": 1.0, "exit_time": 120_000, "exit_price": 2.0, "exit_reason": "target",
    "gross_return": 1.0, "net_return": 1.0, "mfe": 1.0, "mae": 0.0, "hold_minutes": 1.0,
    "quantity": 1.0, "invested": 1.0, "pnl": 1.0, "taken": True, "skip_reason": None,
}  # fmt: skip


def frame(schema, *rows):
    return pl.DataFrame([list(row.values()) for row in rows], schema=schema, orient="row")


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (schemas.CANDLES, frames.CANDLES),
        (schemas.CALLS, frames.CALLS),
        (schemas.FILLS, frames.FILLS),
        (schemas.TRADES, frames.TRADES),
        (schemas.PATHS, frames.PATHS),
        (schemas.OUTCOMES, frames.OUTCOMES),
        (schemas.EQUITY, frames.EQUITY),
    ],
    ids=["candles", "calls", "fills", "trades", "paths", "outcomes", "equity"],
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


@pytest.mark.parametrize(
    "change",
    [
        {"entry_time": -1},
        {"exit_time": 0},
        {"exit_reason": "entry"},
        {"exit_reason": "luck"},
        {"net_return": -1.5},
        {"net_return": float("nan")},
        {"mfe": -0.1},
        {"mae": 0.1},
        {"taken": False},
        {"skip_reason": "no_cash"},
        {"trade_no": 0},
    ],
)
def test_a_trade_that_cannot_be_is_refused(change):
    schemas.TRADES.validate(frame(frames.TRADES, TRADE))
    with pytest.raises(pandera.errors.SchemaError):
        schemas.TRADES.validate(frame(frames.TRADES, TRADE | change))
