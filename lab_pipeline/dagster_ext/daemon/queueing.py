"""Dagster's daemon for the queue of runs, which looks at it as soon as something has happened there (`stirring`)."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import dagster as dg

from lab_pipeline.dagster_ext.daemon.internals import (
    DaemonIterator,
    IWorkspaceProcessContext,
    QueuedRunCoordinatorDaemon,
)
from lab_pipeline.dagster_ext.internals import serializable_error_info_from_exc_info
from lab_pipeline.dagster_ext.queue_signal import stirred_at

LOOK_SECONDS = 0.05
"""How often the word is listened for: a look at a file."""
SIGN_SECONDS = 0.5
"""How often Dagster's loop gets the chance to write its sign of life."""


class PromptQueueDaemon(QueuedRunCoordinatorDaemon):
    """Lets runs out of the queue when one has come or a place has become free, and at its interval in any case."""

    def __init__(self, instance: dg.DagsterInstance, interval_seconds: float) -> None:
        super().__init__(interval_seconds=interval_seconds)
        self._home = Path(instance.root_directory)

    def core_loop(
        self, workspace_process_context: IWorkspaceProcessContext[Any], shutdown_event: threading.Event
    ) -> DaemonIterator:
        """Look at the queue for ever."""
        while True:
            began, stirred = time.monotonic(), stirred_at(self._home)
            try:
                yield from self.run_iteration(workspace_process_context)
            except Exception:
                self._logger.exception("The queue could not be looked at:")
                yield serializable_error_info_from_exc_info(sys.exc_info())
                stirred = stirred_at(self._home)
            said = time.monotonic()
            while time.monotonic() - began < self.interval_seconds and stirred_at(self._home) == stirred:
                if shutdown_event.wait(LOOK_SECONDS):
                    break
                if time.monotonic() - said > SIGN_SECONDS:
                    said = time.monotonic()
                    yield None
            yield None
