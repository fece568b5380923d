"""Pictures and tear sheets."""

from lab_pipeline.reports.charts import (
    CURVES,
    buckets_picture,
    comparison_chart,
    coverage_chart,
    days_chart,
    equity_picture,
)
from lab_pipeline.reports.pages import environment
from lab_pipeline.reports.sheet import RunResult, render_report, render_sheet
from lab_pipeline.reports.sweep_sheet import SETS_BESIDE, conclude_sweep, render_sweep, render_sweep_sheet

__all__ = [
    "CURVES",
    "SETS_BESIDE",
    "RunResult",
    "buckets_picture",
    "comparison_chart",
    "conclude_sweep",
    "coverage_chart",
    "days_chart",
    "environment",
    "equity_picture",
    "render_report",
    "render_sheet",
    "render_sweep",
    "render_sweep_sheet",
]
