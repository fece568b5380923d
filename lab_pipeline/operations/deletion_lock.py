"""The lock between deletions of runs (store by store, the record last) and whoever must not see half of one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab_pipeline.files.process_lock import ProcessLock
from lab_pipeline.settings import Settings

LOCKED = "deletions"
WAIT_SECONDS = 600.0
"""A backup keeps deletions waiting while it reads what has changed since it last looked: seconds, not minutes."""


@contextmanager
def deleting(settings: Settings) -> Iterator[None]:
    """Delete a run from one store after the other, beside others who delete.

    Raises:
        StorageTimeoutError: if a backup does not come to its end.
    """
    with _held(settings, exclusive=False):
        yield


@contextmanager
def nothing_deleted(settings: Settings) -> Iterator[None]:
    """Keep deletions waiting, when those that were begun are done.

    Raises:
        StorageTimeoutError: if one does not come to its end.
    """
    with _held(settings, exclusive=True):
        yield


@contextmanager
def _held(settings: Settings, *, exclusive: bool) -> Iterator[None]:
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(settings.dagster_home / LOCKED)
    lock.acquire(exclusive=exclusive, deadline=time.monotonic() + WAIT_SECONDS)
    try:
        yield
    finally:
        lock.release()
        lock.forget()
