"""A readers-writer lock between processes, kept by the kernel: it cannot outlive its holder."""

import contextlib
import errno
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from lab_pipeline.files.errors import StorageTimeoutError
from lab_pipeline.files.locks import lock, try_lock, unlock


class ProcessLock:
    """Let either many processes read or one process write, without starving the writer.

    Two files are locked with ``flock``: ``<path>.lock`` is the lock itself, ``<path>.lock.gate`` a turnstile that
    whoever waits for the lock holds, so that a reader who comes after a waiting writer queues behind it. The gate also
    tells a holder that somebody waits (`wanted`). Neither may be deleted while in use. The lock has content once
    something was stored in the file that it guards (`mark`).

    One object serves one acquisition at a time; its owner keeps threads apart.
    """

    def __init__(self, path: Path) -> None:
        self._lock_path = path.with_name(path.name + ".lock")
        self._gate_path = path.with_name(path.name + ".lock.gate")
        self._files: _LockFiles | None = None

    def acquire(self, *, exclusive: bool, deadline: float) -> None:
        """Take the lock, waiting until `deadline` on the monotonic clock.

        A reader of a directory that cannot be written, where nobody has ever locked, goes without: nobody writes there.

        Raises:
            StorageTimeoutError: somebody held the lock until the deadline; the message names the processes.
        """
        files, self._files = self._usable_files(may_lack=not exclusive), None
        if files is None:
            return
        at_gate = try_lock(files.gate)
        if at_gate and try_lock(files.lock, shared=not exclusive):
            unlock(files.gate)
        elif not _Attempt(files, shared=not exclusive, at_gate=at_gate).wait(deadline):
            raise self.timeout_error()
        self._files = files

    def release(self) -> None:
        """Give the lock back. Does nothing where none is held."""
        if self._files is not None:
            unlock(self._files.lock)

    def wanted(self) -> bool:
        """Return whether another process waits for the lock that this one holds."""
        if self._files is None:
            return False
        if not try_lock(self._files.gate, shared=True):
            return True
        unlock(self._files.gate)
        return False

    def mark(self) -> None:
        """Remember that something was stored in the file that the lock guards; the lock is held exclusively."""
        if self._files is not None and os.fstat(self._files.lock).st_size == 0:
            with contextlib.suppress(OSError):  # the next one does it: what was stored is stored
                os.write(self._files.lock, b"used\n")

    def is_marked(self) -> bool:
        """Return whether something was ever stored in the file that the lock guards."""
        try:
            return self._lock_path.stat().st_size > 0
        except FileNotFoundError:
            return False

    def timeout_error(self) -> StorageTimeoutError:
        """Say who holds the lock, and what to do about it."""
        pids = lock_holders(self._lock_path)
        who = " and ".join(map(describe_process, pids)) if pids else "another process"
        return StorageTimeoutError(
            f"{self._lock_path.with_suffix('')} stayed locked by {who}: if it hangs, end it (the lock goes with it); "
            f"if it is only slow, raise the storage's timeout"
        )

    def forget(self) -> None:
        """Drop the files that a forked child shares with its parent, leaving the parent's lock as it is."""
        if self._files is not None:
            self._files.close()
            self._files = None

    def _usable_files(self, *, may_lack: bool) -> "_LockFiles | None":
        if self._files is not None:
            if self._files.linked():
                return self._files
            self._files.close()
        try:
            return _LockFiles(_open(self._lock_path), _open(self._gate_path))
        except OSError as error:
            if may_lack and error.errno in _CANNOT_BE_WRITTEN:
                return None
            raise


@dataclass(frozen=True)
class _LockFiles:
    lock: int
    gate: int

    def linked(self) -> bool:
        """Return whether others still find these files under their names."""
        return os.fstat(self.lock).st_nlink > 0 and os.fstat(self.gate).st_nlink > 0

    def close(self) -> None:
        os.close(self.lock)
        os.close(self.gate)

    def give_back(self) -> None:
        """Unlock and close: closing alone would leave the lock to a child that a fork gave the same files."""
        unlock(self.lock)
        self.close()


class _Attempt:
    """Wait for a lock in a thread of its own, since ``flock`` knows no time-out.

    A wait that nobody is interested in any more cannot be interrupted: it ends by itself when the lock comes free, and
    gives it back.
    """

    def __init__(self, files: _LockFiles, *, shared: bool, at_gate: bool) -> None:
        self._files = files
        self._shared = shared
        self._at_gate = at_gate
        self._acquired = threading.Event()
        self._settled = threading.Lock()
        self._abandoned = False
        threading.Thread(target=self._block, name="storage-lock", daemon=True).start()

    def wait(self, deadline: float) -> bool:
        try:
            self._acquired.wait(max(0.0, deadline - time.monotonic()))
        except BaseException:  # an interrupt: the lock must not stay with a thread that nobody waits for
            if self._keep():
                self._files.give_back()
            raise
        return self._keep()

    def _keep(self) -> bool:
        """Decide whether the lock was taken in time."""
        with self._settled:
            self._abandoned = not self._acquired.is_set()
            return not self._abandoned

    def _block(self) -> None:
        if not self._at_gate:
            lock(self._files.gate)
        lock(self._files.lock, shared=self._shared)
        unlock(self._files.gate)
        with self._settled:
            if self._abandoned:
                self._files.give_back()
            else:
                self._acquired.set()


_CANNOT_BE_WRITTEN = {errno.EROFS, errno.EACCES, errno.EPERM}


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in _CANNOT_BE_WRITTEN or not path.exists():
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # which can be locked all the same


def lock_holders(path: Path) -> list[int]:
    """List the processes that hold a lock on a file, as far as the system tells (Linux: ``/proc/locks``)."""
    table = Path("/proc/locks")
    if not table.exists() or not path.exists():
        return []
    status = path.stat()
    identity = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    rows = [line.split() for line in table.read_text().splitlines()]
    return sorted({int(row[4]) for row in rows if row[1] != "->" and row[5] == identity})


def describe_process(pid: int) -> str:
    """Name a process by its number and, where the system tells, its command line."""
    command = Path(f"/proc/{pid}/cmdline")
    try:
        words = " ".join(command.read_bytes().replace(b"\0", b" ").decode(errors="replace").split())
    except OSError:  # it ended meanwhile, or the system has no such file
        words = ""
    return f"process {pid} ({words[:80]})" if words else f"process {pid}"
