"""Aggregates over runs: exact, incremental, and kept in the catalog."""

from lab_pipeline.domain.enums import Board, GroupBy, RankBy
from lab_pipeline.statistics.answers import (
    Answer,
    Range,
    correlation,
    distribution,
    overview,
    pnl,
)
from lab_pipeline.statistics.buckets import Bins, Metric
from lab_pipeline.statistics.catalog import NotComputedError
from lab_pipeline.statistics.correlations import FEATURES, Method
from lab_pipeline.statistics.duckdb_session import TimeLimitError
from lab_pipeline.statistics.leaderboards import Filters, Place, leaderboard, window_start
from lab_pipeline.statistics.refreshing import Refreshed, Statistics, refresh
from lab_pipeline.statistics.run_record import KnownRun

__all__ = [
    "FEATURES",
    "Answer",
    "Bins",
    "Board",
    "Filters",
    "GroupBy",
    "KnownRun",
    "Method",
    "Metric",
    "NotComputedError",
    "Place",
    "Range",
    "RankBy",
    "Refreshed",
    "Statistics",
    "TimeLimitError",
    "correlation",
    "distribution",
    "leaderboard",
    "overview",
    "pnl",
    "refresh",
    "window_start",
]
