"""dagster-dask's executor, made to follow ops that are mapped over what another op yields."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster_dask.executor import DaskExecutor, get_dask_resource_requirements, query_on_dask_worker
from distributed import Client, Future, LocalCluster, wait

from lab_pipeline.dagster_ext.internals import (
    ActiveExecution,
    DagsterExecutionInterruptedError,
    ExecutionPlan,
    ExecutionStep,
    PlanOrchestrationContext,
    serializable_error_info_from_exc_info,
)

POLL_SECONDS = 0.5
"""After which an interrupt is noticed while nothing ends on the cluster."""
LOCAL = {"host": "127.0.0.1", "dashboard_address": None, "threads_per_worker": 1}
"""A cluster for one run: reached from this machine alone, without a dashboard, one op a process at a time."""


Submitted = Future[Sequence[dg.DagsterEvent]]


class MappingDaskExecutor(DaskExecutor):
    """Submit each step to Dask when it can run.

    dagster-dask's own submits all steps at the beginning, when it is not known yet which there will be: it neither
    maps nor skips. What runs on the workers, and its configuration, are dagster-dask's.
    """

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute the plan, yielding the events of its steps as they end."""
        with self._client() as client, ActiveExecution(execution_plan, retry_mode=self.retries) as active:
            running: dict[Submitted, ExecutionStep] = {}
            while not active.is_complete:
                for step in active.get_steps_to_execute():
                    running[_submit(client, plan_context, active, step)] = step
                yield from active.plan_events_iterator(plan_context)
                for future in _ended(running):
                    yield from _take(plan_context, active, running.pop(future), future)
                if active.check_for_interrupts():
                    client.cancel(list(running))
                    active.mark_interrupted()
                    raise DagsterExecutionInterruptedError

    @contextmanager
    def _client(self) -> Iterator[Client]:
        if self.cluster_type == "existing":
            with Client(self.cluster_configuration["address"]) as client:
                yield client
            return
        with LocalCluster(**LOCAL | self.cluster_configuration) as cluster, Client(cluster) as client:
            yield client


def _submit(
    client: Client, plan_context: PlanOrchestrationContext, active: ActiveExecution, step: ExecutionStep
) -> Submitted:
    return client.submit(
        query_on_dask_worker,
        [],  # what it depends on is done
        plan_context.reconstructable_job,
        plan_context.dagster_run,
        plan_context.run_config,
        [step.key],
        plan_context.instance.get_ref(),
        active.get_known_state(),
        key=f"{plan_context.run_id}.{step.key}",
        resources=get_dask_resource_requirements(step.tags),
        pure=False,
        retries=0,
    )


def _ended(running: dict[Submitted, ExecutionStep]) -> list[Submitted]:
    if not running:
        return []
    try:
        return list(wait(list(running), timeout=POLL_SECONDS, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _take(
    plan_context: PlanOrchestrationContext, active: ActiveExecution, step: ExecutionStep, future: Submitted
) -> Iterator[dg.DagsterEvent]:
    """Pass on what a step did on the cluster, or that it was lost there."""
    try:
        events = future.result()
    except Exception:  # noqa: BLE001 - whatever Dask raises when a worker dies; it becomes the failure of the step
        error: Any = serializable_error_info_from_exc_info(sys.exc_info())
        events = [
            plan_context.executor.log_failure_or_retry_event_after_error(
                plan_context.for_step(step), error, active.get_known_state()
            )
        ]
    for event in events:
        active.handle_event(event)
        yield event
    active.verify_complete(plan_context, step.key)
