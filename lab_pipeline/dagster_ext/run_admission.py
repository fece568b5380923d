"""Which runs the queue refuses: those whose tags would decide what the person launching them may not."""

import math
import re

import dagster as dg

from lab_pipeline.dagster_ext.internals import (
    MAX_RETRIES_TAG,
    MAX_RUNTIME_SECONDS_TAG,
    PRIORITY_TAG,
    JobFailureData,
    RunFailureReason,
)
from lab_pipeline.dagster_ext.worker_locks import WORKER_TAG, worker_of

LAUNCHERS = ("dagster-", "ecs/")
"""Begin the tags by which launchers and executors of other packages are configured: `dagster-k8s/config` names the
image, the command, the variables and the volumes of a run's pod."""
WHOLE = re.compile("-?[0-9]{1,9}")
MOST_RETRIES = 100


def is_admitted(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a run may wait in the queue; one that may not has failed, saying why, and is not repeated.

    No error is raised: Dagster would give up the runs that are launched with this one, too.
    """
    reason = refusal(run)
    if reason is None:
        return True
    instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
    never = JobFailureData(error=None, failure_reason=RunFailureReason.STEP_FAILURE)
    instance.report_run_failed(run, f"Refused by the queue: {reason}.", never)
    return False


def refusal(run: dg.DagsterRun) -> str | None:
    """Say why a run may not be queued; None if it may."""
    for tag in sorted(run.tags):
        if tag.startswith(LAUNCHERS):
            return f"the tag {tag[:60]!r} would say how it is started, which only the deployment may: leave it out"
    if worker_of(run) is not None:
        return f"the tag {WORKER_TAG!r} names the process of a run and is set by the lab alone: leave it out"
    priority, retries = run.tags.get(PRIORITY_TAG), run.tags.get(MAX_RETRIES_TAG)
    if priority is not None and not WHOLE.fullmatch(priority):
        return f"the tag {PRIORITY_TAG!r} is {priority[:40]!r}: give a whole number of at most 9 digits"
    if retries is not None and not (WHOLE.fullmatch(retries) and 0 <= int(retries) <= MOST_RETRIES):
        return f"the tag {MAX_RETRIES_TAG!r} is {retries[:40]!r}: give a whole number from 0 to {MOST_RETRIES}"
    seconds = run.tags.get(MAX_RUNTIME_SECONDS_TAG)
    if seconds is not None and not _is_duration(seconds):
        return f"the tag {MAX_RUNTIME_SECONDS_TAG!r} is {seconds[:40]!r}: give a number of seconds above 0"
    return None


def _is_duration(text: str) -> bool:
    try:
        seconds = float(text)
    except ValueError:
        return False
    return math.isfinite(seconds) and seconds > 0
