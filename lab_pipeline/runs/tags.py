"""How backtests stand in Dagster's record, for whoever writes or reads it, with Dagster or without."""

from collections.abc import Mapping
from typing import Any

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
FIELD_TAGS = {"strategy": STRATEGY_TAG, "strategy_version": VERSION_TAG, "timeframe": TIMEFRAME_TAG}
"""The fields of the form that runs are searched by."""

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


def run_config(fields: Mapping[str, Any], executor: object = None) -> dict[str, object]:
    """Return the configuration of a run: the form's fields and, if it is given, that of the executor."""
    execution = {} if executor is None else {"execution": {"config": executor}}
    return {"ops": {"run": {"config": dict(fields)}}, **execution}


def asked_fields(config: object) -> Mapping[str, Any]:
    """Return the form's fields in the configuration of a run, unchecked; none where it has no such place."""
    node: Any = config
    for name in ("ops", "run", "config"):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def search_tags(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that a run is found by, of those of the form's fields that are text."""
    found = {tag: fields.get(name) for name, tag in FIELD_TAGS.items()}
    return {tag: value for tag, value in found.items() if isinstance(value, str) and value}


def told(name: str, tags: Mapping[str, str], asked: Mapping[str, Any]) -> str | None:
    """Return a field that runs are searched by: as the run has resolved it, or else as it was asked for."""
    value = tags.get(FIELD_TAGS[name], asked.get(name))
    return value if isinstance(value, str) else None
