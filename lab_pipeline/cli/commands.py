"""Import every module that adds commands."""

from lab_pipeline.cli import artifacts, backtest, clickhouse, demo, health, ingest, runs, strategies, up

__all__ = ["artifacts", "backtest", "clickhouse", "demo", "health", "ingest", "runs", "strategies", "up"]
