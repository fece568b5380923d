"""Pictures and tear sheets."""

from lab_pipeline.reports.charts import buckets_picture, equity_picture
from lab_pipeline.reports.sheet import RunResult, render_report

__all__ = ["RunResult", "buckets_picture", "equity_picture", "render_report"]
