"""A run's series over time: equity, drawdown, exposure and fills, in buckets."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import reduce
from itertools import chain

import polars as pl

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.queries import sql
from lab_pipeline.clickhouse.writer import METRIC_KINDS

MINUTE_MS = 60_000
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
FILLS = "fills"
COLUMNS = {
    "equity": ("equity_open", "equity_high", "equity_low", "equity_close"),
    "drawdown": ("drawdown_min",),
    "exposure": ("exposure_mean", "exposure_max"),
}
SERIES_KINDS = tuple(COLUMNS)
FEWEST_POINTS = 2


class Bucket(StrEnum):
    """How long a bucket is; `raw` has a row for every timestamp."""

    RAW = "raw"
    ONE_MINUTE = "1m"
    FIVE_MINUTES = "5m"
    FIFTEEN_MINUTES = "15m"
    ONE_HOUR = "1h"
    FOUR_HOURS = "4h"
    ONE_DAY = "1d"

    @property
    def milliseconds(self) -> int:
        """Length; buckets begin at its multiples since 1970."""
        return BUCKET_MS[self]


BUCKET_MS = {
    Bucket.RAW: 1,
    Bucket.ONE_MINUTE: MINUTE_MS,
    Bucket.FIVE_MINUTES: 5 * MINUTE_MS,
    Bucket.FIFTEEN_MINUTES: 15 * MINUTE_MS,
    Bucket.ONE_HOUR: 60 * MINUTE_MS,
    Bucket.FOUR_HOURS: 240 * MINUTE_MS,
    Bucket.ONE_DAY: 1440 * MINUTE_MS,
}


def metric_series(
    clickhouse: ClickHouse,
    run_id: str,
    bucket: Bucket = Bucket.RAW,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    max_points: int | None = None,
    kinds: Sequence[str] = SERIES_KINDS,
    spacing_ms: int | None = None,
) -> pl.DataFrame:
    """Return a run's equity, drawdown and exposure, a row a bucket that has points, ascending.

    Columns: bucket (its start, UTC), equity_open, equity_high, equity_low, equity_close, drawdown_min,
    exposure_mean, exposure_max. An unknown run has no rows.

    Args:
        clickhouse: where to read.
        run_id: of the run.
        bucket: length of a bucket, at least.
        start: first moment, inclusive.
        end: last moment, exclusive.
        max_points: rows at most, 2 or more: buckets become longer until they fit.
        kinds: which of SERIES_KINDS are read; the columns of the others mean nothing.
        spacing_ms: of whose multiples the run's timestamps are, such as the length of its candles, in milliseconds;
            spares ClickHouse the work where no bucket can hold more than one point.

    Raises:
        ValueError: for fewer than 2 points.
    """
    where = _where(run_id, start, end)
    width = _width(clickhouse, "measure_metrics", where, bucket, max_points)
    if width == Bucket.RAW.milliseconds or (spacing_ms is not None and spacing_ms % width == 0):
        return _one_point_a_bucket(clickhouse.query(sql("read_metric_points"), {**where, "kinds": list(kinds)}), kinds)
    return clickhouse.query(sql("read_metric_series"), {**where, "kinds": list(kinds), "bucket": width})


def fill_series(
    clickhouse: ClickHouse,
    run_id: str,
    bucket: Bucket = Bucket.RAW,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    max_points: int | None = None,
) -> pl.DataFrame:
    """Return a run's fills, a row a bucket that has some, ascending.

    Columns: bucket (its start, UTC), fills, buys, sells, notional (quote currency; a fill that the portfolio skipped
    counts with none). Arguments and errors are those of `metric_series`.
    """
    where = _where(run_id, start, end)
    width = _width(clickhouse, "measure_fills", where, bucket, max_points)
    return clickhouse.query(sql("read_fill_series"), {**where, "bucket": width})


def visible_rows(clickhouse: ClickHouse, run_id: str, *, wait: bool = False) -> dict[str, int]:
    """Count what readers see of a run: rows by metric kind, and `fills`; empty for a run that is not committed.

    Args:
        clickhouse: where to count.
        run_id: of the run.
        wait: whether to be as patient as a write while ClickHouse is away.
    """
    found = dict(clickhouse.query(sql("count_rows"), {"run_id": run_id}, wait=wait).select("name", "rows").iter_rows())
    return {name: found.get(name, 0) for name in (*METRIC_KINDS, FILLS)} if FILLS in found else {}


def _where(run_id: str, start: datetime | None, end: datetime | None) -> dict[str, datetime | str]:
    return {"run_id": run_id, "start": start or EARLIEST, "end": end or LATEST}


def _one_point_a_bucket(points: pl.DataFrame, kinds: Sequence[str]) -> pl.DataFrame:
    """Give points, a row each, the shape of buckets."""
    series = [
        points.filter(pl.col("kind") == kind).select("bucket", *(pl.col("value").alias(name) for name in COLUMNS[kind]))
        for kind in kinds
    ]
    found = reduce(lambda one, other: one.join(other, on="bucket", how="full", coalesce=True), series)
    lacking = {name: pl.lit(None, pl.Float64()) for kind in COLUMNS for name in COLUMNS[kind] if name not in found}
    return found.with_columns(**lacking).select("bucket", *chain(*COLUMNS.values())).sort("bucket")


def _width(
    clickhouse: ClickHouse, measure: str, where: dict[str, datetime | str], bucket: Bucket, max_points: int | None
) -> int:
    """Return how long buckets are, in milliseconds: longer than asked for where there would be too many of them.

    Of n buckets' width, points between first and last touch at most n + 2: hence max_points - 1.
    """
    asked = bucket.milliseconds
    if max_points is None:
        return asked
    if max_points < FEWEST_POINTS:
        raise ValueError(f"max_points must be at least {FEWEST_POINTS} (got {max_points})")
    buckets, extent = clickhouse.query(sql(measure), {**where, "bucket": asked}).row(0)
    return asked if buckets <= max_points else asked * (extent // (asked * (max_points - 1)) + 1)
