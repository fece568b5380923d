"""Runs in the process that asks for them, outside the queue: runs like any other in the UI."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from lab_pipeline.dagster_ext import io_manager, worker_locks
from lab_pipeline.dagster_ext.failure_reason import failure_reason
from lab_pipeline.dagster_ext.graphql import LOCATION, REPOSITORY
from lab_pipeline.dagster_ext.internals import (
    DagsterExecutionInterruptedError,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
    execute_run,
)
from lab_pipeline.dagster_ext.reconcile import reconcile_dead
from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.disk_errors import full_disk, is_full
from lab_pipeline.runs.tags import WINDOW_PARTITION_TAG, asked_fields, search_tags
from lab_pipeline.settings import Settings, load_settings

NO_RETRY = {"dagster/max_retries": "0"}
"""Nobody waits any more for a run that ended with its terminal."""


@dataclass(frozen=True)
class FinishedRun:
    """How a run ended.

    Attributes:
        run_id: Dagster's run id.
        error: why it failed, one line; none if it succeeded.
    """

    run_id: str
    error: str | None


@contextmanager
def alive(settings: Settings, instance: dg.DagsterInstance) -> Iterator[dict[str, str]]:
    """Show by a lock, which dies with this process, that its run is alive; yields the tag that names the lock.

    The run can be canceled from the UI like any other. Runs whose process was killed are reported as failed here:
    there may be no daemon that does.

    Raises:
        LabError: if the disk is full: no run is recorded unless its end can be, too.
    """
    if is_full(settings.home):
        raise LabError(f"{full_disk(settings.home)}, then do it again")
    reconcile_dead(instance, settings)
    name = worker_locks.FOREGROUND + uuid.uuid4().hex
    with worker_locks.working(worker_locks.workers_dir(settings.dagster_home), name):
        yield {worker_locks.WORKER_TAG: name}


def execute_here(
    instance: dg.DagsterInstance,
    load_job: Callable[[], dg.JobDefinition],
    run_config: Mapping[str, object] | None = None,
    tags: Mapping[str, str] | None = None,
) -> FinishedRun:
    """Execute a job and wait for its end. An interrupt before the first op leaves the run canceled, not waiting.

    The run names the code location, as one that the UI launches does: so the UI lists it under its job, and repeats it.

    Args:
        instance: of the lab.
        load_job: returns the job; a function of a module, so that other processes find it.
        run_config: of the run.
        tags: of the run.
    """
    job = dg.reconstructable(load_job)
    definition = job.get_definition()
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), REPOSITORY)
    run_id, own = str(uuid.uuid4()), tags or {}
    found_by = search_tags(asked_fields(run_config, own), own.get(WINDOW_PARTITION_TAG))
    try:
        run = instance.create_run_for_job(
            definition,
            run_id=run_id,
            run_config=run_config,
            tags={**definition.run_tags, **found_by, **NO_RETRY, **own},
            remote_job_origin=RemoteJobOrigin(location, definition.name),
            job_code_origin=job.get_python_origin(),
        )
        with execute_run(job, run, instance) as result:
            if not result.success:
                reconcile_dead(instance, load_settings(), {run_id: "ended"})
            return FinishedRun(run_id, None if result.success else failure_reason(instance, run_id))
    except (KeyboardInterrupt, DagsterExecutionInterruptedError):
        interrupted = instance.get_run_by_id(run_id)
        if interrupted is not None and not interrupted.is_finished:
            instance.report_run_canceled(interrupted, message="Interrupted before it was done.")
        reconcile_dead(instance, load_settings(), {run_id: "was interrupted"})
        raise KeyboardInterrupt from None
    finally:
        io_manager.discard(load_settings(), run_id)
