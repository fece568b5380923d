"""Small frames as the tables of the Dagster UI."""

import dagster as dg
import polars as pl


def table(rows: pl.DataFrame) -> dg.MetadataValue:
    """Show a small frame as a table."""
    shown = rows.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%d %H:%M"), pl.col(pl.Float64).round(6))
    records = [dg.TableRecord(row) for row in shown.iter_rows(named=True)]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in shown.columns]))
