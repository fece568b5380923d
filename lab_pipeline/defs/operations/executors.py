"""Where the ops of a run are executed: in its process, in processes on this machine, or on a Dask cluster."""

import importlib.util
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import ExecutorRequirement, multiple_process_executor_requirements

from lab_pipeline.domain.errors import LabError

IN_PROCESS = "in_process"
MULTIPROCESS = "multiprocess"
DASK = "dask"

KINDS = (IN_PROCESS, MULTIPROCESS, DASK)

DASK_CONFIG = dg.Field(
    dg.Selector(  # type: ignore[no-untyped-call]  # Dagster's, like the next ones
        {
            "local": dg.Field(
                dg.Permissive({"n_workers": dg.Field(int, is_required=False)}),  # type: ignore[no-untyped-call]
                description="A cluster for this run alone, on this machine: arguments of distributed.LocalCluster.",
            ),
            "existing": dg.Field(
                {"address": dg.StringSource},
                description="The scheduler of a cluster whose workers have lab_pipeline and share LAB_HOME.",
            ),
        }
    ),
    default_value={"local": {}},
    description="Which cluster.",
)


class DaskMissingError(LabError):
    """The run asks for Dask, which is not installed."""


def _requirements(config: Mapping[str, Any]) -> list[ExecutorRequirement]:
    return [] if IN_PROCESS in config else list(multiple_process_executor_requirements())


@dg.executor(
    name="lab",
    config_schema=dg.Field(
        dg.Selector(  # type: ignore[no-untyped-call]
            {
                IN_PROCESS: dg.in_process_executor.config_schema.as_field(),
                MULTIPROCESS: dg.multiprocess_executor.config_schema.as_field(),
                DASK: dg.Field({"cluster": DASK_CONFIG}),
            }
        ),
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
            dask: {cluster: {existing: {address: "tcp://scheduler:8786"}}}
    """
    ((kind, config),) = context.executor_config.items()
    if kind == DASK:
        return _dask_executor(config)  # type: ignore[arg-type]  # the schema says what it is
    plain = dg.in_process_executor if kind == IN_PROCESS else dg.multiprocess_executor
    made: dg.Executor = plain.executor_creation_fn(context._replace(executor_config=config))  # type: ignore[arg-type, misc]
    return made


def require_installed(kind: str) -> None:
    """Check that runs can be executed so here.

    Raises:
        DaskMissingError: if it takes Dask and there is none.
    """
    if kind == DASK and importlib.util.find_spec("dagster_dask") is None:
        raise DaskMissingError("Dask is not installed: pip install 'lab-pipeline[dask]', or execute in `multiprocess`")


def _dask_executor(config: Mapping[str, Any]) -> dg.Executor:
    require_installed(DASK)
    from lab_pipeline.execution.dask import MappingDaskExecutor  # noqa: PLC0415 - an optional extra

    ((kind, cluster),) = config["cluster"].items()
    return MappingDaskExecutor(kind, cluster)  # type: ignore[no-untyped-call]  # dagster-dask's
