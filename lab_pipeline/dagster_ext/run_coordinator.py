"""Dagster's run queue of the lab: runs get the tags that its limits look at before they wait."""

from pathlib import Path

import dagster as dg

from lab_pipeline.dagster_ext.internals import (
    MAX_RETRIES_TAG,
    RETRY_NUMBER_TAG,
    RETRY_STRATEGY_TAG,
    DagsterRunNotFoundError,
    QueuedRunCoordinator,
    ReexecutionStrategy,
    SubmitRunContext,
)
from lab_pipeline.dagster_ext.queue_signal import stir
from lab_pipeline.dagster_ext.run_admission import is_admitted
from lab_pipeline.dagster_ext.worker_locks import FOREGROUND, WORKER_TAG
from lab_pipeline.runs.tags import (
    BACKTEST_ASSETS,
    BACKTEST_JOBS,
    SWEEP_ASSETS,
    SWEEP_JOB,
    WALK_JOB,
    WINDOW_PARTITION_TAG,
    asked_fields,
    search_tags,
)


class LabRunCoordinator(QueuedRunCoordinator[dg.DagsterInstance]):
    """Queue runs as `QueuedRunCoordinator` does, tagged with what their configuration asks for, in pools with limits.

    A run that somebody repeats may be run again as often as any other if its process dies (`retry_tags`).

    Whoever launches (launchpad, GraphQL, command line, schedule, sensor), the run carries `lab/strategy`,
    `lab/timeframe` and, if it asks for one, `lab/strategy_version` while it waits, so that a limit per strategy holds
    for all. A pool has the default limit before its first run waits: Dagster's daemon gives it one only as it takes
    runs from the queue, and then takes all that wait for a new pool at once. In ``dagster.yaml``:

    .. code-block:: YAML

        run_coordinator:
          module: lab_pipeline.dagster_ext.run_coordinator
          class: LabRunCoordinator
    """

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Make a run ready for the queue, then queue it; one that is refused has failed."""
        run = context.dagster_run
        if not is_admitted(self._instance, run):
            return self._instance.get_run_by_id(run.run_id) or run
        make_ready(self._instance, run)
        queued = super().submit_run(context)
        stir(Path(self._instance.root_directory))
        return queued


def make_ready(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Give a run the tags that it carries while it waits, and its pools their limits."""
    tags = retry_tags(instance, run)
    if (simulates := is_backtest(run)) or is_sweep(run):
        window = run.tags.get(WINDOW_PARTITION_TAG) if simulates else None  # by it the nightly ones know what was run
        tags |= search_tags(asked_fields(run.run_config, run.tags), window)
        if RETRY_STRATEGY_TAG not in run.tags:  # as the job has it, which *Materialize* knows nothing of
            tags[RETRY_STRATEGY_TAG] = ReexecutionStrategy.ALL_STEPS.value
    if tags:
        instance.add_run_tags(run.run_id, tags)
    pools = run.run_op_concurrency.all_pools if run.run_op_concurrency else None
    if pools and instance.global_op_concurrency_default_limit:
        events = instance.event_log_storage
        for pool in sorted(pools - events.get_concurrency_keys()):
            events.initialize_concurrency_limit_to_default(pool)


def is_backtest(run: dg.DagsterRun) -> bool:
    """Return whether a run of any job simulates, rather than ingests, counts or cleans."""
    return run.job_name in BACKTEST_JOBS or any(key.path[0] == BACKTEST_ASSETS for key in run.asset_selection or ())


def is_sweep(run: dg.DagsterRun) -> bool:
    """Return whether a run of any job sweeps parameters."""
    return run.job_name in {SWEEP_JOB, WALK_JOB} or any(
        key.path[0] == SWEEP_ASSETS for key in run.asset_selection or ()
    )


def retry_tags(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, str]:
    """Return the tags by which a run that somebody repeats may be run again as often as if it were the first.

    Dagster counts all re-executions of one run against its limit, those that people asked for included.
    """
    if run.parent_run_id is None or RETRY_NUMBER_TAG in run.tags:  # it repeats nothing, or Dagster repeats it
        return {}
    try:
        group = instance.get_run_group(run.run_id)
    except DagsterRunNotFoundError:  # the first of them was deleted, and then Dagster repeats none
        return {}
    if group is None:
        return {}
    root_run_id, members = group
    tags = {member.run_id: member.tags for member in members}
    mine = run.tags.get(MAX_RETRIES_TAG)
    if mine not in {None, tags.get(run.parent_run_id, {}).get(MAX_RETRIES_TAG)}:  # chosen for this one
        return {}
    allowed = tags[root_run_id].get(MAX_RETRIES_TAG)
    if allowed is None or tags[root_run_id].get(WORKER_TAG, "").startswith(FOREGROUND):  # whose terminal is gone
        allowed = str(instance.run_retries_max_retries)
    if not allowed.isdecimal() or int(allowed) == 0:
        return {}
    return {MAX_RETRIES_TAG: str(int(allowed) + len(tags) - 1)}
