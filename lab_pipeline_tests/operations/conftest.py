"""Fixtures of a home with a small market, and of a run on it."""

from lab_pipeline_tests.support.small_lab import lab, run

__all__ = ["lab", "run"]
