"""A directory for files that are to come into the lake: each of them once, as a whole, or not at all.

A file is taken by renaming it into a directory that has its key for a name; from there it goes to `done`, or to
`rejected` with what is wrong with it in a file beside it. The key stands for this very file in this state, so whoever
comes back after a crash finds what was under way, and the lake's receipt under the same key tells whether its rows are
in already.
"""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake.commit import sync_directory
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.layout import CALLS, CANDLES, Table
from lab_pipeline.lake.sources import open_source

TAKEN = ".taken"
DONE = "done"
REJECTED = "rejected"
ERROR_SUFFIX = ".error.txt"
UNFINISHED = {".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".swp"}
"""Endings under which programs write what they rename when it is whole."""


@dataclass(frozen=True)
class Drop:
    """A file in the inbox.

    Attributes:
        key: of this file in this state: another one of the same name, or one that has grown, has another.
        name: path below the inbox, as it was dropped.
    """

    key: str
    name: str


@dataclass(frozen=True)
class Inbox:
    """The inbox of a lab; its directory need not exist.

    Attributes:
        root: the directory.
    """

    root: Path

    def drops(self) -> list[Drop]:
        """List files that wait, oldest first, behind those that were taken and came to no end.

        Files that are hidden or bear the ending of a download are left alone, like everything in `done` and
        `rejected`.
        """
        taken = [
            Drop(directory.name, str(path.relative_to(directory)))
            for directory in sorted((self.root / TAKEN).glob("*"))
            for path in _files(directory)
        ]
        waiting: list[tuple[int, str, str]] = []
        for path in _files(self.root):
            name = path.relative_to(self.root)
            if name.parts[0] in (DONE, REJECTED) or _is_unfinished(name):
                continue
            try:
                waiting.append((path.stat().st_mtime_ns, str(name), key_of(path, str(name))))
            except FileNotFoundError:
                continue  # whoever dropped it took it back
        return taken + [Drop(key, name) for _, name, key in sorted(waiting)]

    def is_taken(self, key: str) -> bool:
        """Tell whether a file of that key was taken and not put away."""
        return any(_files(self.root / TAKEN / key))

    def is_being_written(self, drop: Drop) -> bool:
        """Tell whether a program has the file open to write it, as far as this system says."""
        try:
            return _has_writer(self.root / drop.name)
        except FileNotFoundError:
            return False

    def take(self, drop: Drop) -> Path | None:
        """Take a file out of everybody's way and return where it is; none if it is gone, changed or being written."""
        taken, path = self._taken(drop), self.root / drop.name
        if taken.exists():
            return taken
        if not path.exists() or key_of(path, drop.name) != drop.key or self.is_being_written(drop):
            return None
        taken.parent.mkdir(parents=True, exist_ok=True)
        path.rename(taken)
        if key_of(taken, drop.name) == drop.key:
            return taken
        _move(taken, _free(path, drop.key))  # it changed in between: it is another drop now
        return None

    def finish(self, drop: Drop) -> Path:
        """Put a file that was taken and ingested into `done`."""
        return self._put_away(drop, DONE)

    def reject(self, drop: Drop, reason: str) -> Path:
        """Put a file that was taken and cannot be used into `rejected`, the reason beside it."""
        target = _free(self.root / REJECTED / drop.name, drop.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(target.name + ERROR_SUFFIX)
        draft = beside.with_name(f".{beside.name}")
        with draft.open("w") as file:
            file.write(reason + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(beside)
        return self._put_away(drop, REJECTED)

    def _put_away(self, drop: Drop, place: str) -> Path:
        taken = self._taken(drop)
        target = _free(self.root / place / drop.name, drop.key)
        _move(taken, target)
        shutil.rmtree(self.root / TAKEN / drop.key)
        return target

    def _taken(self, drop: Drop) -> Path:
        return self.root / TAKEN / drop.key / drop.name


def kind_of(path: Path, name: str) -> tuple[Table, str | None]:
    """Tell what a file holds, by its columns, and how long its candles are, by its name.

    Args:
        path: where it is.
        name: under which it was dropped; directories count, as in ``candles/5m/may.csv`` or ``may-5m.csv``.

    Raises:
        LakeError: if it can be neither candles nor calls, or is candles of no known length.
    """
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=path.parent) as scratch:
        try:
            open_source(path, CALLS, Path(scratch))
        except LakeError as no_calls:
            try:
                open_source(path, CANDLES, Path(scratch))
            except LakeError as no_candles:
                wrong = no_calls if CALLS.name in name.lower() else no_candles
                raise LakeError(str(wrong)) from None
        else:
            return CALLS, None
    lengths = {word for word in re.split(r"[^0-9A-Za-z]+", name) if _is_timeframe(word)}
    if len(lengths) != 1:
        found = f"names {' and '.join(sorted(lengths))}" if lengths else "does not say"
        raise LakeError(
            f"{name} {found}: how long are its candles? Call it such as candles-5m.csv, or drop it into candles/5m/"
        )
    return CANDLES, lengths.pop()


def key_of(path: Path, name: str) -> str:
    """Return the key of a file: it changes when the file is written or replaced, and stays when it is renamed."""
    found = path.stat()
    state = f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ino}"
    return hashlib.sha256(state.encode()).hexdigest()[:16]


def _files(directory: Path) -> Iterator[Path]:
    """Yield the files under a directory, without what is hidden in it."""
    for parent, names, files in os.walk(directory):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent) / name
            if not name.startswith(".") and path.is_file():
                yield path


def _is_unfinished(name: Path) -> bool:
    return name.suffix.lower() in UNFINISHED or name.name.endswith("~")


def _is_timeframe(word: str) -> bool:
    try:
        timeframe_ms(word)
    except ValueError:
        return False
    return True


def _has_writer(path: Path) -> bool:
    """Ask for a read lease, which the kernel grants only while nobody has the file open to write it."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
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


def _free(target: Path, key: str) -> Path:
    """Return the path, or one beside it where another file has its name."""
    return target.with_name(f"{target.stem}.{key}{target.suffix}") if target.exists() else target


def _move(source: Path, target: Path) -> None:
    """Rename, and wait until the disk knows."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    sync_directory(target.parent)
    sync_directory(source.parent)
