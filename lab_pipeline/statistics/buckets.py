"""Into which buckets values are counted, and how they are named."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from lab_pipeline.domain.text import shown

MOST_BINS = 100


class Metric(StrEnum):
    """What is counted: net return of a trade, trades of a run, minutes a trade was held, all-time high of a call."""

    PNL = "pnl"
    TRADES = "trades"
    HOLD_MINUTES = "holdMinutes"
    ATH_MULTIPLE = "athMultiple"


class Binning(StrEnum):
    """How buckets are chosen: the fixed ones, equally wide ones, or ones that hold equally many values."""

    CLASSIC = "classic"
    WIDTH = "width"
    QUANTILE = "quantile"


@dataclass(frozen=True)
class Bins:
    """How many buckets of which kind; `count` has no meaning for the classic ones."""

    binning: Binning = Binning.CLASSIC
    count: int = 0

    @classmethod
    def parse(cls, text: str) -> "Bins":
        """Read `classic`, `20` or `width:20` (equally wide), or `quantile:20` (equally full).

        Raises:
            ValueError: saying what can be written.
        """
        kind, _, number = text.rpartition(":")
        if text == Binning.CLASSIC:
            return cls()
        binning = Binning.WIDTH if kind in ("", Binning.WIDTH) else Binning.QUANTILE if kind == "quantile" else None
        if binning is None or not re.fullmatch("[0-9]{1,9}", number) or not 1 <= int(number) <= MOST_BINS:
            raise ValueError(f"write classic, a number from 1 to {MOST_BINS}, or quantile:20, not {shown(text)}")
        return cls(binning, int(number))

    def __str__(self) -> str:
        return self.binning.value if self.binning is Binning.CLASSIC else f"{self.binning.value}:{self.count}"


@dataclass(frozen=True)
class BucketRange:
    """Values from `lower`, inclusive, to `upper`, exclusive; None for an open end."""

    bucket: str
    lower: float | None
    upper: float | None


EDGES: dict[Metric, tuple[float, ...]] = {
    Metric.PNL: (-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0),
    Metric.TRADES: (1, 5, 10, 20, 50),
    Metric.HOLD_MINUTES: (5, 15, 60, 240, 720, 1440, 4320),
    Metric.ATH_MULTIPLE: (1.1, 1.25, 1.5, 2, 3, 5, 10, 100),
}
"""Between the classic buckets."""

COLUMNS: dict[Metric, tuple[str, str]] = {
    Metric.PNL: ("trades", "net_return"),
    Metric.TRADES: ("runs", "trades"),
    Metric.HOLD_MINUTES: ("trades", "hold_minutes"),
    Metric.ATH_MULTIPLE: ("paths", "ath_multiple"),
}
"""Where the values of a metric are: table and column."""


def classic_buckets(metric: Metric) -> list[BucketRange]:
    """Return the fixed buckets of a metric, ascending, open at both ends."""
    bounds = [None, *EDGES[metric], None]
    return [BucketRange(_label(metric, lower, upper), lower, upper) for lower, upper in pairwise(bounds)]


def buckets_between(edges: Sequence[float]) -> list[BucketRange]:
    """Return the buckets between ascending edges; the last one holds its upper edge too."""
    return [BucketRange(f"{lower:.6g} to {upper:.6g}", lower, upper) for lower, upper in pairwise(edges)]


def bucket_number(buckets: Sequence[BucketRange], column: str) -> str:
    """Write the SQL that tells in which bucket, from 0, a value is that lies in one of them."""
    inner = [bucket.lower for bucket in buckets[1:]]
    cases = " ".join(f"WHEN {column} < {_literal(edge)} THEN {number}" for number, edge in enumerate(inner))
    return f"CASE {cases} ELSE {len(inner)} END" if cases else "0"


def _literal(edge: float | None) -> str:
    assert edge is not None  # noqa: S101 - only a first bucket is open below
    text = repr(float(edge))
    return text if "e" in text else f"{text}e0"  # with an exponent DuckDB reads a double, else a decimal


def _label(metric: Metric, lower: float | None, upper: float | None) -> str:
    if metric is Metric.TRADES:
        first, last = (0 if lower is None else int(lower)), (None if upper is None else int(upper) - 1)
        return f"{first}+" if last is None else str(first) if last == first else f"{first} to {last}"
    low, high = (None if edge is None else _written(metric, edge) for edge in (lower, upper))
    if low is None:
        return f"below {high}"
    return f"{low} and above" if high is None else f"{low} to {high}"


def _written(metric: Metric, edge: float) -> str:
    match metric:
        case Metric.PNL:
            return f"{edge:.0%}"
        case Metric.ATH_MULTIPLE:
            return f"{edge:g}x"
        case _:
            return f"{edge:g} min"
