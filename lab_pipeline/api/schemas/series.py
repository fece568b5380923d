"""Logs and metrics over HTTP."""

from enum import StrEnum
from typing import Any

from pydantic import JsonValue

from lab_pipeline.api.schemas.base import Answer, Moment


class Level(StrEnum):
    """Levels of log lines, least first."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class MetricType(StrEnum):
    """Which series."""

    EQUITY = "equity"
    DRAWDOWN = "drawdown"
    EXPOSURE = "exposure"
    FILLS = "fills"


class LogLine(Answer):
    """A line of a run's log."""

    timestamp: Moment
    """When it was written, UTC."""
    level: str
    """`DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`."""
    step: str | None
    """The step that wrote it; null for the run as a whole."""
    message: str
    """What it says."""
    data: dict[str, JsonValue] | None
    """What else is known: `eventType` of a Dagster event, `logger`, `stack` of an error, and whatever came with it."""


class LogPage(Answer):
    """Lines of a run, in the order in which they were written."""

    logs: list[LogLine]
    """The lines of this page."""
    next_cursor: str | None
    """Leads to the next page; null where there is no more now."""


class EquityPoint(Answer):
    """A bucket of the portfolio's equity, in quote currency."""

    timestamp: Moment
    """Start of the bucket, UTC."""
    open: float | None
    """Equity at the first candle close of the bucket."""
    high: float | None
    """Highest."""
    low: float | None
    """Lowest."""
    close: float | None
    """At the last candle close of the bucket."""


class DrawdownPoint(Answer):
    """A bucket of the drawdown."""

    timestamp: Moment
    """Start of the bucket, UTC."""
    min: float | None
    """Deepest, as a plain fraction: -0.25 is a quarter below the highest equity so far."""


class ExposurePoint(Answer):
    """A bucket of the exposure, position value / equity."""

    timestamp: Moment
    """Start of the bucket, UTC."""
    mean: float | None
    """Mean, as a plain fraction."""
    max: float | None
    """Highest, as a plain fraction."""


class FillsPoint(Answer):
    """The fills of a bucket."""

    timestamp: Moment
    """Start of the bucket, UTC."""
    count: int
    """Fills."""
    buys: int
    """Buys among them."""
    sells: int
    """Sells among them."""
    notional: float | None
    """Sum of price times quantity, in quote currency; fills that the portfolio skipped count with nothing."""


class Metrics(Answer):
    """The series that were asked for; a series has no points where the run has none in the range."""

    equity: list[EquityPoint] | None = None
    """Equity, ascending by time."""
    drawdown: list[DrawdownPoint] | None = None
    """Drawdown, ascending by time."""
    exposure: list[ExposurePoint] | None = None
    """Exposure, ascending by time."""
    fills: list[FillsPoint] | None = None
    """Fills, ascending by time; buckets without any are left out."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's
        """Describe the answer as it is sent: series that were not asked for are left out, not null."""
        schema: dict[str, Any] = handler.resolve_ref_schema(handler(core_schema))
        schema.pop("required", None)
        for series in schema["properties"].values():
            array = next(option for option in series.pop("anyOf") if option.get("type") == "array")
            series.update(array)
            series.pop("default", None)
        return schema


class MetricsAnswer(Answer):
    """Series of a run over simulated time."""

    metrics: Metrics
    """By type."""
