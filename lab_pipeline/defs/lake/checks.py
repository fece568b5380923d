"""Checks on the candles of the lake: what is missing, and whether anything is there twice."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.metadata_table import table
from lab_pipeline.defs.lake.metadata import CANDLES_KEY, measure
from lab_pipeline.lake import Lake
from lab_pipeline.operations.lab import Lab

WORST_SHOWN = 20
COVERAGE, GAPS, DUPLICATES = "coverage", "gaps", "duplicates"
DESCRIPTIONS = {
    COVERAGE: "Every mint has enough of the candles between its first and its last (LAB_MIN_COVERAGE).",
    GAPS: "Counts the gaps of every mint; thin markets have them, so they are allowed.",
    DUPLICATES: "No mint has two candles of one time.",
}


@dg.multi_asset_check(
    name="candle_quality",
    specs=[dg.AssetCheckSpec(name, asset=CANDLES_KEY, description=text) for name, text in DESCRIPTIONS.items()],
)
def candle_quality(lake: dg.ResourceParam[Lake], lab: dg.ResourceParam[Lab]) -> Iterator[dg.AssetCheckResult]:
    """Measure every timeframe of the lake."""
    yield from evaluate(measure(lake), lab.settings.min_coverage)


def evaluate(mints: pl.DataFrame, min_coverage: float) -> Iterator[dg.AssetCheckResult]:
    """Yield the result of each check, with the mints that are worst off.

    Args:
        mints: what `measure` found in the lake.
        min_coverage: share of a mint's candles that must be there.
    """
    if mints.is_empty():
        for name in DESCRIPTIONS:
            yield _result(name, passed=True, metadata={"mints": 0})
        return
    thin = mints.filter(pl.col("coverage") < min_coverage)
    yield _result(
        COVERAGE,
        passed=thin.is_empty(),
        metadata={
            "mints": mints.height,
            "mints below the minimum": thin.height,
            "minimum": min_coverage,
            "lowest": float(mints["coverage"].to_numpy().min()),
            "thinnest": table(mints.sort("coverage", "mint").head(WORST_SHOWN)),
        },
    )
    gapped = mints.filter(pl.col("gaps") > 0)
    yield _result(
        GAPS,
        passed=True,
        metadata={
            "gaps": int(mints["gaps"].sum()),
            "mints with gaps": gapped.height,
            "longest, candles": int(mints["longest_gap"].to_numpy().max()),
            "most gaps": table(gapped.sort("gaps", "mint", descending=[True, False]).head(WORST_SHOWN)),
        },
    )
    doubled = mints.filter(pl.col("duplicates") > 0)
    yield _result(
        DUPLICATES,
        passed=doubled.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"duplicates": int(mints["duplicates"].sum()), "mints": table(doubled.head(WORST_SHOWN))},
    )


def _result(
    name: str,
    *,
    passed: bool,
    metadata: dict[str, int | float | dg.MetadataValue],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=passed, asset_key=CANDLES_KEY, check_name=name, severity=severity, metadata=metadata
    )
