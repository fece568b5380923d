"""Small frames as the tables of the Dagster UI, and the columns of large ones."""

from collections.abc import Iterable

import dagster as dg
import polars as pl

from lab_pipeline.domain.columns import describe


def table(rows: pl.DataFrame) -> dg.MetadataValue:
    """Show a small frame as a table."""
    shown = rows.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%d %H:%M"), pl.col(pl.Float64).round(6))
    records = [dg.TableRecord(row) for row in shown.iter_rows(named=True)]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in shown.columns]))


def column_schema(table: str, columns: Iterable[tuple[str, str]]) -> dg.MetadataValue:
    """Show the columns of a table with what each says.

    Args:
        table: its name.
        columns: the name and the type of each.
    """
    return dg.MetadataValue.table_schema(
        dg.TableSchema([dg.TableColumn(name, kind, describe(table, name)) for name, kind in columns])
    )
