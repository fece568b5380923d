"""The rules of what candles and calls may bring beside their columns, as expressions of polars; null breaks none."""

import polars as pl

from lab_pipeline.domain.candles import LARGEST, SMALLEST_PRICE

LONGEST_TEXT = 2_000
"""Characters of a chain, a link or the name of a message."""
DIRECTIONS = ("long", "short")
UNSEEN = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"
"""Control and format characters, and line breaks, of Unicode."""


def _price(name: str) -> tuple[str, pl.Expr, str]:
    holds = pl.col(name).is_between(SMALLEST_PRICE, LARGEST)
    return name, holds, f"must be a price from {SMALLEST_PRICE:g} to {LARGEST:g}"


def _amount(name: str) -> tuple[str, pl.Expr, str]:
    return name, pl.col(name).is_between(0, LARGEST), f"must be from 0 to {LARGEST:g}"


def _text(name: str) -> tuple[str, pl.Expr, str]:
    text = pl.col(name)
    holds = (text.str.len_chars() <= LONGEST_TEXT) & ~text.str.contains(UNSEEN)
    return name, holds, f"must be at most {LONGEST_TEXT:,} visible characters"


_PRICES = pl.element().is_between(SMALLEST_PRICE, LARGEST)
_NOT_SHORT = pl.col("direction").is_null() | (pl.col("direction") != "short")
CANDLE_RULES = (_amount("liquidity"),)
"""Column, what holds of it in each row where it is not null, and how to say it."""
CALL_RULES = (
    ("direction", pl.col("direction").is_in(DIRECTIONS), f"must be {' or '.join(DIRECTIONS)}"),
    *map(_price, ("entry_price", "stop_price", "price_at_call")),
    (
        "targets",
        pl.col("targets").list.eval(_PRICES).list.all(),
        f"must be prices from {SMALLEST_PRICE:g} to {LARGEST:g}",
    ),
    ("stop_price", ~_NOT_SHORT | (pl.col("stop_price") < pl.col("targets").list.max()), "must be below the targets"),
    *map(_amount, ("market_cap_at_call", "liquidity_at_call")),
    *map(_text, ("chain", "source_url", "message_id")),
)
"""The same of calls; a plan to buy whose stop is above all of its targets is none."""
