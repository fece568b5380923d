"""Tell Dagster what was brought into the lake outside of a run."""

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
from lab_pipeline.defs.operations.instance import open_instance
from lab_pipeline.lake import Lake
from lab_pipeline.settings import Settings

if TYPE_CHECKING:
    from lab_pipeline.lake.ingest import IngestReport


def report_candles(settings: Settings, lake: Lake, report: "IngestReport") -> None:
    """Record a materialisation of the candles, and the checks on them."""
    with open_instance(settings) as instance:
        measured = measure(lake)
        metadata = ingest_metadata(report) | candles_metadata(lake, measured)
        instance.report_runless_asset_event(dg.AssetMaterialization(CANDLES_KEY, metadata=metadata))
        for result in evaluate(measured, settings.min_coverage):
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=CANDLES_KEY,
                    check_name=str(result.check_name),
                    passed=result.passed,
                    severity=result.severity,
                    metadata=result.metadata,
                )
            )


def report_calls(settings: Settings, lake: Lake, report: "IngestReport") -> None:
    """Record a materialisation of the calls."""
    with open_instance(settings) as instance:
        metadata = ingest_metadata(report) | calls_metadata(lake)
        instance.report_runless_asset_event(dg.AssetMaterialization(CALLS_KEY, metadata=metadata))
