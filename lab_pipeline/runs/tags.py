"""How backtests stand in Dagster's record, for whoever reads it, with Dagster or without."""

from collections.abc import Mapping
from typing import Any

from lab_pipeline.domain.enums import RunStatus

BACKTEST_JOB = "backtest"
NIGHTLY_JOB = "nightly"
BACKTEST_JOBS = (BACKTEST_JOB, NIGHTLY_JOB)
CONFIGURED = ("run", "night")
"""The ops whose configuration says what is simulated, one a job."""
ASSET_JOB = "__ASSET_JOB"
"""Dagster's own job, in which the UI's *Materialize* runs assets."""
BACKTEST_ASSETS = "backtest"
"""First part of the keys of the assets that a backtest materialises."""

STRATEGY_TAG = "lab/strategy"
VERSION_TAG = "lab/strategy_version"
TIMEFRAME_TAG = "lab/timeframe"
FINGERPRINT_TAG = "lab/fingerprint"
WINDOW_TAG = "lab/window"
"""The calls that a run is about, as an ISO 8601 interval: start/end, the end not included."""

STRATEGY_DIMENSION, WINDOW_DIMENSION = "strategy", "window"
"""What the partitions of nightly backtests are made of: the id of a strategy, and the value of `WINDOW_TAG`."""
PARTITION_TAG = "dagster/partition/"

STATUSES = {
    "QUEUED": RunStatus.QUEUED,
    "NOT_STARTED": RunStatus.QUEUED,
    "STARTING": RunStatus.QUEUED,
    "STARTED": RunStatus.RUNNING,
    "CANCELING": RunStatus.RUNNING,
    "SUCCESS": RunStatus.COMPLETED,
    "FAILURE": RunStatus.FAILED,
    "CANCELED": RunStatus.CANCELED,
}


def asked(run_config: Any, tags: Mapping[str, str]) -> Mapping[str, Any]:  # noqa: ANN401 - whatever was typed
    """Return the fields of `BacktestConfig` that a run was asked for, unchecked: by its partition, or as typed."""
    ops = run_config.get("ops") if isinstance(run_config, Mapping) else None
    nodes = [ops.get(name) for name in CONFIGURED] if isinstance(ops, Mapping) else []
    configs = [node.get("config") for node in nodes if isinstance(node, Mapping)]
    typed = next((config for config in configs if isinstance(config, Mapping)), {})
    strategy, window = (tags.get(PARTITION_TAG + name) for name in (STRATEGY_DIMENSION, WINDOW_DIMENSION))
    if strategy is None or window is None:
        return typed
    start, _, end = window.partition("/")
    return {"strategy": strategy, "start": start, "end": end, **typed}


def status_of(dagster_status: str) -> str:
    """Return the lab's word for a status of Dagster's: one that is new to us keeps its name, in lower case."""
    known = STATUSES.get(dagster_status)
    return dagster_status.lower() if known is None else known.value
