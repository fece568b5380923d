"""How backtests stand in Dagster's record, for whoever writes or reads it, with Dagster or without."""

from collections.abc import Mapping
from typing import Any

from lab_pipeline.domain.enums import RunStatus

BACKTEST_JOB = "backtest"
NIGHTLY_JOB = "nightly"
BACKTEST_JOBS = (BACKTEST_JOB, NIGHTLY_JOB)
SWEEP_JOB = "sweep"
WALK_JOB = "walk"
"""Walks a sweep forward, a fold a run; it publishes no artifacts."""
PUBLISHING_JOBS = (*BACKTEST_JOBS, SWEEP_JOB)
SWEEP_OP = "search"
CONFIGURED = ("run", "night", SWEEP_OP)
"""The ops whose configuration says what is simulated, one a job."""
ASSET_JOB = "__ASSET_JOB"
"""Dagster's own job, in which the UI's *Materialize* runs assets."""
BACKTEST_ASSETS = "backtest"
"""First part of the keys of the assets that a backtest materialises."""
SWEEP_ASSETS = "sweep"
"""Likewise of a sweep."""

STRATEGY_TAG = "lab/strategy"
VERSION_TAG = "lab/strategy_version"
TIMEFRAME_TAG = "lab/timeframe"
FINGERPRINT_TAG = "lab/fingerprint"
RESULT_TAG = "lab/result"
"""What came of a run or sweep, in a few words for a list."""
NO_RESULT = "none yet"
"""Of a run that repeats another: Dagster copies all tags."""
FILLS_TAG = "lab/fills"
"""Id of what a run assumes of its fills: runs that differ in it are not comparable."""
LAKE_TAG = "lab/lake"
"""The version of the lake that a run reads, and whoever executes it again."""
WINDOW_TAG = "lab/window"
"""The calls that a run is about, as an ISO 8601 interval: start/end, the end not included."""
FIELD_TAGS = {"strategy": STRATEGY_TAG, "strategy_version": VERSION_TAG, "timeframe": TIMEFRAME_TAG}
"""The fields of the form that runs are searched by."""

STRATEGY_DIMENSION, WINDOW_DIMENSION = "strategy", "window"
"""What the partitions of nightly backtests are made of: the id of a strategy, and the value of `WINDOW_TAG`."""
STRATEGY_PARTITION_TAG, WINDOW_PARTITION_TAG = (
    f"dagster/partition/{STRATEGY_DIMENSION}",
    f"dagster/partition/{WINDOW_DIMENSION}",
)
"""Dagster's tags of a run of such a partition."""

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


def run_config(fields: Mapping[str, Any], executor: object = None, *, op: str = "run") -> dict[str, object]:
    """Return the configuration of a run: the form's fields and, if it is given, that of the executor.

    Args:
        fields: of the form.
        executor: its configuration.
        op: one of `CONFIGURED`.
    """
    execution = {} if executor is None else {"execution": {"config": executor}}
    return {"ops": {op: {"config": dict(fields)}}, **execution}


def asked_fields(config: object, tags: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the form's fields that a run was asked for, unchecked: by its partition, or as typed.

    Args:
        config: of the run; where it has no such place, no field was typed.
        tags: of the run.
    """
    ops = config.get("ops") if isinstance(config, Mapping) else None
    nodes = [ops.get(name) for name in CONFIGURED] if isinstance(ops, Mapping) else []
    configs = [node.get("config") for node in nodes if isinstance(node, Mapping)]
    typed: Mapping[str, Any] = next((one for one in configs if isinstance(one, Mapping)), {})
    strategy, window = tags.get(STRATEGY_PARTITION_TAG), tags.get(WINDOW_PARTITION_TAG)
    if strategy is None or window is None:
        return typed
    start, _, end = window.partition("/")
    return {"strategy": strategy, "start": start, "end": end, **typed}


def search_tags(fields: Mapping[str, Any], window: str | None = None) -> dict[str, str]:
    """Return the tags that a run is found by, of those of the form's fields that are text, and of its window."""
    found = {tag: fields.get(name) for name, tag in FIELD_TAGS.items()} | {WINDOW_TAG: window}
    return {tag: value for tag, value in found.items() if isinstance(value, str) and value}


def without_result(tags: Mapping[str, str]) -> dict[str, str]:
    """Return what to tag a run with that begins, if it has the result of one that it repeats."""
    return {RESULT_TAG: NO_RESULT} if RESULT_TAG in tags else {}


def recorded(name: str, tags: Mapping[str, str], asked: Mapping[str, Any]) -> str | None:
    """Return a field that runs are searched by: as the run has resolved it, or else as it was asked for."""
    value = tags.get(FIELD_TAGS[name], asked.get(name))
    return value if isinstance(value, str) else None
