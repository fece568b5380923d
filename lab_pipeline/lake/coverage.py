"""How complete the candles are: coverage, gaps and duplicates, one row a mint."""

from collections.abc import Sequence

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake.lake import Lake

DAY_MS = 86_400_000

QUALITY = pl.Schema(
    {
        "mint": pl.String(),
        "first": frames.TIMESTAMP,
        "last": frames.TIMESTAMP,
        "rows": pl.Int64(),
        "expected": pl.Int64(),
        "coverage": pl.Float64(),
        "gaps": pl.Int64(),
        "longest_gap": pl.Int64(),
        "duplicates": pl.Int64(),
    }
)


def quality(lake: Lake, timeframe: str) -> pl.DataFrame:
    """Measure every mint of a timeframe; only two columns of the candles are read.

    Returns:
        `QUALITY`, by mint: first and last timestamp, rows, expected (candles from first to last if none were missing),
        coverage (rows without duplicates / expected), gaps (how many times candles are missing), longest_gap (in
        candles, 0 without gaps), duplicates (rows that repeat the timestamp of another; the lake admits none).
    """
    measured = lake.each(lake.candle_files(timeframe), lambda candles: _measure_part(candles, timeframe))
    return pl.concat([pl.DataFrame(schema=QUALITY), *measured]).sort("mint")


def by_day(lake: Lake, timeframe: str, mints: Sequence[str]) -> pl.DataFrame:
    """Count the candles of some mints by UTC day.

    Returns:
        `mint`, `day` (Date) and `share`, of the candles that a whole day has; days without candles have no row.
    """
    day = pl.col("timestamp").dt.date().alias("day")
    wanted = pl.col("mint").is_in(list(mints))
    empty = pl.DataFrame(schema={"mint": pl.String(), "day": pl.Date(), "rows": pl.UInt32()})
    found = lake.each(
        lake.candle_files(timeframe),
        lambda candles: candles.filter(wanted).group_by("mint", day).agg(rows=pl.len().cast(pl.UInt32)),
    )
    counted = pl.concat([empty, *found])
    whole = max(1, DAY_MS // timeframe_ms(timeframe))
    return counted.select("mint", "day", share=pl.min_horizontal(pl.col("rows") / whole, 1.0)).sort("mint", "day")


def _measure_part(candles: pl.LazyFrame, timeframe: str) -> pl.LazyFrame:
    """Measure the mints of one part, which is sorted by mint and timestamp and has all of their candles."""
    length = timeframe_ms(timeframe)
    milliseconds = pl.col("timestamp").to_physical()
    step = pl.when(pl.col("mint") == pl.col("mint").shift()).then(milliseconds.diff()).alias("step")
    missing = pl.col("step") // length - 1
    return (
        candles.select("mint", "timestamp", step)
        .group_by("mint")
        .agg(
            first=pl.col("timestamp").min(),
            last=pl.col("timestamp").max(),
            rows=pl.len(),
            gaps=(missing > 0).sum(),
            longest_gap=pl.max_horizontal(missing.max().fill_null(0), 0),
            duplicates=(pl.col("step") == 0).sum(),
        )
        .with_columns(expected=(pl.col("last") - pl.col("first")).dt.total_milliseconds() // length + 1)
        .with_columns(coverage=(pl.col("rows") - pl.col("duplicates")) / pl.col("expected"))
        .select([pl.col(name).cast(dtype) for name, dtype in QUALITY.items()])
    )
