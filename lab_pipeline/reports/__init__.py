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
from lab_pipeline.reports.sheet import RunResult, conclude, in_few_words, render_report, render_sheet
from lab_pipeline.reports.sparkline import sparkline
from lab_pipeline.reports.sweep_sheet import SETS_BESIDE, conclude_sweep, render_sweep, render_sweep_sheet

__all__ = [
    "CURVES",
    "SETS_BESIDE",
    "RunResult",
    "buckets_picture",
    "comparison_chart",
    "conclude",
    "conclude_sweep",
    "coverage_chart",
    "days_chart",
    "environment",
    "equity_picture",
    "in_few_words",
    "render_report",
    "render_sheet",
    "render_sweep",
    "render_sweep_sheet",
    "sparkline",
]
