"""Dagster's run queue of the lab: runs get the tags that its limits look at before they wait."""

from typing import Any

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

BACKTEST = "backtest"
STRATEGY_TAG = "lab/strategy"
TIMEFRAME_TAG = "lab/timeframe"


class LabRunCoordinator(QueuedRunCoordinator[dg.DagsterInstance]):
    """Queue runs as `QueuedRunCoordinator` does, tagged with what their configuration asks for, in pools with limits.

    Whoever launches (launchpad, GraphQL, command line, schedule, sensor), the run carries `lab/strategy` and
    `lab/timeframe` while it waits, so that a limit per strategy holds for all. A pool has the default limit before its
    first run waits: Dagster's daemon gives it one only as it takes runs from the queue, and then takes all that wait
    for a new pool at once. In ``dagster.yaml``:

    .. code-block:: YAML

        run_coordinator:
          module: lab_pipeline.defs.operations.queue
          class: LabRunCoordinator
    """

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Tag a run and see to it that its pools have limits, then queue it."""
        run = context.dagster_run
        tags = queue_tags(run.job_name, run.run_config)
        if tags:
            self._instance.add_run_tags(run.run_id, tags)
        self._limit_pools(run)
        return super().submit_run(context)

    def _limit_pools(self, run: dg.DagsterRun) -> None:
        pools = run.run_op_concurrency.all_pools if run.run_op_concurrency else None
        if not pools or not self._instance.global_op_concurrency_default_limit:
            return
        events = self._instance.event_log_storage
        for pool in sorted(pools - events.get_concurrency_keys()):
            events.initialize_concurrency_limit_to_default(pool)


def queue_tags(job_name: str, run_config: object) -> dict[str, str]:
    """Return the tags of a backtest that its configuration, as it was typed, tells; none where it is unusable."""
    asked: Any = run_config
    for key in ("ops", "run", "config") if job_name == BACKTEST else ():
        asked = asked.get(key) if isinstance(asked, dict) else None
    if job_name != BACKTEST or not isinstance(asked, dict):
        return {}
    wanted = {STRATEGY_TAG: asked.get("strategy"), TIMEFRAME_TAG: asked.get("timeframe")}
    return {tag: value for tag, value in wanted.items() if isinstance(value, str) and value}
