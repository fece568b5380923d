"""The statistics: seven assets, computed together and written in one transaction."""

from collections.abc import Iterator

import dagster as dg

from lab_pipeline.dagster_ext.config_schema import form
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.defs.statistics.checks import evaluate
from lab_pipeline.defs.statistics.metadata import describe
from lab_pipeline.defs.statistics.specs import asset_specs, check_specs
from lab_pipeline.doors import api_url
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.run_records import run_records
from lab_pipeline.settings import load_settings
from lab_pipeline.statistics import refresh


class StatisticsConfig(dg.Config):
    """How to compute."""

    rebuild: bool = False
    """Read the artifacts of every run again; the numbers come out the same."""


@dg.multi_asset(
    name="compute_statistics",
    specs=asset_specs(load_settings().statistics_cron),
    check_specs=check_specs(),
    can_subset=False,
    pool="statistics",
    config_schema=form(StatisticsConfig),
)
def statistics_assets(
    context: dg.AssetExecutionContext, lab: dg.ResourceParam[Lab]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Read the artifacts of new runs, forget those that are gone, and write every table that changes."""
    config = StatisticsConfig(**context.op_execution_context.op_config)
    with failing_clearly(context.log):
        statistics = lab.statistics
        runs = run_records(lab.runs, statistics.catalog.run_records())
        done = refresh(statistics, runs, rebuild=config.rebuild)
        if done.changed:
            context.log.info(f"{done.added:,} runs read, {done.removed:,} forgotten, {done.runs:,} count")
        else:
            context.log.info(f"nothing has changed since: {done.runs:,} runs, {done.source_hash[:12]}")
        described = describe(statistics, done, api_url(lab.settings))
    for key, metadata in described.items():
        yield dg.MaterializeResult(asset_key=key, metadata=metadata, data_version=dg.DataVersion(done.source_hash))
    yield from evaluate(statistics.catalog)
