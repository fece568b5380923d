"""One DuckDB file, used by many processes and threads at once without a server."""

import atexit
import collections
import contextlib
import enum
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb

from lab_pipeline.files.atomic import drafted
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.files.errors import StorageError, StorageTimeoutError
from lab_pipeline.files.process_lock import ProcessLock, describe_process, lock_holders
from lab_pipeline.storage.damage import damaged, is_damage, lost, repair_log
from lab_pipeline.storage.duck_connection import DuckConnection, keep_forever
from lab_pipeline.storage.plain_path import quoted
from lab_pipeline.storage.sharing_policy import SharingPolicy

DEFAULT_TIMEOUT_SECONDS = 60.0

# Files that DuckDB 1.5 can read too; 2.0 would otherwise write a format of its own.
STORAGE_VERSION = "v1.5.0"

_ALIAS = "shared_file"
_log = logging.getLogger(__name__)


class _Mode(enum.Enum):
    READ = "READ_ONLY"
    WRITE = "READ_WRITE"


@dataclass(frozen=True, eq=False)
class _Waiter:
    """A thread that waits to use the file."""

    alone: bool


class DuckFile:
    """Share a DuckDB file between processes: attach it for one transaction at a time, under a lock.

    DuckDB lets one process write a file or many read it, for as long as they keep it open. So no process keeps it open:
    a transaction takes a `ProcessLock`, attaches the file to an in-memory instance that lives as long as the process,
    and detaches it afterwards. A commit is on disk before the lock is given back, and a process killed anywhere leaves
    nothing behind: at most, its transaction never happened.

    Within a process, threads may read together; a writer is alone. Threads are let in in the order in which they came.
    There is one object a file and process: `at`.

    Example:
        >>> import tempfile
        >>> file = DuckFile.at(Path(tempfile.mkdtemp()) / "notes.duckdb")
        >>> with file.transaction(write=True) as connection:
        ...     _ = connection.execute("CREATE TABLE notes (text VARCHAR)")
        ...     _ = connection.execute("INSERT INTO notes VALUES (?)", ["hello"])
        >>> with file.transaction(write=False) as connection:
        ...     connection.execute("SELECT text FROM notes")
        [('hello',)]

    Attributes:
        policy: of all files of the process.
    """

    policy = SharingPolicy()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log_path = f"{self.path}.wal"
        self._lock = ProcessLock(self.path)
        self._changed = threading.Condition()
        self._local = threading.local()
        self._leased = threading.Event()
        self._watcher: threading.Thread | None = None
        self._database: duckdb.DuckDBPyConnection | None = None
        self._idle: list[DuckConnection] = []
        self._generation = object()
        self._attached: _Mode | None = None
        self._attached_at = 0.0
        self._last_used = 0.0
        self._active = 0
        self._line: collections.deque[_Waiter] = collections.deque()
        self._writing = False
        self._changing = False
        self._burst = False
        self._log_due = False
        self._compressing = True

    @classmethod
    def at(cls, path: Path | str) -> Self:
        """Return the process' one object for the file at `path`, whatever name leads there."""
        real = Path(os.path.realpath(path))
        with _registry_lock:
            if real not in _registry:
                _registry[real] = cls(real)
            file = _registry[real]
        assert isinstance(file, cls)  # noqa: S101 - there are no subclasses
        return file

    @contextlib.contextmanager
    def transaction(self, *, write: bool, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> Iterator[DuckConnection]:
        """Run the block in one transaction: committed at its end, rolled back when it raises.

        Within a transaction of the same thread, the block joins that one.

        Args:
            write: whether the block writes; a file that is missing is created by a writer.
            timeout: seconds to wait for others.

        Raises:
            StorageTimeoutError: others used the file for the whole time.
            StorageError: the file cannot be opened, read or written.
        """
        outer: DuckConnection | None = getattr(self._local, "connection", None)
        if outer is not None:
            if write and not outer.writable:
                raise StorageError(f"{self.path}: a reading transaction cannot write; begin it with write=True")
            yield outer
            return
        self._enter(write=write, deadline=time.monotonic() + timeout)
        generation = self._generation
        healthy = False
        try:
            with self._explained(), self._connection(write=write) as connection:
                yield connection
            healthy = True
        except StorageError:
            raise
        except BaseException:
            healthy = True  # the block's own error: rolled back, the file is as it was
            raise
        finally:
            if generation == self._generation:  # else a fork inside the block has made this another process
                self._leave(healthy=healthy)

    def copy_to(self, destination: Path, *, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        """Write a copy of the file in one state, while others go on reading it; writers wait.

        The copy appears under its name when it is complete, in place of what was there.

        Raises:
            StorageError: the file cannot be read, or the copy not be written.
        """
        with drafted(destination) as draft, self.transaction(write=False, timeout=timeout), self._explained():
            copy = f"copy_{threading.get_ident()}"
            with self._instance().cursor() as cursor:
                cursor.execute(f"ATTACH '{quoted(draft)}' AS {copy} (STORAGE_VERSION '{STORAGE_VERSION}')")
                try:
                    cursor.execute(f"COPY FROM DATABASE {_ALIAS} TO {copy}")
                    cursor.execute(f"CHECKPOINT {copy}")
                finally:
                    cursor.execute(f"DETACH {copy}")

    def is_in_transaction(self) -> bool:
        """Return whether this thread is inside a transaction."""
        return getattr(self._local, "connection", None) is not None

    def state(self) -> tuple[int, ...] | None:
        """Return what every commit and checkpoint of any process changes; none where there is no file.

        A commit makes the log longer before anybody hears of it; a checkpoint writes the file and empties the log.
        """
        try:
            file = os.stat(self.path)  # noqa: PTH116 - asked for several times a second
        except OSError:
            return None
        try:
            log = os.stat(self._log_path)  # noqa: PTH116 - the same
        except OSError:
            return file.st_ino, file.st_size, file.st_mtime_ns
        return file.st_ino, file.st_size, file.st_mtime_ns, log.st_ino, log.st_size, log.st_mtime_ns

    def is_lost(self) -> bool:
        """Return whether something was stored in the file, and it is not there any more."""
        return not self.path.exists() and self._lock.is_marked()

    def exists(self) -> bool:
        """Return whether there is a file, or never was one.

        Raises:
            StorageError: there was one, and it is lost.
        """
        if self.is_lost():
            raise StorageError(lost(self.path))
        return self.path.exists()

    def release(self) -> None:
        """Give the file up now where this process only stays attached in case it goes on soon."""
        with self._changed:
            while self._changing:
                self._changed.wait()
            if self._attached is None or self._active:
                return
            self._changing = True
        self._detach()

    # -- one transaction ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _connection(self, *, write: bool) -> Iterator[DuckConnection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = DuckConnection(self._cursor())
        try:
            connection.begin(write=write)
        except BaseException:
            connection.close()
            raise
        self._local.connection = connection
        try:
            yield connection
        except BaseException:
            self._local.connection = None
            with contextlib.suppress(duckdb.Error):  # the block's error is the one to show
                connection.end(commit=False)
            connection.close()
            raise
        self._local.connection = None
        try:
            connection.end(commit=True)
        except BaseException as error:
            connection.close()
            if isinstance(error, duckdb.Error):
                raise self._failed(error) from error
            raise
        self._idle.append(connection)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._instance().cursor()
        cursor.execute(f"USE {_ALIAS}")
        return cursor

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the disk or the file does to a transaction into an error for its user."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            cause = getattr(error, "orig", error)  # SQLAlchemy wraps
            if isinstance(cause, duckdb.IOException | duckdb.FatalException) or (
                isinstance(cause, duckdb.Error) and is_damage(cause)
            ):
                raise self._failed(cause) from error
            raise

    def _failed(self, error: duckdb.Error) -> StorageError:
        if is_damage(error):
            return StorageError(damaged(self.path, _first_line(error)))
        return StorageError(
            f"{self.path}: the transaction failed and nothing of it is stored; what was stored before is intact. "
            f"{disk_error(error, self.path) or _first_line(error)}"
        )

    # -- who may be inside -------------------------------------------------------------------------------------------

    def _enter(self, *, write: bool, deadline: float) -> None:
        """Wait until this thread may work, with the file attached and locked as it needs."""
        began = time.monotonic()
        wanted = _Mode.WRITE if write else _Mode.READ
        with self._changed:
            if not self._wait_in_line(alone=write, deadline=deadline):
                raise self._waited_in_vain()
            if self._active == 0:
                self._burst = began - self._last_used < self.policy.linger_seconds
            self._active += 1
            self._writing = write
            if self._attached is _Mode.WRITE or self._attached is wanted:
                return
            self._changing = True
        try:
            if self._attached is not None:
                self._detach(keep_changing=True)
            self._attach(wanted, deadline)
        except BaseException:
            with self._changed:
                self._active -= 1
                self._writing = False
                self._changing = False
                if self._attached is not None:  # interrupted when all was done
                    self._watch()
                self._changed.notify_all()
            raise
        with self._changed:
            self._changing = False
            self._changed.notify_all()

    def _waited_in_vain(self) -> StorageTimeoutError:
        if self._changing:  # the thread before this one waits too
            return self._lock.timeout_error()
        return StorageTimeoutError(f"{self.path}: other threads of this process were busy with it all the time")

    def _wait_in_line(self, *, alone: bool, deadline: float) -> bool:
        """Wait until all earlier waiters are in and nobody in conflict is; tell whether that happened in time.

        Without a line, a thread that leaves and comes again at once would be inside before those it has woken.
        """
        waiter = _Waiter(alone)
        self._line.append(waiter)
        try:
            while not self._may_enter(waiter):
                if not self._changed.wait(deadline - time.monotonic()):
                    return False
            return True
        finally:
            self._line.remove(waiter)
            self._changed.notify_all()  # whoever is first now

    def _may_enter(self, waiter: "_Waiter") -> bool:
        if self._line[0] is not waiter or self._changing or self._writing:
            return False
        return self._active == 0 or not (waiter.alone or self._turn_is_over())

    def _turn_is_over(self) -> bool:
        """Return whether another process waits that has waited for a turn's length."""
        return time.monotonic() - self._attached_at > self.policy.turn_seconds and self._lock.wanted()

    def _leave(self, *, healthy: bool) -> None:
        with self._changed:
            self._active -= 1
            self._writing = False
            self._last_used = time.monotonic()
            stay = healthy and self._burst and not self._turn_is_over() and not self._log_is_long()
            detach = self._active == 0 and not stay
            if detach:
                self._changing = True
            elif self._active == 0:
                self._watch()
            self._changed.notify_all()
        if detach:
            self._detach(healthy=healthy)

    def _watch(self) -> None:
        """See to it that a lease ends although its holder does nothing, and that a long log is shortened."""
        if self._watcher is None or not self._watcher.is_alive():
            self._watcher = threading.Thread(target=self._end_leases, name="storage-lease", daemon=True)
            self._watcher.start()
        self._leased.set()

    def _end_leases(self) -> None:
        while self._leased.wait():
            time.sleep(self.policy.poll_seconds)
            with self._changed:
                if self._watcher is not threading.current_thread():
                    return
                attached = self._attached is not None
                if not attached and not self._log_due:
                    self._leased.clear()
                    continue
                idle = time.monotonic() - self._last_used
                if self._active or self._changing or idle < self.policy.rest_seconds:
                    continue
                if attached and idle < self.policy.linger_seconds and not self._lock.wanted():
                    continue
                self._changing = True
            if attached:
                self._detach(at_rest=True)
            else:
                self._shorten_log()

    def _shorten_log(self) -> None:
        """Checkpoint after the transaction that made the log long, so that its caller need not wait for it."""
        try:
            if self._log_bytes() > self.policy.log_bytes:  # else another process was quicker
                self._attach(_Mode.WRITE, time.monotonic() + self.policy.shorten_within_seconds)
                self._detach(at_rest=True, keep_changing=True)
        except StorageError as error:
            _log.debug("%s: the log stays long for now: %s", self.path, _first_line(error))
        finally:
            with self._changed:
                self._log_due = False
                self._changing = False
                self._changed.notify_all()

    # -- attaching and detaching, by the one thread that has set `_changing` ------------------------------------------

    def _attach(self, mode: _Mode, deadline: float) -> None:
        try:
            self._lock.acquire(exclusive=mode is _Mode.WRITE, deadline=deadline)
        except OSError as error:
            reason = disk_error(error, self.path) or f"{error.strerror} ({error.filename})"
            raise StorageError(f"{self.path}: cannot be locked: {reason}") from error
        try:
            self._attach_locked(mode, deadline)
        except BaseException:
            self._lock.release()
            raise
        self._attached = mode
        self._attached_at = time.monotonic()

    def _attach_locked(self, mode: _Mode, deadline: float) -> None:
        name = quoted(self.path)
        creation = f", STORAGE_VERSION '{STORAGE_VERSION}'" if mode is _Mode.WRITE else ""
        statement = f"ATTACH '{name}' AS {_ALIAS} ({mode.value}, ROW_GROUP_SIZE {self.policy.row_group_rows}{creation})"
        if self.is_lost():
            raise StorageError(lost(self.path))
        pause = 0.002
        while True:
            try:
                self._instance().execute(statement)
            except duckdb.IOException as error:
                foreign = "Could not set lock" in str(error)
                if not foreign or time.monotonic() + pause > deadline:
                    raise self._unusable(error, mode, foreign=foreign) from error
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
            except duckdb.Error as error:
                if not self._mend(error, mode, deadline):
                    raise self._unusable(error, mode, foreign=False) from error
            else:
                return

    def _mend(self, error: duckdb.Error, mode: _Mode, deadline: float) -> bool:
        """Remove from the log what a power cut has left of a transaction that was never acknowledged."""
        if mode is _Mode.READ:
            self._lock.release()
            self._lock.acquire(exclusive=True, deadline=deadline)
        repaired = repair_log(Path(self._log_path), error)
        if mode is _Mode.READ:
            self._lock.release()
            self._lock.acquire(exclusive=False, deadline=deadline)
        if repaired:
            _log.warning(
                "%s: the end of its log was torn by a power cut; it is kept as %s.torn", self.path, self._log_path
            )
        return repaired

    def _unusable(self, error: duckdb.Error, mode: _Mode, *, foreign: bool) -> StorageError:
        if foreign:
            pids = [pid for pid in lock_holders(self.path) if pid != os.getpid()]
            who = " and ".join(map(describe_process, pids)) if pids else "another program"
            return StorageTimeoutError(
                f"{self.path} is open in {who}, which does not share it: close it there, and look into a copy instead. "
                f"{_first_line(error)}"
            )
        if "Unique file handle conflict" in str(error):
            return StorageError(
                f"{self.path} is open in this very process by a duckdb.connect or ATTACH of its own: close that first"
            )
        if mode is _Mode.READ and not self.path.exists():
            return StorageError(f"{self.path} does not exist")
        if is_damage(error):
            return StorageError(damaged(self.path, _first_line(error)))
        verb = "written" if mode is _Mode.WRITE else "read"
        return StorageError(disk_error(error, self.path) or f"{self.path} cannot be {verb}: {_first_line(error)}")

    def _detach(self, *, healthy: bool = True, at_rest: bool = False, keep_changing: bool = False) -> None:
        try:
            if healthy and self._attached is _Mode.WRITE:
                self._lock.mark()
                self._checkpoint(at_rest=at_rest)
            self._instance().execute(f"DETACH {_ALIAS}")
            if not healthy:
                self._close_instance()
        except duckdb.Error as error:
            _log.warning("%s: closed after an error: %s", self.path, _first_line(error))
            self._close_instance()
        finally:
            self._lock.release()
            self._attached = None
            if not keep_changing:
                with self._changed:
                    self._changing = False
                    if self._log_due:
                        self._watch()
                    self._changed.notify_all()

    def _checkpoint(self, *, at_rest: bool) -> None:
        size = self._log_bytes()
        if size <= self.policy.log_bytes_at_rest:
            return
        wanted = self._lock.wanted()
        if at_rest:
            limit = self.policy.log_bytes if wanted else self.policy.log_bytes_at_rest
        elif self._burst:  # the end of a turn
            limit = self.policy.log_bytes
        else:
            limit = self.policy.log_bytes_at_most
        if size > limit:
            self._compress(not wanted)
            self._instance().execute(f"CHECKPOINT {_ALIAS}")
        elif size > self.policy.log_bytes:
            self._log_due = True

    def _compress(self, wanted: bool) -> None:  # noqa: FBT001 - the one thing it says
        if self._compressing != wanted:
            methods = "" if wanted else self.policy.slow_compression
            self._instance().execute(f"SET GLOBAL disabled_compression_methods = '{methods}'")
            self._compressing = wanted

    def _log_is_long(self) -> bool:
        return self._attached is _Mode.WRITE and self._log_bytes() > self.policy.log_bytes_at_most

    def _log_bytes(self) -> int:
        try:
            return os.stat(self._log_path).st_size  # noqa: PTH116 - on every transaction's path
        except FileNotFoundError:
            return 0

    # -- the in-memory instance --------------------------------------------------------------------------------------

    def _instance(self) -> duckdb.DuckDBPyConnection:
        if self._database is None:
            self._database = duckdb.connect(":memory:", config=_INSTANCE_CONFIG)
            self._database.execute("SET GLOBAL TimeZone = 'UTC'")
        return self._database

    def _close_instance(self) -> None:
        while self._idle:
            self._idle.pop().close()
        if self._database is not None:
            self._database.close()
            self._database = None
            self._compressing = True

    # -- forks and the end of the process ----------------------------------------------------------------------------

    def close(self, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> bool:
        """Wait until no thread uses the file, then give it up, and the memory too; the next transaction opens it again.

        Returns:
            Whether that was possible within `timeout`, and this thread was not inside a transaction itself.
        """
        with self._changed:
            unused = getattr(self._local, "connection", None) is None and self._wait_in_line(
                alone=True, deadline=time.monotonic() + timeout
            )
            if unused:
                if self._attached is not None:
                    self._detach()
                self._close_instance()
            return unused

    def stop_watching(self) -> None:
        """End the thread that ends leases; the next lease starts another."""
        with self._changed:
            watcher, self._watcher = self._watcher, None
            self._leased.set()
        if watcher is not None:
            watcher.join(timeout=1.0)

    def before_fork(self) -> None:
        """Leave the child nothing that belongs to this process, and keep other threads still meanwhile."""
        self._changed.acquire()
        self.close()

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        self._changed.release()

    def after_fork_in_child(self) -> None:
        """Start with nothing open; what a transaction around the fork holds belongs to the parent."""
        connection: DuckConnection | None = getattr(self._local, "connection", None)
        for inherited in (*self._idle, *([connection] if connection else [])):
            inherited.disown()
        if self._database is not None:
            keep_forever(self._database)
        self._lock.forget()
        self.__init__(self.path)  # type: ignore[misc]  # the one state that is known to be sound


_INSTANCE_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "memory_limit": "1GB",
    "temp_directory": "",  # nothing of this spills, and the default would be a directory in the current one
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "checkpoint_on_detach": "DISABLED",  # see _checkpoint
}

_registry: dict[Path, DuckFile] = {}
_registry_lock = threading.Lock()


def _before_fork() -> None:
    _registry_lock.acquire()
    for file in _registry.values():
        file.before_fork()


def _after_fork_in_parent() -> None:
    for file in _registry.values():
        file.after_fork_in_parent()
    _registry_lock.release()


def _after_fork_in_child() -> None:
    for file in _registry.values():
        file.after_fork_in_child()
    _registry_lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


@atexit.register
def _close_all() -> None:
    for file in _registry.values():
        file.close(timeout=1.0)
        file.stop_watching()


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
