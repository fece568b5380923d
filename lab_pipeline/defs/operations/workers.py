"""Which run processes are alive, and how to ask one to stop: files that any process of the lab can look at.

A process that executes a run holds a lock on `<home>/workers/<name>.lock` for as long as it lives. The kernel drops the
lock with the process, whatever ended it, so a run whose lock is free has no process any more. A request to stop is a
file beside the lock, not a signal: it also reaches a process in another container.
"""

import fcntl
import multiprocessing
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path

import dagster as dg

WORKER_TAG = ".lab/worker"
"""The name of the lock of a run's process; hidden in the UI, as tags that begin with a dot are."""
LIFELINE = "LAB_LIFELINE"
"""Names the descriptor of a pipe that `lab up` holds the other end of: its end is the end of `lab up`."""
FOREGROUND = "foreground-"
"""Begins the names of processes that belong to somebody's terminal, not to the daemon."""
PARENT_WATCH = "parent-watch"
POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0
"""For which a process that was asked to stop may go on, in code that no signal interrupts, until it is killed."""

UNSETTLED = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
"""What a run is whose process has a lock: one in a terminal is recorded by the process that will execute it."""


def worker_of(run: dg.DagsterRun) -> str | None:
    """Return the name of the process that executes a run, or did; None if it has none yet, or one of others.

    Dagster gives a repetition all tags of what it repeats: until it is launched, its tag names the process of that.
    """
    name = run.tags.get(WORKER_TAG)
    return name if run.parent_run_id is None or name == run.run_id else None


def workers_dir(dagster_home: Path) -> Path:
    """Return the directory of the locks."""
    return dagster_home / "workers"


@contextmanager
def working(directory: Path, name: str, *, left_after: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Hold the lock of this process' run, and end this process when it is asked to.

    Asked by `request_stop`, by the end of the `lab up` that started it, or by SIGTERM, it gets SIGTERM, which Dagster
    makes an interrupt of the op; if it is still there after GRACE_SECONDS, it is killed. Call it in the main thread.

    Args:
        directory: of the locks.
        name: of this process.
        left_after: errors after which the file of the lock stays, as if the process had been killed, so that
            `clear_dead` finds what it could not bring to an end.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = _lock_path(directory, name)
    lock = _take(path)
    watch = _Watch(_request_path(directory, name))
    is_left = False
    try:
        yield
    except left_after:
        is_left = True
        raise
    finally:
        watch.end()
        if not is_left:
            _request_path(directory, name).unlink(missing_ok=True)
            path.unlink()
        os.close(lock)


def end_with_parent() -> None:
    """See to it that this process, if it executes an op for another, ends when that one is killed."""
    parent = multiprocessing.parent_process()
    if parent is None or any(thread.name == PARENT_WATCH for thread in threading.enumerate()):
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)  # nothing waits for the op any more, and nothing of it may become visible

    threading.Thread(target=watch, name=PARENT_WATCH, daemon=True).start()


def is_alive(directory: Path, name: str) -> bool:
    """Tell whether the process of that name lives."""
    try:
        lock = os.open(_lock_path(directory, name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def living(directory: Path) -> list[str]:
    """Return the names of all processes that live."""
    return [path.stem for path in sorted(directory.glob("*.lock")) if is_alive(directory, path.stem)]


def request_stop(directory: Path, name: str) -> bool:
    """Ask a process to stop; tells whether there is one to ask."""
    if not is_alive(directory, name):
        return False
    _request_path(directory, name).touch()
    return True


def clear_dead(directory: Path, settle_runs_of: Callable[[str], bool]) -> None:
    """Remove what processes that are gone left here.

    Args:
        directory: of the locks.
        settle_runs_of: is called with the name of each such process while nobody else can; what it left stays here,
            to be found again, if this does not return True.
    """
    for path in sorted(directory.glob("*.lock")):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # it ended just now
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # it lives
        else:
            if settle_runs_of(path.stem):
                _request_path(directory, path.stem).unlink(missing_ok=True)
                path.unlink(missing_ok=True)
        finally:
            os.close(lock)


def leave_dead(directory: Path, name: str) -> None:
    """Leave what a process of that name would leave if it were killed now, for `clear_dead` to find."""
    directory.mkdir(parents=True, exist_ok=True)
    _lock_path(directory, name).touch()


def was_canceled(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Tell whether a run was canceled at any time, even if the queue, which looked before, has let it out since."""
    return bool(
        instance.all_logs(run_id, of_type={dg.DagsterEventType.RUN_CANCELING, dg.DagsterEventType.RUN_CANCELED})
    )


def settle(instance: dg.DagsterInstance, run_id: str, reason: str) -> None:
    """Report a run that was under way, and whose process is gone, as canceled if that was wanted, else as failed."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status not in UNSETTLED:
        return
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message=reason)
    else:
        instance.report_run_failed(run, message=reason)


class _Watch:
    """Turns a request into SIGTERM, and SIGTERM that does nothing into SIGKILL."""

    def __init__(self, request: Path) -> None:
        self._request = request
        self._ended = threading.Event()
        # Python writes a byte here as soon as a signal arrives, even while the main thread is in native code.
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.settimeout(0)
        self._before = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="stop-requests", daemon=True)
        self._thread.start()

    def end(self) -> None:
        signal.set_wakeup_fd(self._before)
        self._ended.set()
        self._wake.send(b"\0")  # a signal number that there is not: the thread looks up at once
        self._thread.join()
        self._woken.close()
        self._wake.close()

    def _watch(self) -> None:
        lifeline = os.environ.get(LIFELINE)
        sources = [self._woken.fileno(), *([int(lifeline)] if lifeline else [])]
        while not self._ended.is_set():
            readable, _, _ = select.select(sources, [], [], POLL_SECONDS)
            signals = self._woken.recv(64) if self._woken.fileno() in readable else b""
            if signal.SIGTERM in signals or signal.SIGINT in signals:
                self._insist()
            elif len(readable) > bool(signals) or self._request.exists():
                os.kill(os.getpid(), signal.SIGTERM)
                self._insist()

    def _insist(self) -> None:
        if not self._ended.wait(GRACE_SECONDS):
            os.kill(os.getpid(), signal.SIGKILL)


def _take(path: Path) -> int:
    """Lock a file of that name, anew if somebody who saw it free removed it meanwhile."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            with suppress(OSError):  # for people; nothing reads it, and a full disk is no reason to have no lock
                os.write(lock, f"process {os.getpid()} since {time.time():.0f}\n".encode())
            return lock
        os.close(lock)


def _lock_path(directory: Path, name: str) -> Path:
    return directory / f"{name}.lock"


def _request_path(directory: Path, name: str) -> Path:
    return directory / f"{name}.stop"
