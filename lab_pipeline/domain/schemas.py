"""pandera schemas: the frames that users bring, with the rules that every row must keep.

Import this only where rows come in: pandera costs half a second.
"""

import pandera.polars as pa
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import LARGEST, SMALLEST_PRICE
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


def _bounded(smallest: float, error: str) -> pa.Check:
    """Hold finite numbers above 0 to the bounds within which ratios and sums do not overflow."""

    def holds(data: pa.PolarsData) -> pl.LazyFrame:
        value = pl.col(data.key)
        return data.lazyframe.select(value.is_between(smallest, LARGEST) | (value <= 0) | ~value.is_finite())

    return pa.Check(holds, error=error)


def _row(rule: pl.Expr, error: str) -> pa.Check:
    return pa.Check(lambda data: data.lazyframe.select(rule), error=error)


def _schema(
    columns: pl.Schema,
    rules: dict[str, list[pa.Check]],
    *,
    unique: list[str],
    rows: list[pa.Check] | None = None,
) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(
        {name: pa.Column(dtype, rules.get(name, [])) for name, dtype in columns.items()},
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
