"""Nightly backtests: one asset of which every strategy has a partition for every window of calls.

The ops are those of any other backtest. The UI shows which partitions are missing, and a backfill runs them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from lab_pipeline.clickhouse.pool import ClickHousePool
from lab_pipeline.dagster_ext.config_schema import form
from lab_pipeline.dagster_ext.io_manager import SCRATCH
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.dagster_ext.reconcile import unpublish_late
from lab_pipeline.defs.backtest.assets import load, merge, resolved, simulate, simulate_part
from lab_pipeline.defs.backtest.clickhouse import require_equal, write
from lab_pipeline.defs.backtest.metadata import artifact_url, describe_asset, numbers, page_url
from lab_pipeline.defs.backtest.run_requests import automation_timeframe
from lab_pipeline.domain.backtest import MOST_CANDLES
from lab_pipeline.doors import api_url
from lab_pipeline.engine import ENGINE_VERSION
from lab_pipeline.lake import Lake
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.lab import Lab
from lab_pipeline.runs import backtest as steps
from lab_pipeline.runs.artifacts import REPORT, ArtifactStore
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.runs.tags import STRATEGY_DIMENSION, WINDOW_DIMENSION, asked_fields

NIGHTLY = dg.AssetKey(["backtest", "nightly"])
WINDOWS, STRATEGIES = "nightly_windows", "nightly_strategies"
"""Names of the dynamic partitions; the nightly schedule adds to them, and anybody may in the UI."""
NIGHTS = dg.MultiPartitionsDefinition(
    {
        STRATEGY_DIMENSION: dg.DynamicPartitionsDefinition(name=STRATEGIES),
        WINDOW_DIMENSION: dg.DynamicPartitionsDefinition(name=WINDOWS),
    }
)


class Choice(dg.Config):
    """What a partition does not say."""

    strategy_version: str | None = Field(default=None, description="Of the strategy; the latest by default.")
    timeframe: str | None = Field(
        default=None,
        description="Length of the candles; by default LAB_AUTOMATION_TIMEFRAME, or else the shortest of the lake.",
    )


class NightlyConfig(Choice):
    """The same, and how the work is cut."""

    candles_per_part: int | None = Field(
        default=None, gt=0, le=MOST_CANDLES, description="Simulate in parts of at least so many candles, an op each."
    )


@dg.op(
    ins={"calls": dg.In(dg.Nothing)},
    out=dg.Out(io_manager_key=SCRATCH),
    description="Look up the strategy of the partition, select the calls of its window.",
)
def resolve_partition(
    context: dg.OpExecutionContext,
    config: Choice,
    *,
    lake: dg.ResourceParam[Lake],
    strategies: dg.ResourceParam[StrategyStore],
    clickhouse: dg.ResourceParam[ClickHousePool],
    lab: dg.ResourceParam[Lab],
) -> steps.ResolvedBacktest:
    """Turn the partition into a backtest with nothing left to look up, and tag the run with it."""
    with failing_clearly(context.log):
        timeframe = config.timeframe or automation_timeframe(lab.settings, lake)
    fields = {**asked_fields({}, context.run.tags), "strategy_version": config.strategy_version, "timeframe": timeframe}
    return resolved(context, BacktestConfig(**fields), lake, strategies, clickhouse)


@dg.op(out=dg.Out(dg.Nothing), description="Check, write and reveal the artifacts by one rename.")
def publish_partition(
    context: dg.OpExecutionContext,
    results: list[steps.SimulatedBacktest],
    artifacts: dg.ResourceParam[ArtifactStore],
    lab: dg.ResourceParam[Lab],
) -> None:
    """Publish the artifacts; the result comes from one of two ops, the other skipped."""
    (result,) = results
    with failing_clearly(context.log):
        manifest = steps.publish(context.run.run_id, result, artifacts)
    unpublish_late(context, lab.settings)
    context.log.info(f"published {len(manifest.files)} artifacts to {artifacts.storage.at(manifest.run_id)}")


@dg.op(
    ins={"published": dg.In(dg.Nothing)},
    out={"nightly": dg.Out(dg.Nothing)},
    description="Write metrics and fills to ClickHouse, and count them there.",
)
def upload_partition(
    context: dg.OpExecutionContext,
    artifacts: dg.ResourceParam[ArtifactStore],
    clickhouse: dg.ResourceParam[ClickHousePool],
    lab: dg.ResourceParam[Lab],
) -> Iterator[dg.Output[None]]:
    """Upload what was published; the partition is there once readers see all of it."""
    written, counts = write(context, artifacts, clickhouse, lab)
    require_equal(context, written, counts)
    run_id, api = context.run.run_id, api_url(lab.settings)
    manifest = artifacts.manifest(run_id)
    metadata: dict[str, dg.MetadataValue] = {
        "page": dg.MetadataValue.url(page_url(api, run_id)),
        "url": dg.MetadataValue.url(artifact_url(api, run_id, REPORT)),
        "artifacts": dg.MetadataValue.url(f"{api}/runs/{run_id}/artifacts"),
        "dagster/uri": dg.MetadataValue.text(artifacts.storage.uri(run_id)),
        "fingerprint": dg.MetadataValue.text(manifest.fingerprint),
        "fill assumptions": dg.MetadataValue.text(manifest.fill_assumptions.text),
        **numbers(manifest.summary),
    }
    describe_asset(context, "nightly", metadata)
    yield dg.Output(None, "nightly", data_version=dg.DataVersion(manifest.fingerprint))


@dg.config_mapping(config_schema=form(NightlyConfig))
def nightly_config(val: Mapping[str, Any]) -> dict[str, object]:
    """Let the launchpad ask for all of it in one place."""
    config = NightlyConfig(**val)
    return {
        "resolve_partition": {"config": config.model_dump(exclude={"candles_per_part"})},
        "load": {"config": {"candles_per_part": config.candles_per_part}},
    }


@dg.graph_multi_asset(
    name="night",
    group_name="nightly",
    partitions_def=NIGHTS,
    ins={
        "candles": dg.AssetIn(["lake", "candles"], dagster_type=dg.Nothing),
        "calls": dg.AssetIn(["lake", "calls"], dagster_type=dg.Nothing),
    },
    outs={
        "nightly": dg.AssetOut(
            key=NIGHTLY,
            description="A strategy over the calls of a window, a partition each: artifacts and rows as of any run.",
            kinds={"numba", "parquet", "clickhouse"},
            code_version=ENGINE_VERSION,
        )
    },
    config=nightly_config,
)
def nightly_assets(candles: None, calls: None) -> dict[str, None]:
    """Simulate the strategy of a partition on the calls of its window."""
    backtest = resolve_partition(calls=calls)
    planned = load(backtest, candles=candles)
    whole = simulate(backtest, planned.whole)
    parts = planned.parts.map(lambda piece: simulate_part(backtest, piece))
    return {"nightly": upload_partition(published=publish_partition([whole, merge(backtest, parts.collect())]))}
