"""Tell Dagster what was brought into the lake outside of a run."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import dagster as dg

from lab_pipeline.defs.lake.checks import evaluate, evaluate_calls, recorded_callers
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
    """Record a materialisation of the calls, and the checks on them."""
    for event in call_events(lab.lake, report, recorded_callers(lab.instance)):
        lab.instance.report_runless_asset_event(event)


def candle_events(
    lake: Lake, report: "IngestReport", min_coverage: float
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Describe the candles after an ingest, then what the checks say of them."""
    measured = measure(lake)
    metadata = ingest_metadata(report) | candles_metadata(lake, measured)
    yield dg.AssetMaterialization(CANDLES_KEY, metadata=metadata)
    yield from _evaluations(evaluate(measured, min_coverage))


def call_events(
    lake: Lake, report: "IngestReport", known_callers: set[str] | None
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Describe the calls after an ingest, then what the checks say of them.

    Args:
        lake: that has them.
        report: of the ingest.
        known_callers: who had called before; None if nobody had.
    """
    yield dg.AssetMaterialization(CALLS_KEY, metadata=ingest_metadata(report) | calls_metadata(lake))
    yield from _evaluations(evaluate_calls(lake.calls(), measure(lake), known_callers))


def _evaluations(results: Iterable[dg.AssetCheckResult]) -> Iterator[dg.AssetCheckEvaluation]:
    for result in results:
        if result.asset_key is None:
            raise ValueError(f"{result.check_name} names no asset")
        yield dg.AssetCheckEvaluation(
            asset_key=result.asset_key,
            check_name=str(result.check_name),
            passed=result.passed,
            severity=result.severity,
            metadata=result.metadata,
        )
