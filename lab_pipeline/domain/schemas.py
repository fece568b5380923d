"""pandera schemas: `frames` with the rules that every row must keep.

Import this only where frames are checked (ingest, publish, tests): pandera costs half a second.
"""

import pandera.polars as pa
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import LARGEST, SMALLEST_PRICE
from lab_pipeline.domain.enums import FillReason, Outcome, Side, SkipReason
from lab_pipeline.domain.identifiers import IDENTIFIER_RULE, is_identifier

NOT_EMPTY = pa.Check.str_length(min_value=1, error="must not be empty")


def _are_identifiers(texts: pl.Series) -> pl.Series:
    """Tell of each text whether it may name something; what is empty breaks a rule of its own."""
    wrong = [text for text in texts.drop_nulls().unique() if text and not is_identifier(text)]
    return ~texts.is_in(wrong)


IDENTIFIER = [
    NOT_EMPTY,
    pa.Check(
        lambda data: data.lazyframe.select(pl.col(data.key).map_batches(_are_identifiers, return_dtype=pl.Boolean)),
        error=IDENTIFIER_RULE,
    ),
]
FINITE = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).is_finite()), error="must be finite")
POSITIVE = pa.Check.gt(0, error="must be > 0")
NOT_NEGATIVE = pa.Check.ge(0, error="must be >= 0")
NOT_POSITIVE = pa.Check.le(0, error="must be <= 0")
AT_LEAST_ONE = pa.Check.ge(1, error="must be >= 1")


def _bounded(smallest: float, error: str) -> pa.Check:
    """Hold finite numbers above 0 to the bounds within which ratios and sums do not overflow."""

    def holds(data: pa.PolarsData) -> pl.LazyFrame:
        value = pl.col(data.key)
        return data.lazyframe.select(value.is_between(smallest, LARGEST) | (value <= 0) | ~value.is_finite())

    return pa.Check(holds, error=error)


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


PRICE = _bounded(SMALLEST_PRICE, f"must be from {SMALLEST_PRICE:g} to {LARGEST:g}")
VOLUME = _bounded(0, f"must be from 0 to {LARGEST:g}")
CANDLES = _schema(
    frames.CANDLES,
    {
        "mint": IDENTIFIER,
        **{name: [FINITE, POSITIVE, PRICE] for name in ("open", "high", "low", "close")},
        "volume": [FINITE, NOT_NEGATIVE, VOLUME],
    },
    unique=["mint", "timestamp"],
    rows=[
        _row(pl.col("low") <= pl.min_horizontal("open", "close"), "low must be <= open and close"),
        _row(pl.col("high") >= pl.max_horizontal("open", "close"), "high must be >= open and close"),
    ],
)
CALLS = _schema(
    frames.CALLS,
    {"call_id": IDENTIFIER, "caller": IDENTIFIER, "mint": IDENTIFIER},
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
