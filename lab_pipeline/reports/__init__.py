"""Pictures and tear sheets."""

from lab_pipeline.reports.charts import buckets_picture, equity_picture
from lab_pipeline.reports.sheet import RunResult, render_report
from lab_pipeline.reports.sweep_sheet import render_sweep

__all__ = ["RunResult", "buckets_picture", "equity_picture", "render_report", "render_sweep"]
