"""Aggregates over runs: exact, incremental, and kept in the catalog."""

from lab_pipeline.domain.enums import Board, GroupBy, RankBy
from lab_pipeline.statistics.answers import (
    Range,
    StatisticsAnswer,
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
from lab_pipeline.statistics.run_record import RunRecord

__all__ = [
    "FEATURES",
    "Bins",
    "Board",
    "Filters",
    "GroupBy",
    "Method",
    "Metric",
    "NotComputedError",
    "Place",
    "Range",
    "RankBy",
    "Refreshed",
    "RunRecord",
    "Statistics",
    "StatisticsAnswer",
    "TimeLimitError",
    "correlation",
    "distribution",
    "leaderboard",
    "overview",
    "pnl",
    "refresh",
    "window_start",
]
