"""Pictures and tear sheets."""

from lab_pipeline.reports.charts import buckets_picture, equity_picture
from lab_pipeline.reports.sheet import RunResult, environment, render_report, render_sheet

__all__ = ["RunResult", "buckets_picture", "environment", "equity_picture", "render_report", "render_sheet"]
