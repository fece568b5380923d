"""pandera schemas: `frames` with the rules that every row must keep.

Import this only where frames are checked (ingest, publish, tests): pandera costs half a second.
"""

import pandera.polars as pa
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.enums import FillReason, Outcome, Side, SkipReason

NOT_EMPTY = pa.Check.str_length(min_value=1, error="must not be empty")
FINITE = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).is_finite()), error="must be finite")
POSITIVE = pa.Check.gt(0, error="must be > 0")
NOT_NEGATIVE = pa.Check.ge(0, error="must be >= 0")
NOT_POSITIVE = pa.Check.le(0, error="must be <= 0")
AT_LEAST_ONE = pa.Check.ge(1, error="must be >= 1")


def _row(rule: pl.Expr, error: str) -> pa.Check:
    return pa.Check(lambda data: data.lazyframe.select(rule), error=error)


def _one_of(values: type[FillReason | Outcome | Side | SkipReason]) -> pa.Check:
    return pa.Check.isin([str(value) for value in values])


def _schema(
    columns: pl.Schema,
    rules: dict[str, list[pa.Check]],
    *,
    unique: list[str],
    nullable: frozenset[str] = frozenset(),
    rows: list[pa.Check] | None = None,
) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(
        {name: pa.Column(dtype, rules.get(name, []), nullable=name in nullable) for name, dtype in columns.items()},
        checks=rows or [],
        unique=unique,
        strict=True,
        ordered=True,
    )


CANDLES = _schema(
    frames.CANDLES,
    {
        "mint": [NOT_EMPTY],
        "open": [FINITE, POSITIVE],
        "high": [FINITE, POSITIVE],
        "low": [FINITE, POSITIVE],
        "close": [FINITE, POSITIVE],
        "volume": [FINITE, NOT_NEGATIVE],
    },
    unique=["mint", "timestamp"],
    rows=[
        _row(pl.col("low") <= pl.min_horizontal("open", "close"), "low must be <= open and close"),
        _row(pl.col("high") >= pl.max_horizontal("open", "close"), "high must be >= open and close"),
    ],
)
CALLS = _schema(
    frames.CALLS,
    {"call_id": [NOT_EMPTY], "caller": [NOT_EMPTY], "mint": [NOT_EMPTY]},
    unique=["call_id"],
)
FILLS = _schema(
    frames.FILLS,
    {
        "trade_no": [AT_LEAST_ONE],
        "fill_no": [AT_LEAST_ONE],
        "side": [_one_of(Side)],
        "price": [FINITE, POSITIVE],
        "fraction": [POSITIVE, pa.Check.le(1)],
        "quantity": [FINITE, NOT_NEGATIVE],
        "fee": [FINITE, NOT_NEGATIVE],
        "reason": [_one_of(FillReason)],
    },
    unique=["call_id", "trade_no", "fill_no"],
)
TRADES = _schema(
    frames.TRADES,
    {
        "trade_no": [AT_LEAST_ONE],
        "entry_price": [FINITE, POSITIVE],
        "exit_price": [FINITE, POSITIVE],
        "exit_reason": [pa.Check.isin([str(r) for r in FillReason if r not in (FillReason.ENTRY, FillReason.REENTRY)])],
        "gross_return": [FINITE, pa.Check.ge(-1)],
        "net_return": [FINITE, pa.Check.ge(-1)],
        "mfe": [FINITE, NOT_NEGATIVE],
        "mae": [FINITE, NOT_POSITIVE],
        "hold_minutes": [NOT_NEGATIVE],
        "quantity": [FINITE, NOT_NEGATIVE],
        "invested": [FINITE, NOT_NEGATIVE],
        "pnl": [FINITE],
        "skip_reason": [_one_of(SkipReason)],
    },
    unique=["call_id", "trade_no"],
    nullable=frozenset({"skip_reason"}),
    rows=[
        _row(pl.col("entry_time") >= pl.col("called_at"), "nothing is bought before the call"),
        _row(pl.col("exit_time") >= pl.col("entry_time"), "nothing is sold before it is bought"),
        _row(pl.col("taken") == pl.col("skip_reason").is_null(), "a trade has a skip reason if it was not taken"),
    ],
)
PATHS = _schema(
    frames.PATHS,
    {
        "ath_multiple": [FINITE, AT_LEAST_ONE],
        "final_multiple": [FINITE, POSITIVE],
        "hour_of_day": [pa.Check.in_range(0, 23)],
    },
    unique=["call_id"],
    nullable=frozenset(name for name in frames.PATHS if name.startswith(("time_to_", "min_", "pre_"))),
)
OUTCOMES = _schema(
    frames.OUTCOMES,
    {"outcome": [_one_of(Outcome)], "trades": [NOT_NEGATIVE], "ambiguous_candles": [NOT_NEGATIVE]},
    unique=["call_id"],
)
EQUITY = _schema(
    frames.EQUITY,
    {
        "equity": [FINITE],
        "cash": [FINITE],
        "exposure": [FINITE, pa.Check.in_range(0, 1)],
        "drawdown": [FINITE, pa.Check.in_range(-1 - 1e-9, 0)],
        "open_positions": [NOT_NEGATIVE],
    },
    unique=["timestamp"],
)
