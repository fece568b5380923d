"""A signal to the daemon to look at the queue of runs ahead of time: a run was queued, or a place is free.

The signal is the time of a file, which is cheap to set and to look at. Where it is not seen, or cannot be
given, the daemon looks at the queue all the same, as often as ``dequeue_interval_seconds`` says.
"""

import logging
from pathlib import Path

STIRRED = "queue.stirred"
logger = logging.getLogger(__name__)


def stir(dagster_home: Path) -> None:
    """Say that the queue is worth a look."""
    try:
        (dagster_home / STIRRED).touch()
    except OSError as error:  # such as on a full disk
        logger.debug("the queue is looked at in its own time: %s", error)


def stirred_at(dagster_home: Path) -> int:
    """Return when that was last said, nanoseconds since 1970; 0 if it never was."""
    try:
        return (dagster_home / STIRRED).stat().st_mtime_ns
    except FileNotFoundError:
        return 0
