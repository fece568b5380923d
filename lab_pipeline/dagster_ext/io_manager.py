"""How values travel from op to op: in memory, or by files that other processes see."""

import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from lab_pipeline.dagster_ext.internals import ExecutorRequirement, StepExecutionContext
from lab_pipeline.dagster_ext.worker_locks import end_with_parent
from lab_pipeline.files.atomic import Sync, whole_file
from lab_pipeline.files.bucket import Bucket, BucketError
from lab_pipeline.settings import Settings, load_settings

SCRATCH = "scratch"
OBJECTS = ".scratch"
"""What the processes of runs share, in the bucket of artifacts: a directory each."""

logger = logging.getLogger(__name__)


def crosses_processes(step: StepExecutionContext) -> bool:
    """Return whether the executor of a step's run, whichever it is, executes ops in processes of their own."""
    config = step.resolved_run_config.execution.execution_engine_config
    return ExecutorRequirement.PERSISTENT_OUTPUTS in step.job_def.executor_def.get_requirements(config)


def run_directory(settings: Settings, run_id: str) -> Path:
    """Return where a run keeps what its processes share; it is not there until it is needed."""
    return settings.scratch_dir / run_id


def has_scratch(settings: Settings, run_id: str) -> bool:
    """Return whether there is something that the processes of a run share.

    Raises:
        BucketError: if values go through a bucket, and that does not answer.
    """
    if run_directory(settings, run_id).exists():
        return True
    bucket = _bucket(settings)
    return bucket is not None and next(bucket.objects(f"{OBJECTS}/{run_id}"), None) is not None


def discard(settings: Settings, run_id: str) -> None:
    """Remove what the processes of a run shared; it has ended, or ends. What stays is found by `sweep`."""
    shutil.rmtree(run_directory(settings, run_id), ignore_errors=True)
    if bucket := _bucket(settings):
        try:
            bucket.delete(one.key for one in bucket.objects(f"{OBJECTS}/{run_id}"))
        except BucketError as error:
            logger.warning("what the ops of run %s shared is removed later: %s", run_id, error)


def sweep(settings: Settings, instance: dg.DagsterInstance) -> None:
    """Remove what runs left whose end nobody saw, such as those that went down with the machine.

    Raises:
        BucketError: as of `has_scratch`.
    """
    names = {path.name for path in settings.scratch_dir.iterdir()} if settings.scratch_dir.is_dir() else set[str]()
    if bucket := _bucket(settings):
        names.update(bucket.directories(OBJECTS))
    for name in names:
        run = instance.get_run_by_id(name)
        if run is None or run.is_finished:
            discard(settings, name)


def _bucket(settings: Settings) -> Bucket | None:
    """Return where values are kept that ops on other machines read, too."""
    return None if settings.artifacts is None else Bucket(settings.artifacts)


class LabIOManager(dg.IOManager):
    """Keeps values in memory while all ops of a run share it, else in files or objects of the run's own.

    These are pickles: they are read by the same code that wrote them, and gone with the run.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._values: dict[tuple[str, ...], Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:  # noqa: ANN401 - as the base class
        """Keep the value of an output."""
        identifier = tuple(context.get_identifier())
        if not crosses_processes(context.step_context):
            self._values[identifier] = obj
            return
        settings = self._settings()
        if bucket := _bucket(settings):
            bucket.write(_key(identifier), pickle.dumps(obj, protocol=pickle.HIGHEST_PROTOCOL))
            return
        path = _path(settings, identifier)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, sync=Sync.NOTHING) as file:  # a run does not go on after a power cut
            pickle.dump(obj, file, protocol=pickle.HIGHEST_PROTOCOL)

    def load_input(self, context: dg.InputContext) -> Any:  # noqa: ANN401 - as the base class
        """Return the value of the output that an input is connected to."""
        identifier = tuple(context.get_identifier())
        try:
            if not crosses_processes(context.step_context):
                return self._values[identifier]
            return pickle.loads(self._read(identifier))  # noqa: S301 - written by an op of the same run
        except (KeyError, FileNotFoundError):
            run_id, step, *_ = identifier
            gone = (
                f"what `{step}` made went with run {run_id}: re-execute all steps of it, not just from the failure on"
            )
            raise dg.Failure(gone, allow_retries=False) from None

    def _read(self, identifier: tuple[str, ...]) -> bytes:
        settings = self._settings()
        bucket = _bucket(settings)
        if bucket is None:
            return _path(settings, identifier).read_bytes()
        key = _key(identifier)
        found = bucket.look(key)
        if found is None:
            raise FileNotFoundError(key)
        return b"".join(bucket.pieces(key, found.size))


def _path(settings: Settings, identifier: tuple[str, ...]) -> Path:
    run_id, *names = identifier
    return run_directory(settings, run_id).joinpath(*names)


def _key(identifier: tuple[str, ...]) -> str:
    return "/".join((OBJECTS, *identifier))


@dg.io_manager(
    config_schema={}, description="Values between ops: in memory, or in files where ops have processes of their own."
)
def lab_io_manager(_context: dg.InitResourceContext) -> LabIOManager:
    """Build the manager for one process of a run: the run's own, or that of an op."""
    end_with_parent()
    return LabIOManager(load_settings)
