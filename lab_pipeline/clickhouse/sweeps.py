"""A sweep's sets and days, written once and seen whole or not at all, as the metrics and fills of a run are."""

from collections.abc import Iterator, Mapping

import polars as pl

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.queries import sql
from lab_pipeline.clickhouse.writer import BATCH_ROWS, Published, publish

SETS, DAYS = "sweep_sets", "sweep_days"
MOST_SETS_WITH_DAYS = 20_000
"""Of the best sets; the days of all of them are in Parquet."""
PARAMETER = "p."
"""Begins the names of columns that are parameters."""
FIGURES = ("expectancy", "expectancy_lower", "win_rate", "profit_factor", "plateau", "lane_min")


def publish_sweep(clickhouse: ClickHouse, sweep_id: str, sets: pl.DataFrame, days: pl.DataFrame) -> Published:
    """Write the sets and days of a sweep and make them visible together; errors are those of `publish_run`.

    Args:
        clickhouse: where to write.
        sweep_id: of the sweep, which is the `run_id` of its rows.
        sets: the frame of `sets.parquet`.
        days: of `days.parquet`; `days_kept` says which of them are written.
    """
    tables = {SETS: _sets(sets), DAYS: _days(days_kept(sets, days))}
    return publish(clickhouse, sweep_id, tables)


def days_kept(sets: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Return the days of the sets that can win, and of no more than the `MOST_SETS_WITH_DAYS` best of them."""
    best = sets.filter(pl.col("rank") <= MOST_SETS_WITH_DAYS)
    return days.join(best.select("set_id"), on="set_id", how="semi", maintain_order="left")


def visible_rows(clickhouse: ClickHouse, sweep_id: str) -> Mapping[str, int]:
    """Return the rows of a sweep that readers see, by table; none for a sweep that is not there.

    Raises:
        ClickHouseUnavailableError: if ClickHouse stays away beyond the deadline of a write.
    """
    return dict(clickhouse.query(sql("count_sweep_rows"), {"run_id": sweep_id}, wait=True).iter_rows())


def _sets(sets: pl.DataFrame) -> Iterator[pl.DataFrame]:
    named = [name for name in sets.columns if name.startswith(PARAMETER) and sets.schema[name].is_numeric()]
    known = [pl.when(pl.col(name).is_not_null()).then(pl.lit(name.removeprefix(PARAMETER))) for name in named]
    none = pl.lit([], pl.List(pl.Float64()))
    params = [
        pl.concat_list(known).list.drop_nulls() if named else none.cast(pl.List(pl.String())),
        pl.concat_list(pl.col(named).cast(pl.Float64())).list.drop_nulls() if named else none,
    ]
    figures = [pl.col(name) if name in sets.columns else pl.lit(None, pl.Float64()).alias(name) for name in FIGURES]
    for part in sets.iter_slices(BATCH_ROWS):
        yield part.select(
            pl.col("set_id").cast(pl.UInt32()),
            "config_hash",
            params[0].alias("param_names"),
            params[1].alias("param_values"),
            pl.col("trades").cast(pl.UInt32()),
            *figures,
            pl.col("eligible").cast(pl.UInt8()),
            pl.col("rank").fill_null(0).cast(pl.UInt32()),
        )


def _days(days: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for part in days.iter_slices(BATCH_ROWS):
        yield part.select(
            pl.col("set_id").cast(pl.UInt32()), "day", pl.col("trades").cast(pl.UInt32()), "net_sum", "net_sumsq"
        )
