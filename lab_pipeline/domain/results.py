"""The rules of every frame that a run publishes, as expressions of polars: to check them takes milliseconds.

What users bring is held against `schemas`, which names every wrong cell. A result that breaks a rule is a mistake of
the engine, for which one sentence is enough.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.enums import FillReason, Outcome, Side, SkipReason


class WrongResultError(Exception):
    """A frame of results breaks its rules."""


@dataclass(frozen=True)
class ResultRules:
    """What holds of a frame.

    Attributes:
        columns: with their types, in order.
        key: columns that together are different in every row.
        rows: what holds of each row, and how to say it.
        nullable: columns that may have nulls, or NaN.
    """

    columns: pl.Schema
    key: tuple[str, ...]
    rows: tuple[tuple[pl.Expr, str], ...]
    nullable: frozenset[str] = frozenset()


def check(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame.

    Args:
        name: of the artifact that it is for, `trades` or another of `RESULTS`.
        frame: what is to be published.

    Raises:
        WrongResultError: if it breaks a rule; every broken one is named, with the number of rows.
    """
    rules = RESULTS[name]
    if frame.schema != rules.columns:
        raise WrongResultError(f"{name}: the columns are {dict(frame.schema)}, not {dict(rules.columns)}")
    every = [*_complete(rules), *rules.rows]
    counts = frame.select(
        pl.struct(rules.key).is_duplicated().sum().alias("key"),
        *((~rule).sum().alias(str(number)) for number, (rule, _) in enumerate(every)),
    ).row(0)
    said = [f"{', '.join(rules.key)} must be unique", *(words for _, words in every)]
    broken = [f"{words} ({count:,} rows)" for words, count in zip(said, counts, strict=True) if count]
    if broken:
        raise WrongResultError(f"{name}: {'; '.join(broken)}")
    return frame


def _complete(rules: ResultRules) -> Iterable[tuple[pl.Expr, str]]:
    for name, dtype in rules.columns.items():
        if name not in rules.nullable:
            column = pl.col(name)
            there = column.is_not_null()
            yield there & column.is_not_nan() if dtype.is_float() else there, f"{name} must not be null"


def _finite(*names: str) -> tuple[tuple[pl.Expr, str], ...]:
    return tuple((pl.col(name).is_finite(), f"{name} must be finite") for name in names)


def _positive(*names: str) -> tuple[tuple[pl.Expr, str], ...]:
    return tuple((pl.col(name) > 0, f"{name} must be > 0") for name in names)


def _at_least(least: float, *names: str) -> tuple[tuple[pl.Expr, str], ...]:
    return tuple((pl.col(name) >= least, f"{name} must be >= {least:g}") for name in names)


def _at_most(most: float, *names: str) -> tuple[tuple[pl.Expr, str], ...]:
    return tuple((pl.col(name) <= most, f"{name} must be <= {most:g}") for name in names)


def _one_of(name: str, values: Iterable[FillReason | Outcome | Side | SkipReason]) -> tuple[pl.Expr, str]:
    known = [str(value) for value in values]
    return pl.col(name).is_in(known), f"{name} must be one of {', '.join(known)}"


EXITS = [reason for reason in FillReason if reason not in (FillReason.ENTRY, FillReason.REENTRY)]
RESULTS = {
    "fills": ResultRules(
        frames.FILLS,
        ("call_id", "trade_no", "fill_no"),
        (
            *_at_least(1, "trade_no", "fill_no"),
            *_finite("price", "quantity", "fee"),
            *_positive("price", "fraction"),
            *_at_most(1, "fraction"),
            *_at_least(0, "quantity", "fee"),
            _one_of("side", Side),
            _one_of("reason", FillReason),
        ),
    ),
    "trades": ResultRules(
        frames.TRADES,
        ("call_id", "trade_no"),
        (
            *_at_least(1, "trade_no"),
            *_finite("entry_price", "exit_price", "gross_return", "net_return", "mfe", "mae"),
            *_finite("quantity", "invested", "pnl"),
            *_positive("entry_price", "exit_price"),
            *_at_least(-1, "gross_return", "net_return"),
            *_at_least(0, "mfe", "hold_minutes", "quantity", "invested"),
            *_at_most(0, "mae"),
            _one_of("exit_reason", EXITS),
            _one_of("skip_reason", SkipReason),
            (pl.col("entry_time") >= pl.col("called_at"), "nothing is bought before the call"),
            (pl.col("exit_time") >= pl.col("entry_time"), "nothing is sold before it is bought"),
            (
                pl.col("taken") == pl.col("skip_reason").is_null(),
                "a trade has a skip reason if it was not taken",
            ),
        ),
        frozenset({"skip_reason"}),
    ),
    "paths": ResultRules(
        frames.PATHS,
        ("call_id",),
        (
            *_finite("ath_multiple", "final_multiple"),
            *_at_least(1, "ath_multiple"),
            *_positive("final_multiple"),
            *_at_least(0, "hour_of_day"),
            *_at_most(23, "hour_of_day"),
        ),
        frozenset(name for name in frames.PATHS if name.startswith(("time_to_", "min_", "pre_"))),
    ),
    "outcomes": ResultRules(
        frames.OUTCOMES,
        ("call_id",),
        (_one_of("outcome", Outcome), *_at_least(0, "trades", "ambiguous_candles")),
    ),
    "equity": ResultRules(
        frames.EQUITY,
        ("timestamp",),
        (
            *_finite("equity", "cash", "exposure", "drawdown"),
            *_at_least(0, "exposure", "open_positions"),
            *_at_most(1, "exposure"),
            *_at_least(-1 - 1e-9, "drawdown"),
            *_at_most(0, "drawdown"),
        ),
    ),
}
"""The frames among the artifacts, by their names, in the order in which the manifest lists them."""
