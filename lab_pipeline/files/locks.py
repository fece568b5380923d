"""Locks between processes on files, kept by the kernel: none outlives its holder, whatever kills it."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

POLL_SECONDS = 0.02


def lock(file: int | IO[str] | IO[bytes], *, shared: bool = False) -> None:
    """Wait until an open file is locked.

    Args:
        file: the file or its descriptor; closing it, in all processes that have inherited it, unlocks it.
        shared: whether others may have it shared at the same time; otherwise nobody else may have it.
    """
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_lock(file: int | IO[str] | IO[bytes], *, shared: bool = False) -> bool:
    """Lock an open file if that is possible at once, and return whether it was."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_within(file: int | IO[str] | IO[bytes], timeout_seconds: float, *, shared: bool = False) -> None:
    """Lock an open file, waiting no longer than `timeout_seconds`.

    Raises:
        TimeoutError: if another process has it all the time.
    """
    deadline = time.monotonic() + timeout_seconds
    while not try_lock(file, shared=shared):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{getattr(file, 'name', 'the lock')} is held by another process")
        time.sleep(POLL_SECONDS)


def unlock(file: int | IO[str] | IO[bytes]) -> None:
    """Unlock an open file."""
    fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def locked(path: Path, *, shared: bool = False, timeout_seconds: float | None = None) -> Iterator[None]:
    """Hold the lock of a file, which is made if it is not there.

    Raises:
        TimeoutError: if another process has it for longer than `timeout_seconds`; by default, it is waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if timeout_seconds is None:
            lock(descriptor, shared=shared)
        else:
            lock_within(descriptor, timeout_seconds, shared=shared)
        yield
    finally:
        os.close(descriptor)


def has_writer(path: Path) -> bool:
    """Return whether somebody has a file open to write it, as far as the system tells.

    The kernel grants a read lease only while nobody has.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # gone, or not to be read: whoever takes it sees that, and says so
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # who opens it now does not end this process
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # somebody else's file, or a file system without leases: that it rests must do
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(descriptor)
