"""The sweep in ClickHouse: an op of its own, after the artifacts are there."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from lab_pipeline.clickhouse.pool import ClickHousePool
from lab_pipeline.dagster_ext.metadata_table import column_schema
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.dagster_ext.reconcile import unpublish_late
from lab_pipeline.defs.sweep.metadata import page_url, sweep_url
from lab_pipeline.domain.errors import LabError
from lab_pipeline.doors import api_url
from lab_pipeline.operations.lab import Lab

if TYPE_CHECKING:
    from lab_pipeline.clickhouse.upload import Counts

SETS, DAYS = (dg.AssetKey(["sweep", name]) for name in ("sweep_sets", "sweep_days"))
COUNTS = "rows_equal_artifacts"
OF_A_SET = {"run_id": "String", "attempt": "UInt64", "set_id": "UInt32"}
WRITTEN = {"written_at": "DateTime64(3, 'UTC')"}
COLUMNS = {
    "sweep_sets": {
        **OF_A_SET, "config_hash": "FixedString(64)", "params": "Map(LowCardinality(String), Float64)",
        "trades": "UInt32", "expectancy": "Nullable(Float64)", "expectancy_lower": "Nullable(Float64)",
        "win_rate": "Nullable(Float64)", "profit_factor": "Nullable(Float64)", "plateau": "Nullable(Float64)",
        "lane_min": "Nullable(Float64)", "eligible": "UInt8", "rank": "UInt32", **WRITTEN,
    },
    "sweep_days": {
        **OF_A_SET, "day": "Date", "trades": "UInt32", "net_sum": "Float64", "net_sumsq": "Float64", **WRITTEN,
    },
}  # fmt: skip
"""As the migrations make them."""


@dg.multi_asset(
    name="upload_sweep",
    group_name="sweep",
    can_subset=True,
    specs=[
        dg.AssetSpec(
            SETS,
            deps=[["sweep", "sets"]],
            description="Every set of parameters of every sweep, a row a set.",
            kinds={"clickhouse"},
        ),
        dg.AssetSpec(
            DAYS,
            deps=[["sweep", "days"]],
            description="Trades and net returns of the best sets of every sweep, a row a set and day.",
            kinds={"clickhouse"},
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            COUNTS,
            asset=key,
            blocking=True,
            description="ClickHouse shows readers as many rows of the sweep as its Parquet files have for it.",
        )
        for key in (SETS, DAYS)
    ],
)
def clickhouse_assets(
    context: dg.AssetExecutionContext, clickhouse: dg.ResourceParam[ClickHousePool], lab: dg.ResourceParam[Lab]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Write the sets and days that the run has published to ClickHouse, and count them there."""
    sweep_id, api = context.run.run_id, api_url(lab.settings)
    written, counts = _write(context.op_execution_context, clickhouse, lab)
    version = dg.DataVersion(lab.sweeps.manifest(sweep_id).fingerprint)
    for key, route in ((SETS, "/sets"), (DAYS, "/artifacts/days.parquet")):
        table = key.path[-1]
        if key in context.selected_asset_keys:
            metadata = {
                "page": dg.MetadataValue.url(page_url(api, sweep_id)),
                "dagster/table_name": f"{clickhouse.config.database}.{table}",
                "dagster/column_schema": column_schema(table, COLUMNS[table].items()),
                "dagster/row_count": written[table],
                "url": dg.MetadataValue.url(sweep_url(api, sweep_id) + route),
                "run": sweep_id,
            }
            context.add_asset_metadata(metadata, key)
            yield dg.MaterializeResult(asset_key=key, data_version=version)
        if dg.AssetCheckKey(key, COUNTS) in context.selected_asset_check_keys:
            expected, seen = counts.artifacts[table], counts.clickhouse.get(table, 0)
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=COUNTS,
                passed=expected == seen,
                metadata={"rows in the artifacts": expected, "rows in ClickHouse": seen},
            )
    with failing_clearly(context.log):
        if not counts.equal:
            raise LabError(
                f"ClickHouse had other rows of the sweep than its artifacts ({counts}), so they are hidden: "
                f"`lab clickhouse rebuild {sweep_id}` writes them again"
            )
    context.log.info(f"{sum(written.values()):,} rows of sets and days are in ClickHouse")


def _write(context: dg.OpExecutionContext, clickhouse: ClickHousePool, lab: Lab) -> tuple[Mapping[str, int], "Counts"]:
    """Write what the run has published; rows that differ from it are hidden.

    Returns:
        The rows that were written, by table, and what readers see of them.
    """
    from lab_pipeline.clickhouse.writer import delete_run  # noqa: PLC0415 - the client is no light import
    from lab_pipeline.sweeps.upload import count_rows, upload_sweep  # noqa: PLC0415

    sweep_id = context.run.run_id
    with failing_clearly(context.log):
        if not lab.sweeps.has(sweep_id):
            repeats = context.run.parent_run_id
            again = f", or write the rows of the sweep before: `lab clickhouse rebuild {repeats}`" if repeats else ""
            raise LabError(f"run {sweep_id} has published nothing: run the whole job `sweep`{again}")
        with clickhouse.connection() as client:
            written = upload_sweep(client, lab.sweeps, sweep_id)
            unpublish_late(context, lab.settings)
            counts = count_rows(client, lab.sweeps, sweep_id)
            if not counts.equal:
                delete_run(client, sweep_id, logs=False)  # what is wrong must not be seen
    return written, counts
