"""What the Dagster UI shows of the statistics: numbers that plot, a picture, the first rows of each table."""

from typing import Any

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.metadata_table import column_schema, table
from lab_pipeline.defs.backtest.metadata import PREVIEW_ROWS, picture
from lab_pipeline.statistics import Board, GroupBy, Method, Metric, Refreshed, Statistics
from lab_pipeline.statistics import answers as ask
from lab_pipeline.statistics.catalog import Catalog
from lab_pipeline.statistics.leaderboards import leaderboard

Metadata = dict[str, dg.MetadataValue]


def describe(statistics: Statistics, done: Refreshed, api: str) -> dict[dg.AssetKey, Metadata]:
    """Return the metadata of every asset of the statistics, as the catalog has them now, what was found first.

    Args:
        statistics: of the lab.
        done: the refresh before.
        api: address of the HTTP API.
    """
    overview = ask.overview(statistics)
    page: Metadata = {"page": dg.MetadataValue.url(f"{api}/lab/answer")}
    common: Metadata = {
        "computed at": dg.MetadataValue.timestamp(overview.computed_at),
        "source hash": dg.MetadataValue.text(done.source_hash),
        "changed": dg.MetadataValue.bool(done.changed),
        "seconds": dg.MetadataValue.text(f"{done.seconds:.3f}"),
        "runs": dg.MetadataValue.int(done.runs),
        "path": dg.MetadataValue.path(str(statistics.catalog.path)),
        "fill assumptions": _table(overview.body["fillAssumptions"]),
    }
    if overview.body["fillsNote"]:
        common["fills note"] = dg.MetadataValue.text(overview.body["fillsNote"])
    shown: dict[tuple[str, str], Metadata] = {
        ("statistics", "overview"): _overview(overview.body),
        ("statistics", "pnl"): _pnl(statistics),
        ("statistics", "distribution"): _distribution(statistics),
        ("statistics", "correlation"): _correlation(statistics),
        ("leaderboard", "runs"): _board(statistics, Board.RUNS, "pnl"),
        ("leaderboard", "strategies"): _board(statistics, Board.STRATEGIES, "pnl"),
        ("leaderboard", "callers"): _board(statistics, Board.CALLERS, "meanReturnLow"),
    }
    return {
        dg.AssetKey(key): {
            **page,
            **own,
            **_shape(statistics.catalog, *key),
            **common,
        }
        for key, own in shown.items()
    }


def _overview(body: dict[str, Any]) -> Metadata:
    numbers: Metadata = {
        name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)
        for name, value in body.items()
        if isinstance(value, int | float)
    }
    statuses = pl.DataFrame(list(body["runsByStatus"].items()), schema=["status", "runs"], orient="row")
    return {**numbers, "runs by status": table(statuses)}


def _pnl(statistics: Statistics) -> Metadata:
    shown: Metadata = {}
    for group_by in (GroupBy.MONTH, GroupBy.STRATEGY, GroupBy.CALLER):
        rows = ask.pnl(statistics, group_by)[0].body["groups"]
        best = sorted(rows, key=lambda row: row["totalPnl"], reverse=True)[:PREVIEW_ROWS]
        shown[f"by {group_by.value}"] = _table(best)
    return shown


def _distribution(statistics: Statistics) -> Metadata:
    distributions = ask.distribution(statistics).body["distributions"]
    shown: Metadata = {name: _table(rows) for name, rows in distributions.items()}
    returns = distributions[Metric.PNL.value]
    if any(row["count"] for row in returns):
        from lab_pipeline.reports import buckets_picture  # noqa: PLC0415 - needed only here

        title = "Trades by net return"
        drawn = buckets_picture([row["bucket"] for row in returns], [row["count"] for row in returns], title=title)
        shown["picture"] = picture(drawn, title)
    return shown


def _correlation(statistics: Statistics) -> Metadata:
    shown: Metadata = {}
    for method in Method:
        rows = ask.correlation(statistics, method).body["correlations"]
        shown[method.value] = _table(rows)
        strongest = max((abs(row["correlation"]) for row in rows if row["correlation"] is not None), default=None)
        if strongest is not None:
            shown[f"strongest {method.value}"] = dg.MetadataValue.float(strongest)
    return shown


def _board(statistics: Statistics, board: Board, headline: str) -> Metadata:
    rows = leaderboard(statistics, board, limit=PREVIEW_ROWS)[0].body["leaderboard"]
    shown: Metadata = {"best": _table(rows)}
    if rows and rows[0][headline] is not None:
        shown[f"best {headline}"] = dg.MetadataValue.float(rows[0][headline])
    return shown


def _table(rows: list[dict[str, Any]]) -> dg.MetadataValue:
    return table(pl.DataFrame(rows, infer_schema_length=None))


def _shape(catalog: Catalog, group: str, name: str) -> Metadata:
    with catalog.reading() as (connection, _):
        ((count,),) = connection.execute(f"SELECT count(*) FROM {group}_{name}")  # noqa: S608 - our own names
        columns = [(column, kind) for column, kind, *_ in connection.execute(f"DESCRIBE {group}_{name}")]
    return {
        "dagster/row_count": dg.MetadataValue.int(int(count)),
        "dagster/column_schema": column_schema(name, columns),
    }
