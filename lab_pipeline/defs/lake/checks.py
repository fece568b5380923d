"""Checks on the lake: candles that are missing or there twice, and calls that are out of the ordinary."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.metadata_table import table
from lab_pipeline.defs.lake.metadata import CALLERS, CALLS_KEY, CANDLES_KEY, measure
from lab_pipeline.lake import Lake
from lab_pipeline.operations.lab import Lab

WORST_SHOWN = 20
COVERAGE, GAPS, DUPLICATES = "coverage", "gaps", "duplicates"
KNOWN_CALLERS, BURSTS, BEFORE_CANDLES = "callers_are_known", "no_bursts", "calls_follow_candles"
MOST_THIN = 0.2
"""Share of the mints: of many tokens that were once called, some are hardly traded ever after."""
BURST_CALLS, BURST_SECONDS = 10, 60
DESCRIPTIONS = {
    COVERAGE: f"At most {MOST_THIN:.0%} of the mints lack too many candles between their first and their last "
    "(LAB_MIN_COVERAGE).",
    GAPS: "Counts the gaps of every mint; thin markets have them, so they are allowed.",
    DUPLICATES: "No mint has two candles of one time.",
}
CALL_DESCRIPTIONS = {
    KNOWN_CALLERS: "Every caller has called before the latest calls came.",
    BURSTS: f"No caller makes {BURST_CALLS} calls in {BURST_SECONDS} seconds, as times without an hour would look.",
    BEFORE_CANDLES: "No call comes before the first candle of its token.",
}


@dg.multi_asset_check(
    name="candle_quality",
    specs=[dg.AssetCheckSpec(name, asset=CANDLES_KEY, description=text) for name, text in DESCRIPTIONS.items()],
)
def candle_quality(lake: dg.ResourceParam[Lake], lab: dg.ResourceParam[Lab]) -> Iterator[dg.AssetCheckResult]:
    """Measure every timeframe of the lake."""
    yield from evaluate(measure(lake), lab.settings.min_coverage)


@dg.multi_asset_check(
    name="call_quality",
    specs=[dg.AssetCheckSpec(name, asset=CALLS_KEY, description=text) for name, text in CALL_DESCRIPTIONS.items()],
)
def call_quality(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """Look at every call; callers are new that the materialisation before the latest did not know."""
    yield from evaluate_calls(lake.calls(), measure(lake), recorded_callers(context.instance, back=1))


def recorded_callers(instance: dg.DagsterInstance, *, back: int = 0) -> set[str] | None:
    """Return the callers at the latest materialisation of the calls, or one further back; None if there is none."""
    records = instance.fetch_materializations(CALLS_KEY, limit=back + 1).records
    if len(records) <= back or (event := records[back].asset_materialization) is None:
        return None
    callers = event.metadata.get(CALLERS)
    return {str(row.data["caller"]) for row in callers.records} if isinstance(callers, dg.TableMetadataValue) else None


def evaluate_calls(
    calls: pl.DataFrame, mints: pl.DataFrame, known_callers: set[str] | None
) -> Iterator[dg.AssetCheckResult]:
    """Yield the result of each check of the calls, with the first of what is out of the ordinary.

    Args:
        calls: of the lake.
        mints: what `measure` found in it.
        known_callers: who had called before the latest calls came; None if those are the first.
    """
    callers = calls["caller"].unique().sort()
    unknown = callers.filter(~callers.is_in(list(known_callers))) if known_callers is not None else callers.clear()
    yield _result(
        KNOWN_CALLERS,
        key=CALLS_KEY,
        passed=unknown.is_empty(),
        metadata={
            "callers": len(callers),
            "new": len(unknown),
            "new callers": table(unknown.head(WORST_SHOWN).to_frame()),
        },
    )
    tenth = pl.col("called_at").shift(BURST_CALLS - 1).over("caller")
    bursts = calls.sort("caller", "called_at").filter(
        (pl.col("called_at") - tenth).dt.total_milliseconds() <= BURST_SECONDS * 1000
    )
    bursts = bursts.group_by("caller").agg(calls=pl.len(), first=pl.col("called_at").min()).sort("caller")
    yield _result(
        BURSTS,
        key=CALLS_KEY,
        passed=bursts.is_empty(),
        metadata={"callers in a hurry": bursts.height, "bursts": table(bursts.head(WORST_SHOWN))},
    )
    first = mints.group_by("mint").agg(first_candle=pl.col("first").min())
    early = (
        calls.join(first, on="mint").filter(pl.col("called_at") < pl.col("first_candle")).sort("called_at", "call_id")
    )
    yield _result(
        BEFORE_CANDLES,
        key=CALLS_KEY,
        passed=early.is_empty(),
        metadata={
            "early calls": early.height,
            "calls on mints without candles": calls.join(first, on="mint", how="anti").height,
            "earliest": table(early.head(WORST_SHOWN)),
        },
    )


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
        passed=thin.height <= MOST_THIN * mints.height,
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
    key: dg.AssetKey = CANDLES_KEY,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, asset_key=key, check_name=name, severity=severity, metadata=metadata)
