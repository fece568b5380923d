"""The private names of Dagster that `dagster_ext` and the rooms above use, but for those of `storage.internals`.

Dagster may rename or change them in any release; `SEEN_ON` says with which version every test passed.
"""

from dagster._config import ConfigBoolInstance, ConfigIntInstance, ConfigStringInstance, ConfigType
from dagster._core.definitions.executor_definition import ExecutorRequirement, multiple_process_executor_requirements
from dagster._core.errors import DagsterEventLogInvalidForRun, DagsterExecutionInterruptedError, DagsterRunNotFoundError
from dagster._core.event_api import EventLogCursor
from dagster._core.events import DagsterEvent, JobFailureData, RunFailureReason
from dagster._core.execution.api import execute_run
from dagster._core.execution.context.system import PlanOrchestrationContext, StepExecutionContext
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.scheduler.instigation import InstigatorType, TickStatus
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    MAX_RETRIES_TAG,
    MAX_RUNTIME_SECONDS_TAG,
    PARENT_RUN_ID_TAG,
    PRIORITY_TAG,
    RETRY_NUMBER_TAG,
    RETRY_STRATEGY_TAG,
    RUN_FAILURE_REASON_TAG,
    SCHEDULED_EXECUTION_TIME_TAG,
    WILL_RETRY_TAG,
)
from dagster._daemon.auto_run_reexecution.event_log_consumer import _create_cursor_key
from dagster._grpc.impl import core_execute_run
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster._utils.interrupts import capture_interrupts
from dagster._utils.schedules import get_smallest_cron_interval

SEEN_ON = "1.13"
"""Dagster's minor version with which every test of this project passed."""
