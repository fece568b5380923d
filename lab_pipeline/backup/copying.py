"""Files of a home that is in use, each read in one state of it."""

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from glob import escape
from pathlib import Path
from urllib.parse import quote

from lab_pipeline.backup.errors import BackupError
from lab_pipeline.backup.repository import FileEntry, Repository, State, text_of
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.duck_file import DuckFile

BUSY_SECONDS = 60.0
RECENT_NS = 2 * 10**9
"""A file that has just been changed may be changed once more without another time of it."""


class Copier:
    """Puts files of a home into a repository, and remembers which are there.

    Attributes:
        files: what was copied, by path.
    """

    def __init__(
        self,
        repository: Repository,
        home: Path,
        before: Mapping[str, FileEntry],
        on_file: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin with nothing copied.

        Args:
            repository: that is being written.
            home: whose files they are.
            before: what is known from earlier copies: a file that has not been touched since is not read again.
            on_file: called for each file.
        """
        self.files: dict[str, FileEntry] = {}
        self._on_file = on_file
        self._repository = repository
        self._home = home
        self._before = before

    def copy(self, paths: Iterable[Path]) -> bool:
        """Copy files whose content is of no time in particular; tells whether all of them were still there."""
        found = [self._copy(path) for path in paths]
        return all(found)

    def copy_sqlite(self, path: Path) -> None:
        """Copy a SQLite database, if it is there, in the state after some transaction, while others write it."""
        self._on_file()
        states = self._states(path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-journal")))
        if not states or self._reused(path, states):
            return
        draft = self._repository.drafts / "sqlite.db"
        try:
            source = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True, timeout=BUSY_SECONDS)
            with closing(source), closing(sqlite3.connect(draft)) as target:
                target.execute("PRAGMA synchronous = OFF")
                source.backup(target)
        except sqlite3.Error as error:
            if not path.exists():  # it was deleted meanwhile
                return
            raise BackupError(f"{path} cannot be read: {error}") from error
        with draft.open("rb") as file:
            self._keep(path, *self._repository.add(file), states)
        draft.unlink()

    @contextmanager
    def copy_duckdb(self, path: Path) -> Iterator[DuckConnection]:
        """Copy a DuckDB file with its log in one state, which the block can query; nobody writes it meanwhile.

        Raises:
            StorageError: if it cannot be opened.
        """
        with DuckFile.at(path).transaction(write=False) as connection:
            self.copy(with_logs(path))
            yield connection

    def forget(self, path: Path) -> None:
        """Drop what was copied from under a directory."""
        start = self._name(path) + "/"
        for name in [name for name in self.files if name.startswith(start)]:
            del self.files[name]

    def has(self, path: Path) -> bool:
        """Return whether a file was copied."""
        return self._name(path) in self.files

    def _copy(self, path: Path) -> bool:
        self._on_file()
        states = self._states(path)
        if not states:
            return False
        if self._reused(path, states):
            return True
        try:
            with path.open("rb") as file:
                states = (_state(os.fstat(file.fileno())),)
                self._keep(path, *self._repository.add(file), states)
        except FileNotFoundError:
            return False
        return True

    def _reused(self, path: Path, states: tuple[State, ...]) -> bool:
        name = self._name(path)
        known = self._before.get(name)
        if known is None or known.states != states or not self._repository.has(known.objects):
            return False
        self.files[name] = known
        return True

    def _keep(self, path: Path, objects: tuple[str, ...], total: int, states: tuple[State, ...]) -> None:
        name = self._name(path)
        mtime = states[0][2]
        settled = all(max(changed, modified) < time.time_ns() - RECENT_NS for _, _, modified, changed in states)
        self.files[name] = FileEntry(
            path=name, bytes=total, mtime_ns=mtime, objects=objects, states=states if settled else ()
        )

    def _states(self, *paths: Path) -> tuple[State, ...]:
        """Return the states of a file and those beside it that are there; nothing if it is gone, or no file."""
        found = []
        for number, path in enumerate(paths):
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                status = None
            if status is not None and stat.S_ISREG(status.st_mode):
                found.append(_state(status))
            elif number == 0:
                return ()
        return tuple(found)

    def _name(self, path: Path) -> str:
        return text_of(path.relative_to(self._home).as_posix())


def with_logs(path: Path) -> list[Path]:
    """List a DuckDB file and what belongs to it: its write-ahead log, and those of a checkpoint that was cut off."""
    return [path, *sorted(path.parent.glob(f"{escape(path.name)}.wal*"))]


def _state(status: os.stat_result) -> State:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
