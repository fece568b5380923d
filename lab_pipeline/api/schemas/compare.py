"""Comparisons over HTTP."""

from pydantic import JsonValue

from lab_pipeline.api.schemas.base import Answer, Moment
from lab_pipeline.api.schemas.runs import RunItem


class EquitySeries(Answer):
    """The equity of one run."""

    run_id: str
    """Of the run."""
    values: list[float | None]
    """One for each timestamp, in quote currency; null before the run's first and after its last candle."""


class AlignedEquity(Answer):
    """Equity of the runs on one clock."""

    timestamps: list[Moment]
    """Ends of buckets, ascending, UTC; at most 500."""
    series: list[EquitySeries]
    """One for each run, in the order in which they were asked for."""


class Comparison(Answer):
    """Runs side by side, in the order in which they were asked for."""

    runs: list[RunItem]
    """The runs with their summaries."""
    config_diff: dict[str, list[JsonValue]]
    """Every field in which the resolved requests differ, by path: one value for each run, null where it has none."""
    fills_note: str | None
    """Says so where the runs assume different things of their fills, which `runs` have; null where they do not."""
    equity: AlignedEquity
    """What became of the money."""
