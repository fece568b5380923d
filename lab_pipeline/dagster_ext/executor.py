"""Where the ops of a run are executed: in its process, in processes on this machine, or on a Dask cluster."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import dagster as dg

from lab_pipeline.dagster_ext.internals import (
    ExecutionPlan,
    ExecutorRequirement,
    InProcessExecutor,
    PlanOrchestrationContext,
    multiple_process_executor_requirements,
)
from lab_pipeline.domain.errors import LabError
from lab_pipeline.settings import load_settings
from lab_pipeline.storage.event_log_storage import BatchingEventLogStorage

IN_PROCESS = "in_process"
MULTIPROCESS = "multiprocess"
DASK = "dask"

KINDS = (IN_PROCESS, MULTIPROCESS, DASK)

MOST_PROCESSES = 64
"""Of a run: each is a process at once, whether it finds work or not."""
PRELOADED = ("lab_pipeline.defs.backtest.assets",)
"""What a fork server imports before it forks the processes of ops."""

NOTHING: dict[str, dg.Field] = {}
RETRIES = dg.Field(
    dg.Selector({"enabled": NOTHING, "disabled": NOTHING}),  # type: ignore[no-untyped-call]  # Dagster's, like the next
    default_value={"enabled": {}},
    description="Whether ops that ask for it are tried again.",
)
PROCESSES = f"1 to {MOST_PROCESSES}."

# Dagster's own schemas, and distributed's arguments, name modules and files to load, programs to start and addresses to
# go to. Whoever launches a run may say how many processes execute it, and of which kind.
CONFIG = {
    IN_PROCESS: dg.Field({"retries": RETRIES}, description="One op after the other, in the run's own process."),
    MULTIPROCESS: dg.Field(
        {
            "max_concurrent": dg.Field(
                dg.Noneable(int),
                default_value=None,
                description=f"Processes at once, {PROCESSES} By default as many as there are cores.",
            ),
            "start_method": dg.Field(
                dg.Selector({"spawn": NOTHING, "forkserver": NOTHING}),  # type: ignore[no-untyped-call]
                default_value={"spawn": {}},
                description="`forkserver` starts them sooner: they share what it has imported.",
            ),
            "retries": RETRIES,
        },
        description="Each op in a process of its own, on this machine.",
    ),
    DASK: dg.Field(
        {
            "cluster": dg.Field(
                dg.Selector(  # type: ignore[no-untyped-call]
                    {
                        "local": dg.Field(
                            {
                                "n_workers": dg.Field(
                                    dg.Noneable(int),
                                    default_value=None,
                                    description=f"Its processes, {PROCESSES} By default as many as there are cores.",
                                )
                            },
                            description="A cluster for this run alone, on this machine.",
                        ),
                        "existing": dg.Field(NOTHING, description="The cluster whose scheduler is LAB_DASK_ADDRESS."),
                    }
                ),
                default_value={"local": {}},
                description="Which cluster.",
            )
        },
        description="Each op on a Dask cluster.",
    ),
}


def _requirements(config: Mapping[str, Any]) -> list[ExecutorRequirement]:
    return [] if IN_PROCESS in config else list(multiple_process_executor_requirements())


@dg.executor(
    name="lab",
    config_schema=dg.Field(
        dg.Selector(CONFIG),  # type: ignore[no-untyped-call]
        default_value={IN_PROCESS: {}},
    ),
    requirements=_requirements,
)
def lab_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Execute the ops of a run as its configuration says, by default one after the other in the run's own process.

    .. code-block:: YAML

        execution:
          config:
            multiprocess: {max_concurrent: 4}        # or
            dask: {cluster: {local: {n_workers: 4}}} # or
            dask: {cluster: {existing: {}}}
    """
    ((kind, config),) = context.executor_config.items()
    if kind == DASK:
        return _dask_executor(config)  # type: ignore[arg-type]  # the schema says what it is
    if kind == IN_PROCESS:
        made = _made(dg.in_process_executor, context, config)
        return _InProcess(retries=made.retries, step_dependency_config=made.step_dependency_config)
    return _made(dg.multiprocess_executor, context, _multiprocess_config(config))  # type: ignore[arg-type]


class _InProcess(InProcessExecutor):
    """Executes op after op; nobody else writes to the run's log meanwhile, so that its events may come together."""

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute the ops, and yield what they do."""
        log = plan_context.instance.event_log_storage
        with log.deferring() if isinstance(log, BatchingEventLogStorage) else nullcontext():
            yield from super().execute(plan_context, execution_plan)


def _made(definition: dg.ExecutorDefinition, context: dg.InitExecutorContext, config: object) -> dg.Executor:
    made: dg.Executor = definition.executor_creation_fn(context._replace(executor_config=config))  # type: ignore[arg-type, misc]
    return made


def _multiprocess_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the configuration as Dagster's own executor reads it."""
    ((method, _),) = config["start_method"].items()
    return {
        "max_concurrent": _count("multiprocess.max_concurrent", config["max_concurrent"]),
        "start_method": {method: {"preload_modules": list(PRELOADED)} if method == "forkserver" else {}},
        "retries": config["retries"],
        "tag_concurrency_limits": [],
        "step_dependency_config": {"require_upstream_step_success": True},
    }


def _count(name: str, count: int | None) -> int | None:
    if count is not None and not 1 <= count <= MOST_PROCESSES:
        raise LabError(f"execution.config.{name} is {count}: give {PROCESSES[:-1]}")
    return count


def require_installed(kind: str) -> None:
    """Check that runs can be executed so here.

    Raises:
        LabError: if it takes Dask and there is none.
    """
    if kind == DASK and importlib.util.find_spec("dagster_dask") is None:
        raise LabError("Dask is not installed: pip install 'lab-pipeline[dask]', or execute in `multiprocess`")


def _dask_executor(config: Mapping[str, Any]) -> dg.Executor:
    require_installed(DASK)
    from lab_pipeline.dagster_ext.dask_executor import MappingDaskExecutor  # noqa: PLC0415 - an optional extra

    ((kind, cluster),) = config["cluster"].items()
    if kind == "existing":
        address = load_settings().dask_address
        if address is None:
            raise LabError("dask.cluster.existing needs LAB_DASK_ADDRESS, where the cluster's scheduler is")
        return MappingDaskExecutor(kind, {"address": address})  # type: ignore[no-untyped-call]  # dagster-dask's
    count = _count("dask.cluster.local.n_workers", cluster["n_workers"])
    return MappingDaskExecutor(kind, {} if count is None else {"n_workers": count})  # type: ignore[no-untyped-call]
