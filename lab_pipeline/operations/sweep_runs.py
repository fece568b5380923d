"""The runs of Dagster that are sweeps."""

import dagster as dg

from lab_pipeline.runs.artifacts import UnknownRunError
from lab_pipeline.runs.tags import SWEEP_JOB


def find_sweep_run(instance: dg.DagsterInstance, start: str) -> dg.DagsterRun:
    """Return the run of a sweep whose id is, or starts with, `start`.

    Raises:
        UnknownRunError: if there is none, or more than one.
    """
    runs = instance.get_runs(dg.RunsFilter(job_name=SWEEP_JOB))
    found = [run for run in runs if run.run_id.startswith(start)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownRunError(f"'{start}' is the start of {len(found)} sweeps: write more of it")
    raise UnknownRunError(f"no run of Dagster is a sweep '{start}': `lab sweep run --queue` queues one")
