"""Runs side by side: how what was asked differs, and their equity on one clock."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from lab_pipeline.domain.backtest import ResolvedSpec

FEWEST, MOST = 2, 20
"""Runs that are put side by side."""
NUMBERS = (
    ("trades", "Trades", "count"),
    ("win_rate", "Win rate", "share"),
    ("expectancy", "Mean net return", "return"),
    ("expectancy_low", "95% interval from", "return"),
    ("expectancy_high", "to", "return"),
    ("expectancy_stop_at_level", "With stops at their level", "return"),
    ("expectancy_stop_at_low", "With stops at the low", "return"),
    ("profit_factor", "Profit factor", "number"),
    ("total_return", "Total return", "return"),
    ("max_drawdown", "Max drawdown", "share"),
    ("sharpe", "Sharpe", "number"),
    ("sortino", "Sortino", "number"),
    ("avg_exposure", "Exposure", "share"),
    ("fees_paid", "Fees paid", "number"),
)
"""Of the summary, what it is called and how it is written."""
MOST_POINTS = 500
STEPS_MS = [m * 60_000 for m in (1, 5, 15, 30, 60, 120, 240, 720, 1440, 2880, 10_080)]
"""Buckets of aligned equity: the shortest that leaves no more than MOST_POINTS."""


@dataclass(frozen=True)
class AlignedCurves:
    """Equity of several runs on one clock.

    Attributes:
        timestamps: ends of buckets, ascending.
        values: one list a run: its equity then, in quote currency, None before its first and after its last candle.
    """

    timestamps: list[datetime]
    values: list[list[float | None]]


def differing_fields(specs: Sequence[ResolvedSpec]) -> dict[str, list[Any]]:
    """Return every path at which the specs are not all equal, with the value of each; None where it has none."""
    flat = [dict(leaves(spec.to_json_dict())) for spec in specs]
    paths = sorted({path for one in flat for path in one})
    found = {path: [one.get(path) for one in flat] for path in paths}
    return {path: values for path, values in found.items() if any(value != values[0] for value in values)}


def align_equity(frames: Sequence[pl.DataFrame]) -> AlignedCurves:
    """Put equity frames (`frames.EQUITY`) on one clock: the last value of each bucket, carried over gaps."""
    with_points = [frame for frame in frames if not frame.is_empty()]
    if not with_points:
        return AlignedCurves([], [[] for _ in frames])
    times = [frame["timestamp"].to_physical() for frame in with_points]
    first, last = min(int(time[0]) for time in times), max(int(time[-1]) for time in times)
    fits = (step for step in STEPS_MS if (last - first) / step < MOST_POINTS - 1)
    step = next(fits, -(-(last - first) // (MOST_POINTS - 1)))
    clock = pl.DataFrame({"slot": pl.int_range(-(-first // step), -(-last // step) + 1, eager=True)})
    values = [_on_clock(frame, clock, step) for frame in frames]
    timestamps = clock.select((pl.col("slot") * step).cast(pl.Datetime("ms", "UTC")))["slot"].to_list()
    return AlignedCurves(timestamps, values)


def _on_clock(frame: pl.DataFrame, clock: pl.DataFrame, step: int) -> list[float | None]:
    if frame.is_empty():
        return [None] * clock.height
    slots = frame.select(slot=-(-pl.col("timestamp").to_physical() // step), equity="equity")
    own = slots.group_by("slot", maintain_order=True).last()
    start, end = own["slot"][0], own["slot"][-1]
    carried = clock.join(own, on="slot", how="left", maintain_order="left").with_columns(
        pl.col("equity").forward_fill()
    )
    inside = pl.col("slot").is_between(start, end)
    return carried.select(pl.when(inside).then("equity"))["equity"].to_list()


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON has no narrower type
    """Iterate over the parts of a document that are no objects; a list counts as a whole, whatever its length."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}" if path else key)
    else:
        yield path, value
