"""Which candles came again with other values: what a vendor has corrected, or what two vendors disagree about.

Beside the table is a small file for each commit that changed candles, `restated/VERSION-WRITER.parquet`. It is written
first and counts once the table has that version, by that writer.
"""

import io
import re
from collections.abc import Sequence

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.lake import tables
from lab_pipeline.lake.layout import CANDLES
from lab_pipeline.lake.store import Store

DIRECTORY = "restated"
NAME = re.compile(rf"{DIRECTORY}/(\d{{20}})-(\w+)\.parquet")
RUNS = pl.Schema(
    {
        "timeframe": pl.String(),
        "mint": pl.String(),
        "timestamp": frames.TIMESTAMP,
        "last": frames.TIMESTAMP,
        "candles": pl.Int64(),
        "was": pl.Float64(),
        "close": pl.Float64(),
    }
)
"""Candles in a row that were restated together: the first and the last, and what the close of the first was and is."""


def runs_of(rows: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Return `RUNS` of candles of one length.

    Args:
        rows: `mint`, `timestamp`, `close`, `was` (the close before) and `changed`, by mint and time.
        timeframe: their length.
    """
    apart = (pl.col("changed") != pl.col("changed").shift()) | (pl.col("mint") != pl.col("mint").shift())
    return (
        rows.with_columns(run=apart.fill_null(value=True).cum_sum())
        .filter("changed")
        .group_by("run", maintain_order=True)
        .agg(pl.col("mint", "timestamp", "was", "close").first(), last=pl.col("timestamp").last(), candles=pl.len())
        .with_columns(timeframe=pl.lit(timeframe))
        .select(pl.col(name).cast(dtype) for name, dtype in RUNS.items())
    )


def record(store: Store, version: int, writer: str, runs: Sequence[pl.DataFrame]) -> None:
    """Record what a commit is about to restate, and forget what earlier ones recorded that came to nothing."""
    for name in store.found(DIRECTORY):
        said = NAME.fullmatch(name)  # none of what a killed writer has not finished
        if said is None or (int(said[1]) < version and not _counts(store, name)):  # the same version may yet come about
            store.remove(name)
    content = io.BytesIO()
    pl.concat(runs).write_parquet(content)
    store.write(f"{DIRECTORY}/{version:020d}-{writer}.parquet", content.getvalue())


def restated(store: Store, timeframe: str) -> pl.DataFrame:
    """Return `RUNS` of the candles of a length, in the order in which they were restated."""
    names = [name for name in sorted(store.found(DIRECTORY)) if _counts(store, name)]
    found = [pl.read_parquet(io.BytesIO(content)) for name in names if (content := store.read(name)) is not None]
    return pl.concat([pl.DataFrame(schema=RUNS), *found]).filter(timeframe=timeframe)


def _counts(store: Store, name: str) -> bool:
    """Return whether the commit came about that a file speaks of."""
    said = NAME.fullmatch(name)
    return said is not None and tables.is_committed(store, CANDLES, int(said[1]), said[2])
