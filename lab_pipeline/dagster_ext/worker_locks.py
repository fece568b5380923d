"""Which run processes are alive, and how to ask one to stop: files that any process of the lab can look at.

A process that executes a run holds a lock on `<home>/workers/<name>.lock` for as long as it lives. The kernel drops the
lock with the process, whatever ended it, so a run whose lock is free has no process any more. The run launcher takes
the lock before it starts the process, which inherits it: one that is slow to come up is known to live, too. A request
to stop is a file beside the lock, not a signal: it also reaches a process in another container.
"""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path

import dagster as dg

from lab_pipeline.files import locks

WORKER_TAG = ".dagster/lab_worker"
"""The name of the lock of a run's process; Dagster shows no tag that begins so."""
PARENT_PIPE = "LAB_PARENT_PIPE"
"""Names the descriptor of a pipe that `lab up` holds the other end of: its end is the end of `lab up`."""
FOREGROUND = "foreground-"
"""Begins the names of processes that belong to somebody's terminal, not to the daemon."""
ENDED = "has ended"
"""What the lock of a process says that has left in order, as long as its file is there."""
PARENT_WATCH = "parent-watch"
POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0
"""For which a process that was asked to stop may go on, in code that no signal interrupts, until it is killed."""


def worker_of(run: dg.DagsterRun) -> str | None:
    """Return the name of the process that executes a run, or did; None if it has none yet, or one of others.

    Dagster copies all tags to a re-execution: until it is launched, its tag names the process of the run before.
    """
    name = run.tags.get(WORKER_TAG)
    return name if run.parent_run_id is None or name == run.run_id else None


def workers_dir(dagster_home: Path) -> Path:
    """Return the directory of the locks."""
    return dagster_home / "workers"


@contextmanager
def working(directory: Path, name: str, *, inherited: int | None = None) -> Iterator[None]:
    """Hold the lock of this process' run, and end this process when it is asked to.

    Asked by `request_stop`, by the end of the `lab up` that started it, or by SIGTERM, it gets SIGTERM, which Dagster
    makes an interrupt of the op; if it is still there after GRACE_SECONDS, it is killed. Call it in the main thread.

    Args:
        directory: of the locks.
        name: of this process.
        inherited: the lock, if whoever started this process took it. It is kept until the very end of the process, and
            its file is left to `clear_dead`, which also finds what the process could not bring to an end.
    """
    lock = take(directory, name) if inherited is None else inherited
    os.set_inheritable(lock, False)  # noqa: FBT003 - it takes no keyword; the processes of ops have no part in it
    watch = _Watch(_request_path(directory, name))
    try:
        yield
        sign(lock, os.getpid(), ENDED)
    finally:
        watch.end()
        if inherited is None:
            give_up(directory, name, lock)


def take(directory: Path, name: str) -> int:
    """Take the lock of a process, for this one or one that will inherit it, and return its descriptor."""
    directory.mkdir(parents=True, exist_ok=True)
    path = _lock_path(directory, name)
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        locks.lock(lock)
        if os.fstat(lock).st_nlink:
            sign(lock, os.getpid())
            return lock
        os.close(lock)  # somebody who saw it free removed it meanwhile


def sign(lock: int, pid: int, state: str = "works") -> None:
    """Write into a lock which process has it; on a full disk that stays unknown, which is no reason to have no lock."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {pid} {state}\n".encode(), 0)


def give_up(directory: Path, name: str, lock: int) -> None:
    """Give up a lock whose process is done, or never began."""
    _request_path(directory, name).unlink(missing_ok=True)
    _lock_path(directory, name).unlink()
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
    """Return whether the process of that name lives."""
    try:
        lock = os.open(_lock_path(directory, name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not locks.try_lock(lock, shared=True)
    finally:
        os.close(lock)


def living(directory: Path) -> list[str]:
    """Return the names of all processes that live."""
    return [path.stem for path in sorted(directory.glob("*.lock")) if is_alive(directory, path.stem)]


def killed(directory: Path) -> list[str]:
    """Return the names of the processes that ended otherwise than in order, and left something to `clear_dead`."""
    found = []
    for path in sorted(directory.glob("*.lock")):
        with suppress(FileNotFoundError):  # somebody cleared it just now
            if not is_alive(directory, path.stem) and ENDED not in path.read_text():
                found.append(path.stem)
    return found


def request_stop(directory: Path, name: str) -> bool:
    """Ask a process to stop; tells whether there is one to ask."""
    if not is_alive(directory, name):
        return False
    request = _request_path(directory, name)
    if not request.exists():  # else it was asked before, and the time of that counts
        request.touch()
    return True


def stop_requested_at(directory: Path, name: str) -> datetime | None:
    """Return when a process was asked to stop, if it was."""
    try:
        return datetime.fromtimestamp(_request_path(directory, name).stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def kill(directory: Path, name: str) -> None:
    """Kill a process that lives, and those of its ops; one in another container or on another machine is out of reach.

    The number in its lock may mean another process here, or by now: its command tells.
    """
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - seldom needed

    with suppress(OSError, IndexError, ValueError, psutil.Error):
        pid = int(_lock_path(directory, name).read_text().split()[1])
        if name in " ".join(psutil.Process(pid).cmdline()) and is_alive(directory, name):
            os.killpg(pid, signal.SIGKILL)


def clear_dead(directory: Path, reconcile: Callable[[str], bool]) -> None:
    """Remove what processes that are gone left here.

    Args:
        directory: of the locks.
        reconcile: is called with the name of each such process while nobody else can; what it left stays here,
            to be found again, if this does not return True.
    """
    for path in sorted(directory.glob("*.lock")):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # it ended just now
        try:
            if locks.try_lock(lock) and reconcile(path.stem):  # if it is taken, its process lives
                _request_path(directory, path.stem).unlink(missing_ok=True)
                path.unlink(missing_ok=True)
        finally:
            os.close(lock)


def leave_dead(directory: Path, name: str) -> None:
    """Leave what a process of that name would leave if it were killed now, for `clear_dead` to find."""
    directory.mkdir(parents=True, exist_ok=True)
    _lock_path(directory, name).touch()


def was_canceled(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether a run was canceled at any time, even if the queue, which looked before, has let it out since."""
    return bool(
        instance.all_logs(run_id, of_type={dg.DagsterEventType.RUN_CANCELING, dg.DagsterEventType.RUN_CANCELED})
    )


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
        parent_pipe = os.environ.get(PARENT_PIPE)
        sources = [self._woken.fileno(), *([int(parent_pipe)] if parent_pipe else [])]
        while not self._ended.is_set():
            readable = wait(sources, POLL_SECONDS)  # not `select`, which knows no descriptor beyond 1023
            signals = self._woken.recv(64) if self._woken.fileno() in readable else b""
            if signal.SIGTERM in signals or signal.SIGINT in signals:
                self._insist()
            elif len(readable) > bool(signals) or self._request.exists():
                os.kill(os.getpid(), signal.SIGTERM)
                self._insist()

    def _insist(self) -> None:
        if not self._ended.wait(GRACE_SECONDS):
            os.kill(os.getpid(), signal.SIGKILL)


def _lock_path(directory: Path, name: str) -> Path:
    return directory / f"{name}.lock"


def _request_path(directory: Path, name: str) -> Path:
    return directory / f"{name}.stop"
