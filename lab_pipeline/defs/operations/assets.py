"""What the lab does for itself: retention."""

from datetime import UTC, datetime

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.metadata_table import table
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.operations.disk_usage import disk_use
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.retention import Expired, Policy, collect, expired, forget_versions, leaders, leftovers
from lab_pipeline.statistics import NotComputedError, Statistics

RETENTION_KEY = dg.AssetKey(["operations", "retention"])
DELETED_SHOWN = 50
DELETED = pl.Schema(
    {
        "run": pl.String(),
        "job": pl.String(),
        "strategy": pl.String(),
        "created": pl.Datetime("us", "UTC"),
        "reason": pl.String(),
        "bytes": pl.Int64(),
    }
)


@dg.asset(key=RETENTION_KEY, group_name="operations", pool="retention", config_schema={})
def retention(context: dg.AssetExecutionContext, lab: dg.ResourceParam[Lab]) -> dg.MaterializeResult[None]:
    """Delete what the settings LAB_KEEP_… do not keep, as `lab gc` does; measure the home."""
    gone: list[Expired] = []
    with failing_clearly(context.log):
        policy = Policy.of(lab.settings)
        if policy.keeps_everything:
            context.log.info("every run is kept: LAB_KEEP_DAYS and LAB_KEEP_RUNS_PER_STRATEGY are not set")
        for run in collect(lab, expired(lab, policy, datetime.now(UTC))):
            context.log.info(f"deleted run {run.run_id} ({run.job}): {run.reason}")
            gone.append(run)
        old = forget_versions(lab, policy, datetime.now(UTC), remove=True)
        left = leftovers(lab, remove=True)
        leading = _leaders(lab.statistics, policy.leaders)
    areas = disk_use(lab.settings)
    freed = sum(run.bytes for run in gone) + sum(left.values()) + old
    context.log.info(f"{len(gone):,} runs deleted, {freed:,} bytes freed; the home has {sum(areas.values()):,} bytes")
    return dg.MaterializeResult(
        metadata={
            "runs deleted": len(gone),
            "bytes freed": freed,
            "bytes of old versions of the lake": old,
            "runs that lead a leaderboard": leading,
            "bytes of the home": sum(areas.values()),
            "disk use": table(_areas(areas)),
            "deleted": table(_deleted(gone[:DELETED_SHOWN])),
            **{f"bytes of {area}": size for area, size in areas.items()},
        }
    )


def _leaders(statistics: Statistics, count: int) -> int:
    """Count the runs that lead: none, while no statistics were needed and none were computed."""
    try:
        return len(leaders(statistics, count))
    except NotComputedError:
        return 0


def _areas(areas: dict[str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        {"area": list(areas), "bytes": list(areas.values()), "MiB": [size / 2**20 for size in areas.values()]}
    )


def _deleted(gone: list[Expired]) -> pl.DataFrame:
    rows = [(run.run_id, run.job, run.strategy_id, run.created_at, run.reason, run.bytes) for run in gone]
    return pl.DataFrame(rows, schema=DELETED, orient="row")
