"""The process of one run: `python -m lab_pipeline.dagster_ext.run_worker RUN_ID LOCK`, started by the run launcher."""

import os
import sys
from pathlib import Path

import dagster as dg

from lab_pipeline.dagster_ext import io_manager, worker_locks
from lab_pipeline.dagster_ext.internals import (
    DagsterExecutionInterruptedError,
    capture_interrupts,
    core_execute_run,
    recon_job_from_origin,
)
from lab_pipeline.dagster_ext.reconcile import reconcile_dead
from lab_pipeline.settings import load_settings

NICENESS = 5
"""By which a run gives way to the services that answer people."""


def execute(run_id: str, lock: int) -> None:
    """Execute a run of the instance in DAGSTER_HOME, from its first op to its final state.

    Args:
        run_id: of the run.
        lock: descriptor of the lock of this process, which the launcher took for it.
    """
    os.nice(NICENESS)
    interrupted = succeeded = False
    with (
        capture_interrupts(),  # Dagster's own order of things: signals are kept until an op can be interrupted by them
        dg.DagsterInstance.get() as instance,
        worker_locks.working(worker_locks.workers_dir(Path(instance.root_directory)), run_id, inherited=lock),
    ):
        run = instance.get_run_by_id(run_id)
        if run is None or run.job_code_origin is None:
            sys.exit(f"run {run_id} is unknown here, or does not say where its code is")
        if not run.is_finished and worker_locks.was_canceled(instance, run_id):
            instance.report_run_canceled(run, message="Canceled before it began.")
            return
        job = recon_job_from_origin(run.job_code_origin)
        try:
            for event in core_execute_run(job, run, instance, inject_env_vars=True):  # each has been recorded
                succeeded = event.event_type is dg.DagsterEventType.RUN_SUCCESS
        except (KeyboardInterrupt, DagsterExecutionInterruptedError):
            interrupted = True  # and has been recorded, too
        io_manager.discard(load_settings(), run_id)
        if not succeeded:
            reconcile_dead(instance, load_settings(), {run_id: "ended"})
    sys.exit(int(interrupted))


if __name__ == "__main__":
    execute(sys.argv[1], int(sys.argv[2]))
