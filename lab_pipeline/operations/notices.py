"""What is worth a notice: runs that failed, and checks of the data that do not pass any more."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from lab_pipeline.dagster_ext.failure_reason import failure_reason
from lab_pipeline.dagster_ext.graphql import webserver_url
from lab_pipeline.dagster_ext.internals import (
    WILL_RETRY_TAG,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from lab_pipeline.operations.webhook import Notice
from lab_pipeline.runs.tags import STRATEGY_TAG, TIMEFRAME_TAG, WINDOW_TAG
from lab_pipeline.settings import Settings

RUN_FAILED = "run.failed"
QUALITY_FAILED = "data_quality.failed"
ABOUT = "strategy"
"""Metadata of a check's evaluation, of whatever else than its asset it is about."""
AT_ONCE = 100


def failures_after(instance: dg.DagsterInstance, storage_id: int) -> list[tuple[int, dg.DagsterRun, datetime]]:
    """Return runs that failed: the number of the event, the run, when; in order, those that are deleted left out."""
    wanted = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=storage_id)
    records = instance.fetch_run_status_changes(wanted, limit=AT_ONCE, ascending=True).records
    found = []
    for record in records:
        run = instance.get_run_by_id(record.run_id)
        if run is not None:
            found.append((record.storage_id, run, datetime.fromtimestamp(record.timestamp, UTC)))
    return found


def last_failure(instance: dg.DagsterInstance) -> int:
    """Return the number of the newest event of a failed run; 0 if there is none."""
    records = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    return records[0].storage_id if records else 0


def of_failure(settings: Settings, instance: dg.DagsterInstance, run: dg.DagsterRun, failed_at: datetime) -> Notice:
    """Describe a failed run."""
    data = {
        "runId": run.run_id,
        "job": run.job_name,
        "strategyId": run.tags.get(STRATEGY_TAG),
        "timeframe": run.tags.get(TIMEFRAME_TAG),
        "window": run.tags.get(WINDOW_TAG),
        "error": failure_reason(instance, run.run_id),
        "willRetry": run.tags.get(WILL_RETRY_TAG) == "true",
        "dagsterUrl": f"{webserver_url(settings)}/runs/{run.run_id}",
    }
    return Notice(f"run_failed_{run.run_id}", RUN_FAILED, failed_at, data)


def evaluated_checks(
    instance: dg.DagsterInstance, keys: Iterable[dg.AssetCheckKey]
) -> dict[str, AssetCheckExecutionRecord]:
    """Return the latest evaluation of each check that has one, by `asset:check`.

    Of a check on the results of a strategy it is `asset:check of strategy`, so that runs of different strategies, of
    which some pass and some do not, are not taken for one that changes all the time.
    """
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys))
    found = {}
    for key, record in sorted(latest.items()):
        if record.status is not AssetCheckExecutionRecordStatus.PLANNED and record.evaluation is not None:
            about = record.evaluation.metadata.get(ABOUT)
            found[f"{key.to_user_string()}{f' of {about.value}' if about else ''}"] = record
    return found


def is_error(record: AssetCheckExecutionRecord) -> bool:
    """Return whether a check that did not pass says that something is wrong, rather than warns of it."""
    return record.evaluation is not None and record.evaluation.severity is dg.AssetCheckSeverity.ERROR


def of_check(name: str, record: AssetCheckExecutionRecord) -> Notice:
    """Describe a check that did not pass."""
    evaluation = record.evaluation
    if evaluation is None:
        raise ValueError(f"{name} was not evaluated")
    data = {
        "asset": evaluation.asset_key.to_user_string(),
        "check": evaluation.check_name,
        "severity": evaluation.severity.value,
        "description": evaluation.description,
        "metadata": _plain(evaluation.metadata),
        "runId": record.run_id or None,
    }
    happened_at = datetime.fromtimestamp(record.create_timestamp, UTC)
    return Notice(f"check_failed_{record.id}", QUALITY_FAILED, happened_at, data)


def _plain(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, Any]:
    """Keep numbers and short words; tables and pictures are in the UI."""
    values = {name: value.value for name, value in metadata.items()}
    return {name: value for name, value in values.items() if isinstance(value, int | float | str | bool)}
