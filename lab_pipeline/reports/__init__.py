"""Pictures and tear sheets. Importing this loads matplotlib: do it where a report is made, not before."""

from lab_pipeline.reports.charts import buckets_png, equity_png
from lab_pipeline.reports.sheet import RunResult, render_report

__all__ = ["RunResult", "buckets_png", "equity_png", "render_report"]
