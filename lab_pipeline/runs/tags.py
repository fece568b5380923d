"""How backtests stand in Dagster's record, for whoever reads it, with Dagster or without."""

from lab_pipeline.domain.enums import RunStatus

BACKTEST_JOB = "backtest"
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


def status_of(dagster_status: str) -> str:
    """Return the lab's word for a status of Dagster's: one that is new to us keeps its name, in lower case."""
    known = STATUSES.get(dagster_status)
    return dagster_status.lower() if known is None else known.value
