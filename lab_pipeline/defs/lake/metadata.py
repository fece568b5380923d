"""What the Dagster UI shows of the lake."""

import dagster as dg
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.frames import TIMESTAMP
from lab_pipeline.lake import IngestReport, Lake

CANDLES_KEY = dg.AssetKey(["lake", "candles"])
CALLS_KEY = dg.AssetKey(["lake", "calls"])


def candles_metadata(lake: Lake) -> dict[str, dg.MetadataValue]:
    """Count rows and mints and give the extent of every timeframe."""
    rows = []
    for timeframe in lake.timeframes():
        first, last = lake.candles_extent(timeframe) or (None, None)
        rows.append((timeframe, lake.candles_count(timeframe), len(lake.mints(timeframe)), first, last))
    schema = {"timeframe": pl.String, "candles": pl.Int64, "mints": pl.Int64, "first": TIMESTAMP, "last": TIMESTAMP}
    timeframes = pl.DataFrame(rows, schema, orient="row")
    return {
        "dagster/row_count": dg.MetadataValue.int(int(timeframes["candles"].sum())),
        "dagster/column_schema": _columns(frames.CANDLES),
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
        "dagster/column_schema": _columns(frames.CALLS),
        "path": dg.MetadataValue.path(str(lake.root)),
        "callers": table(per_caller.sort("caller")),
    }


def ingest_metadata(report: IngestReport) -> dict[str, dg.MetadataValue]:
    """Say what an ingest did."""
    counts = {"ingested": report.rows, "added": report.added, "changed": report.changed, "unchanged": report.unchanged}
    return {name: dg.MetadataValue.int(count) for name, count in counts.items()}


def table(rows: pl.DataFrame) -> dg.MetadataValue:
    """Show a small frame as a table."""
    shown = rows.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%d %H:%M"), pl.col(pl.Float64).round(6))
    records = [dg.TableRecord(row) for row in shown.iter_rows(named=True)]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in shown.columns]))


def _columns(schema: pl.Schema) -> dg.MetadataValue:
    return dg.MetadataValue.table_schema(
        dg.TableSchema([dg.TableColumn(name, str(kind)) for name, kind in schema.items()])
    )
