"""The backtest in ClickHouse: an op of its own, so that a retry from failure repeats just this."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from lab_pipeline.clickhouse.pool import ClickHousePool
from lab_pipeline.dagster_ext.metadata_table import column_schema
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.dagster_ext.reconcile import unpublish_late
from lab_pipeline.defs.backtest.lineage import LINEAGE
from lab_pipeline.defs.backtest.metadata import page_url
from lab_pipeline.domain.errors import LabError
from lab_pipeline.doors import api_url
from lab_pipeline.operations.lab import Lab
from lab_pipeline.runs.artifacts import ArtifactStore

if TYPE_CHECKING:
    from lab_pipeline.clickhouse.upload import Counts

METRICS = dg.AssetKey(["backtest", "run_metrics"])
FILLS = dg.AssetKey(["backtest", "run_fills"])
COUNTS = "rows_equal_artifacts"
WRITTEN = {"written_at": "DateTime64(3, 'UTC')"}
COLUMNS = {
    "run_metrics": {
        "run_id": "String", "attempt": "UInt64", "kind": "LowCardinality(String)", "timestamp": "DateTime64(3, 'UTC')",
        "seq": "UInt64", "value": "Float64", **WRITTEN,
    },
    "run_fills": {
        "run_id": "String", "attempt": "UInt64", "timestamp": "DateTime64(3, 'UTC')", "seq": "UInt64",
        "call_id": "String", "mint": "LowCardinality(String)", "trade_no": "Int32", "fill_no": "Int32",
        "side": "LowCardinality(String)", "price": "Float64", "fraction": "Float64", "quantity": "Float64",
        "fee": "Float64", "reason": "LowCardinality(String)", "slippage": "Nullable(Float64)",
        "filled": "Nullable(Float64)", **WRITTEN,
    },
}  # fmt: skip
"""As the migrations make them."""


@dg.multi_asset(
    name="upload",
    group_name="backtest",
    can_subset=True,
    specs=[
        dg.AssetSpec(
            METRICS,
            deps=[["backtest", "equity"]],
            description="Equity, cash, drawdown, exposure and open positions of every run, a row a value.",
            kinds={"clickhouse"},
        ),
        dg.AssetSpec(
            FILLS, deps=[["backtest", "fills"]], description="Fills of every run, a row a fill.", kinds={"clickhouse"}
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            COUNTS,
            asset=key,
            blocking=True,
            description="ClickHouse shows readers as many rows of the run as its Parquet files have.",
        )
        for key in (METRICS, FILLS)
    ],
)
def clickhouse_assets(
    context: dg.AssetExecutionContext,
    artifacts: dg.ResourceParam[ArtifactStore],
    clickhouse: dg.ResourceParam[ClickHousePool],
    lab: dg.ResourceParam[Lab],
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Write the metrics and fills that the run has published to ClickHouse, and count them there."""
    run = context.run
    written, counts = write(context.op_execution_context, artifacts, clickhouse, lab)
    database, version = clickhouse.config.database, dg.DataVersion(artifacts.manifest(run.run_id).fingerprint)
    api = api_url(lab.settings)
    address = f"{api}/runs/{run.run_id}/metrics"
    metrics = {kind for kind in counts.artifacts if kind != "fills"}
    for key, names in ((METRICS, metrics), (FILLS, {"fills"})):
        if key in context.selected_asset_keys:
            metadata = {
                "page": dg.MetadataValue.url(page_url(api, run.run_id)),
                "dagster/table_name": f"{database}.{key.path[-1]}",
                "dagster/row_count": written[key.path[-1]],
                "dagster/column_schema": column_schema(key.path[-1], COLUMNS[key.path[-1]].items()),
                "dagster/column_lineage": dg.MetadataValue.column_lineage(LINEAGE[key.path[-1]]),
                "url": dg.MetadataValue.url(address + "?" + "&".join(f"type={name}" for name in sorted(names))),
                "run": run.run_id,
            }
            context.add_asset_metadata(metadata, key)
            yield dg.MaterializeResult(asset_key=key, data_version=version)
        expected, seen = ({name: rows.get(name, 0) for name in names} for rows in (counts.artifacts, counts.clickhouse))
        if dg.AssetCheckKey(key, COUNTS) in context.selected_asset_check_keys:
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=COUNTS,
                passed=expected == seen,
                metadata={"rows in the artifacts": sum(expected.values()), "rows in ClickHouse": sum(seen.values())},
            )
    require_equal(context.op_execution_context, written, counts)


def write(
    context: dg.OpExecutionContext, artifacts: ArtifactStore, clickhouse: ClickHousePool, lab: Lab
) -> tuple[Mapping[str, int], "Counts"]:
    """Write what the run has published; rows that differ from it are hidden.

    Returns:
        The rows that were written, by table, and what readers see of them.
    """
    # Loaded by now: the client's import was part of the warming up while the run was simulating.
    from lab_pipeline.clickhouse.upload import count_rows, upload_run  # noqa: PLC0415
    from lab_pipeline.clickhouse.writer import delete_run  # noqa: PLC0415

    run_id = context.run.run_id
    with failing_clearly(context.log), clickhouse.connection() as client:
        _take_over(context, artifacts)
        written = upload_run(client, artifacts, run_id)
        unpublish_late(context, lab.settings)
        counts = count_rows(client, artifacts, run_id)
        if not counts.equal:
            delete_run(client, run_id, logs=False)  # what is wrong must not be seen
    return written, counts


def require_equal(context: dg.OpExecutionContext, written: Mapping[str, int], counts: "Counts") -> None:
    """Fail the run if readers of ClickHouse did not see the rows of its artifacts."""
    with failing_clearly(context.log):
        if not counts.equal:
            raise LabError(
                f"ClickHouse had other rows of the run than its artifacts ({counts}), so they are hidden: "
                f"`lab clickhouse rebuild {context.run.run_id}` writes them again"
            )
    context.log.info(f"{sum(written.values()):,} rows of metrics and fills are in ClickHouse")


def _take_over(context: dg.OpExecutionContext, artifacts: ArtifactStore) -> None:
    """Make the artifacts of a run that failed after its publication those of this run, which goes on from there."""
    run_id = context.run.run_id
    if artifacts.has(run_id):
        return
    for ancestor in (context.run.parent_run_id, context.run.root_run_id):
        if ancestor and artifacts.has(ancestor):
            artifacts.adopt(run_id, ancestor)
            context.log.info(f"took over the artifacts of run {ancestor}")
            return
    raise LabError(f"run {run_id} has published nothing: run the whole job `backtest`")
