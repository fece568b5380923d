"""The private names of Dagster that other rooms use; `SEEN_ON` says with which versions all of this room was seen.

Dagster may rename or change them in any release. What this room and `storage` import themselves is not listed here.
"""

from dagster._core.errors import DagsterEventLogInvalidForRun
from dagster._core.event_api import EventLogCursor  # the public API has those of a page's end alone
from dagster._core.events import DagsterEvent, RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.instance.ref import InstanceRef
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    PARENT_RUN_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    SCHEDULED_EXECUTION_TIME_TAG,
    WILL_RETRY_TAG,
)
from dagster._utils.schedules import get_smallest_cron_interval

SEEN_ON = "1.13"
"""Dagster's minor version with which every test of this project passed."""

__all__ = [
    "AUTO_RETRY_RUN_ID_TAG",
    "FINISHED_STATUSES",
    "NOT_FINISHED_STATUSES",
    "PARENT_RUN_ID_TAG",
    "RUN_FAILURE_REASON_TAG",
    "SCHEDULED_EXECUTION_TIME_TAG",
    "SEEN_ON",
    "WILL_RETRY_TAG",
    "AssetCheckExecutionRecord",
    "AssetCheckExecutionRecordStatus",
    "DagsterEvent",
    "DagsterEventLogInvalidForRun",
    "EventLogCursor",
    "InstanceRef",
    "RunFailureReason",
    "RunTagsTable",
    "RunsTable",
    "SqlEventLogStorageTable",
    "SqlRunStorage",
    "SqliteEventLogStorage",
    "SqliteScheduleStorage",
    "TickStatus",
    "auto_reexecution_should_retry_run",
    "get_smallest_cron_interval",
]
