"""Tell Dagster what was brought into the lake outside of a run."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from lab_pipeline.defs.lake.checks import evaluate
from lab_pipeline.defs.lake.metadata import (
    CALLS_KEY,
    CANDLES_KEY,
    calls_metadata,
    candles_metadata,
    ingest_metadata,
    measure,
)
from lab_pipeline.lake import Lake
from lab_pipeline.operations.lab import Lab

if TYPE_CHECKING:
    from lab_pipeline.lake.ingest import IngestReport


def report_candles(lab: Lab, report: "IngestReport") -> None:
    """Record a materialisation of the candles, and the checks on them."""
    for event in candle_events(lab.lake, report, lab.settings.min_coverage):
        lab.instance.report_runless_asset_event(event)


def report_calls(lab: Lab, report: "IngestReport") -> None:
    """Record a materialisation of the calls."""
    lab.instance.report_runless_asset_event(calls_event(lab.lake, report))


def candle_events(
    lake: Lake, report: "IngestReport", min_coverage: float
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Describe the candles after an ingest, then what the checks say of them."""
    measured = measure(lake)
    metadata = ingest_metadata(report) | candles_metadata(lake, measured)
    yield dg.AssetMaterialization(CANDLES_KEY, metadata=metadata)
    for result in evaluate(measured, min_coverage):
        yield dg.AssetCheckEvaluation(
            asset_key=CANDLES_KEY,
            check_name=str(result.check_name),
            passed=result.passed,
            severity=result.severity,
            metadata=result.metadata,
        )


def calls_event(lake: Lake, report: "IngestReport") -> dg.AssetMaterialization:
    """Describe the calls after an ingest."""
    return dg.AssetMaterialization(CALLS_KEY, metadata=ingest_metadata(report) | calls_metadata(lake))
