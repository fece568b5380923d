"""What the Dagster UI shows of the lake."""

from itertools import islice
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.metadata_table import column_schema, table
from lab_pipeline.domain import frames
from lab_pipeline.lake import QUALITY, Lake, quality
from lab_pipeline.lake.sniffing import listed

if TYPE_CHECKING:
    from lab_pipeline.lake.ingest import IngestReport

CANDLES_KEY = dg.AssetKey(["lake", "candles"])
CALLS_KEY = dg.AssetKey(["lake", "calls"])
FILES_SHOWN = 100
CALLERS = "callers"
"""Name of the table of all callers in a materialisation of the calls."""


def measure(lake: Lake) -> pl.DataFrame:
    """Measure every mint of every timeframe: the columns of `lake.quality` behind the timeframe."""
    measured = [
        quality(lake, timeframe).insert_column(0, pl.lit(timeframe).alias("timeframe"))
        for timeframe in lake.timeframes()
    ]
    return pl.concat(measured) if measured else pl.DataFrame(schema={"timeframe": pl.String, **QUALITY})


def candles_metadata(lake: Lake, measured: pl.DataFrame) -> dict[str, dg.MetadataValue]:
    """Count rows and mints and give the extent of every timeframe.

    Args:
        lake: where the candles lie.
        measured: what `measure` found in it.
    """
    timeframes = measured.group_by("timeframe", maintain_order=True).agg(
        candles=pl.col("rows").sum(), mints=pl.len(), first=pl.col("first").min(), last=pl.col("last").max()
    )
    return {
        "dagster/row_count": dg.MetadataValue.int(int(timeframes["candles"].sum())),
        "dagster/column_schema": _columns("candles", frames.CANDLES),
        "path": dg.MetadataValue.path(str(lake.root)),
        "timeframes": table(timeframes),
    }


def calls_metadata(lake: Lake) -> dict[str, dg.MetadataValue]:
    """Count the calls of every caller and give their extent."""
    calls = lake.calls()
    time = pl.col("called_at")
    per_caller = calls.group_by("caller").agg(
        calls=pl.len(), mints=pl.col("mint").n_unique(), first=time.min(), last=time.max()
    )
    return {
        "dagster/row_count": dg.MetadataValue.int(calls.height),
        "dagster/column_schema": _columns("calls", calls.schema),
        "path": dg.MetadataValue.path(str(lake.root)),
        CALLERS: table(per_caller.sort("caller")),
    }


def ingest_metadata(report: "IngestReport") -> dict[str, dg.MetadataValue]:
    """Say what an ingest did, and what it did not take of which file."""
    counts = {"ingested": report.rows, "added": report.added, "changed": report.changed, "unchanged": report.unchanged}
    counts |= {name: count for name, count in {"repeated": report.repeated, "short": report.shorts}.items() if count}
    by_file: dict[str, dict[str, str]] = {
        "ignored columns": {file: listed(names) for file, names in report.ignored_columns.items()},
        "left out": {file: f"{rows:,} rows" for file, rows in report.left_out.items()},
        "no calls": {
            file: ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
            for file, counts in report.no_calls.items()
        },
        "remarks": {file: "; ".join(texts) for file, texts in report.notes.items()},
        "forced": {file: f"seems to be of {length}" for file, length in report.forced.items()},
    }
    return {
        **{name: dg.MetadataValue.int(count) for name, count in counts.items()},
        **{
            name: dg.MetadataValue.json(dict(islice(said.items(), FILES_SHOWN)))
            for name, said in by_file.items()
            if said
        },
    }


def _columns(name: str, schema: pl.Schema) -> dg.MetadataValue:
    return column_schema(name, ((column, str(kind)) for column, kind in schema.items()))
