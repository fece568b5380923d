"""Dagster's compute logs, what ops print, kept by the run's own process."""

import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Self

from dagster import Field, StringSource

from lab_pipeline.storage.internals import (
    IO_TYPE_EXTENSION,
    CapturedLogContext,
    ComputeIOType,
    ConfigurableClassData,
    LocalComputeLogManager,
    UserConfigSchema,
    ensure_file,
    redirect_to_file,
    touch_file,
)
from lab_pipeline.storage.run_storage import under_dagster_home

LOGS_DIRECTORY = "storage"
"""Under DAGSTER_HOME, where Dagster keeps compute logs."""
LOOK_SECONDS = 0.1
LAST_WORDS_SECONDS = 5.0
"""How long the end of the ops waits for the reader of their output, such as a paused terminal."""


class OwnComputeLogManager(LocalComputeLogManager):
    """Keep what ops print where and as Dagster does, and show it where it would have been printed.

    Dagster starts four processes a run to show it, two of them a Python that only watches the other two; that takes
    longer than a small backtest. Here a thread copies it. Put this into the ``dagster.yaml`` of the instance:

    .. code-block:: YAML

        compute_logs:
          module: lab_pipeline.storage.compute_logs
          class: OwnComputeLogManager

    ``base_dir`` is absolute, or relative to ``DAGSTER_HOME``.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Describe the ``config`` block of dagster.yaml."""
        return {"base_dir": Field(StringSource, is_required=False, default_value=LOGS_DIRECTORY)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Build the manager from a validated ``config`` block."""
        return cls(str(under_dagster_home(config_value["base_dir"])), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Write what is printed within to files."""
        streams = {ComputeIOType.STDOUT: sys.stdout, ComputeIOType.STDERR: sys.stderr}
        with ExitStack() as stack:
            for kind, stream in streams.items():
                path = self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind])
                ensure_file(path)
                stack.enter_context(_shown(Path(path), stream))
                stack.enter_context(redirect_to_file(stream, path))
            yield CapturedLogContext(log_key)
        touch_file(self.complete_artifact_path(log_key))  # type: ignore[no-untyped-call]  # Dagster's


@contextmanager
def _shown(path: Path, stream: IO[str]) -> Iterator[None]:
    """Copy what a file grows by to where a stream leads now, by which time it may lead to the file."""
    try:
        place = os.dup(stream.fileno())
    except (AttributeError, OSError, ValueError):  # it leads nowhere that a process could write to
        yield
        return
    with path.open("rb") as file, os.fdopen(place, "wb") as shown:
        file.seek(0, os.SEEK_END)
        ended = threading.Event()
        copying = threading.Thread(target=_copy, args=(file, shown, ended), name="compute-logs", daemon=True)
        copying.start()
        try:
            yield
        finally:
            ended.set()
            copying.join(LAST_WORDS_SECONDS)


def _copy(file: BinaryIO, shown: BinaryIO, ended: threading.Event) -> None:
    with suppress(OSError):  # nobody reads there any more: the file has it all
        is_last = False
        while not is_last:
            is_last = ended.wait(LOOK_SECONDS)
            shutil.copyfileobj(file, shown)
            shown.flush()
