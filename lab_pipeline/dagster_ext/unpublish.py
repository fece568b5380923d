"""Take back what a run has shown that was then canceled or killed."""

import logging
from pathlib import Path

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG
from sqlalchemy.exc import SQLAlchemyError

from lab_pipeline.dagster_ext import io_manager, worker_locks
from lab_pipeline.domain.errors import LabError
from lab_pipeline.settings import Settings

STORE_ERRORS = (LabError, SQLAlchemyError, OSError)
"""What a store raises that does not answer or, as on a full disk, cannot write."""

logger = logging.getLogger(__name__)


def settle_dead(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Bring every run to its final state whose process is gone, and withdraw it.

    While a store does not answer, the run is settled nevertheless, and withdrawn the next time.

    Raises:
        SQLAlchemyError, OSError: the first there was, as on a full disk, after all other runs were seen to.
    """
    broken: list[Exception] = []

    def settle_runs_of(worker: str) -> bool:
        done = True
        tagged = instance.get_runs(filters=dg.RunsFilter(tags={worker_locks.WORKER_TAG: worker}))
        for run in (run for run in tagged if worker_locks.worker_of(run) == worker):
            try:
                succeeded = run.status is dg.DagsterRunStatus.SUCCESS  # which it stays, and keeps what it has shown
                if not succeeded:
                    worker_locks.settle(instance, run.run_id, "The process that ran it was killed.")
                io_manager.discard(settings, run.run_id)
                if not succeeded:
                    withdraw_after_end(instance, settings, run.run_id)
            except STORE_ERRORS as error:
                logger.warning("run %s is settled, or taken back, the next time: %s", run.run_id, error)
                done = False
                if not isinstance(error, LabError):
                    broken.append(error)
        return done

    worker_locks.clear_dead(worker_locks.workers_dir(Path(instance.root_directory)), settle_runs_of)
    if broken:
        raise broken[0]


def withdraw_after_end(instance: dg.DagsterInstance, settings: Settings, run_id: str) -> bool:
    """Withdraw a run that was canceled, or whose process was interrupted or killed; tells whether there was anything.

    One of whose ops failed by itself keeps what it has published: going on from there takes it over.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or not run.is_finished or run.status is dg.DagsterRunStatus.SUCCESS:
        return False
    if run.tags.get(RUN_FAILURE_REASON_TAG) == RunFailureReason.STEP_FAILURE.value:
        return False
    withdrawn = withdraw(settings, run_id)
    if withdrawn:
        instance.report_engine_event("Withdrew its artifacts, since it was not done.", run)
    return withdrawn


def withdraw_if_ended(context: dg.OpExecutionContext | dg.AssetExecutionContext, settings: Settings) -> None:
    """Take back what an op has just shown, if its run has ended meanwhile without it, and fail.

    A run ends before it is withdrawn, so whatever an op in another process shows too late for that, it finds here.
    """
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is None or run.is_finished:
        _take_back(settings, context.run.run_id, unpublished=True)
        raise dg.Failure("the run has ended while this op went on: what it showed was withdrawn", allow_retries=False)


def withdraw(settings: Settings, run_id: str) -> bool:
    """Delete the artifacts of a run and its rows in ClickHouse, not its log; tells whether there were any.

    Rows are only ever written of what has been published, and the artifacts go last: what is cut off here is found,
    and done, the next time.

    Raises:
        LabError: if a store does not answer.
    """
    return _take_back(settings, run_id, unpublished=False)


def _take_back(settings: Settings, run_id: str, *, unpublished: bool) -> bool:
    """Withdraw a run; where it has no artifacts any more, only if `unpublished` ones are wanted, too."""
    from lab_pipeline.runs.artifacts import ArtifactStore  # noqa: PLC0415 - polars, which a daemon at rest goes without

    artifacts = ArtifactStore(settings.artifacts_dir)
    if not unpublished and not artifacts.has(run_id):
        return False
    from lab_pipeline.clickhouse.client import ClickHouse  # noqa: PLC0415 - seldom needed, and not light
    from lab_pipeline.clickhouse.config import clickhouse_config  # noqa: PLC0415
    from lab_pipeline.clickhouse.writer import delete_run  # noqa: PLC0415

    with ClickHouse(clickhouse_config(settings)) as clickhouse:
        delete_run(clickhouse, run_id, logs=False)
    artifacts.delete(run_id)
    return True
