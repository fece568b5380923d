"""Import every module that adds commands."""

from lab_pipeline.cli import (
    api,
    artifacts,
    backtest,
    backup,
    clickhouse,
    demo,
    gc,
    health,
    ingest,
    logs,
    migrate,
    runs,
    statistics,
    strategies,
    up,
)

__all__ = [
    "api",
    "artifacts",
    "backtest",
    "backup",
    "clickhouse",
    "demo",
    "gc",
    "health",
    "ingest",
    "logs",
    "migrate",
    "runs",
    "statistics",
    "strategies",
    "up",
]
