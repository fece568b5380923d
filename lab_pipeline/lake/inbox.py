"""A directory for files that are to come into the lake: each of them once, as a whole, or not at all.

A file is taken by renaming it into a directory that has its key for a name; from there it goes to `done`, or to
`rejected` with what is wrong with it in a file beside it. The key stands for this very file in this state, so whoever
comes back after a crash finds what was under way, and the lake's receipt under the same key tells whether its rows are
in already.

A file whose reader dies is not read first by the next run, and after some times not at all: `attempt` keeps count.

A name need not be text: what is not UTF-8 in it is read as `_`, here and in everything that speaks of the file, and
from the moment at which it is taken it is called so on the disk, too. The key tells such files apart.
"""

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab_pipeline.files.atomic import move, write_whole
from lab_pipeline.files.locks import has_writer
from lab_pipeline.lake.chats import Reading
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.layout import CALLS, CANDLES, Table
from lab_pipeline.lake.sources import Hints, check_readable, lengths_in, open_source, stated_lengths

TAKEN = ".taken"
DONE = "done"
REJECTED = "rejected"
ERROR_SUFFIX = ".error.txt"
UNFINISHED = {".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".swp"}
"""Endings under which programs write what they rename when it is whole."""
NOT_TEXT = re.compile("[\udc80-\udcff]")
"""Bytes of a name that are not UTF-8, as Python hands them over."""
ATTEMPTS = ".attempts"
"""Beside a file that was taken, while it is read: how often that was begun and not ended."""
MINT_DIRECTORY, CALLER_DIRECTORY = "mint=", "caller="
MINT_FROM_NAME_DIRECTORY = "mint-from-name"
LONGEST_SUFFIX = 16
"""Bytes up to which the end of a name is its suffix, and kept when the name is shortened."""


@dataclass(frozen=True)
class Drop:
    """A file in the inbox.

    Attributes:
        key: of this file in this state: another one of the same name, or one that has grown, has another.
        name: path below the inbox, as it was dropped, `_` for every byte that is not UTF-8.
        obstacle: why this user cannot take it; null if it can be taken, as far as that is known before it is tried.
    """

    key: str
    name: str
    obstacle: str | None = None


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
        `rejected`. What cannot be looked at or moved is listed last, directories included, and with the reason.
        """
        stuck: list[Drop] = []

        def leave(path: Path, reason: str) -> None:
            name = path.relative_to(self.root)
            stuck.append(Drop(_digest(str(path)), readable(name) if name.parts else str(path), reason))

        def leave_for(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):  # else whoever dropped it took it back
                leave(Path(error.filename), f"it cannot be looked at ({error.strerror})")

        taken = [
            Drop(directory.name, str(path.relative_to(directory)))
            for directory in sorted((self.root / TAKEN).glob("*"))
            for path in _files(directory, leave_for)
        ]
        waiting: list[tuple[int, str, str]] = []
        for path in _files(self.root, leave_for, without=(DONE, REJECTED)):
            name = path.relative_to(self.root)
            if _is_unfinished(name):
                continue
            try:
                if (reason := _obstacle(path)) is not None:
                    leave(path, reason)
                else:
                    waiting.append((path.stat().st_mtime_ns, readable(name), key_of(path, str(name))))
            except OSError as error:
                leave_for(error)
        return taken + [Drop(key, name) for _, name, key in sorted(waiting)] + stuck

    def is_taken(self, key: str) -> bool:
        """Return whether a file of that key was taken and not put away."""
        return any(_files(self.root / TAKEN / key))

    def is_being_written(self, drop: Drop) -> bool:
        """Return whether a program has the file open to write it, as far as this system says."""
        path = self._waiting(drop)
        return path is not None and has_writer(path)

    def take(self, drop: Drop) -> Path | None:
        """Take a file out of everybody's way and return where it is; none if it is gone, changed or being written.

        Raises:
            OSError: if it cannot be moved; it is where it was.
        """
        taken = self._taken(drop)
        if taken.exists():
            return taken
        path = self._waiting(drop)
        if path is None or has_writer(path):
            return None
        try:
            taken.parent.mkdir(parents=True, exist_ok=True)
            path.rename(taken)
        except OSError:
            shutil.rmtree(self.root / TAKEN / drop.key, ignore_errors=True)
            raise
        if key_of(taken, str(path.relative_to(self.root))) == drop.key:
            return taken
        _put(taken, _free(path.parent, path.name, drop.key))  # it changed in between: it is another drop now
        return None

    def attempts(self, drop: Drop) -> int:
        """Return how often a file was begun to be read and came to no end."""
        mark = self.root / TAKEN / drop.key / ATTEMPTS
        return mark.stat().st_size if mark.exists() else 0

    @contextmanager
    def attempt(self, drop: Drop) -> Iterator[None]:
        """Mark a file that was taken while it is read; a death, or an error that nobody foresaw, leaves the mark."""
        mark = self.root / TAKEN / drop.key / ATTEMPTS
        with mark.open("ab") as file:
            file.write(b"x")
        ended = True
        try:
            yield
        except Exception as error:
            ended = isinstance(error, LakeError | OSError)
            raise
        finally:
            if ended:
                mark.unlink(missing_ok=True)

    def finish(self, drop: Drop) -> Path:
        """Put a file that was taken and ingested into `done`."""
        return self._put_away(drop, DONE)

    def reject(self, drop: Drop, reason: str) -> Path:
        """Put a file that was taken and cannot be used into `rejected`, the reason beside it."""
        target = _free(self.root / REJECTED, drop.name, drop.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(_fitting(target.name, ERROR_SUFFIX, drop.key, _longest_name(target.parent)))
        write_whole(beside, f"{reason}\n".encode(errors="backslashreplace"))
        return self._put_away(drop, REJECTED)

    def _put_away(self, drop: Drop, place: str) -> Path:
        target = _free(self.root / place, drop.name, drop.key)
        _put(self._taken(drop), target)
        shutil.rmtree(self.root / TAKEN / drop.key)
        return target

    def _taken(self, drop: Drop) -> Path:
        return self.root / TAKEN / drop.key / drop.name

    def _waiting(self, drop: Drop) -> Path | None:
        """Return where a file waits, under whatever bytes for a name; none if it is gone or has changed."""
        path = self.root / drop.name
        if _has_key(path, drop.name, drop.key):
            return path
        for other in _files(self.root, without=(DONE, REJECTED)) if "_" in drop.name else ():
            name = other.relative_to(self.root)
            if readable(name) == drop.name and _has_key(other, str(name), drop.key):
                return other
        return None


def hints_of(name: str) -> Hints:
    """Return what the directories of a file say of it that its columns do not.

    >>> hints_of("candles/mint=So111/may-5m.csv").mint
    'So111'
    >>> hints_of("mint-from-name/So111-5m.csv").mint_from_name
    True
    """
    mint = _said_by_directory(MINT_DIRECTORY, name)
    return Hints(mint, mint_from_name=mint is None and MINT_FROM_NAME_DIRECTORY in Path(name).parts[:-1])


def caller_of(name: str) -> str | None:
    """Return who calls in a file whose columns do not say, by its directory.

    >>> caller_of("caller=Marta/signals.csv")
    'Marta'
    """
    return _said_by_directory(CALLER_DIRECTORY, name)


def kind_of(path: Path, name: str, chats: Reading | None = None) -> tuple[Table, str | None]:
    """Tell what a file holds, by its columns, and how long its candles are, by its name or else by what it says.

    Args:
        path: where it is.
        name: under which it was dropped; directories count, as in ``candles/5m/may.csv`` or ``may-5m.csv``.
        chats: how calls are read.

    Returns:
        The table; and the length of all candles, null for calls and for candles each of which says its own.

    Raises:
        LakeError: if it cannot be read, can be neither candles nor calls, or is candles of no known length.
    """
    check_readable([path])
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=path.parent) as scratch:
        try:
            open_source(path, CALLS, Path(scratch), Hints(chats=chats))
        except LakeError as no_calls:
            try:
                source = open_source(path, CANDLES, Path(scratch), hints_of(name))
            except LakeError as no_candles:
                wrong = no_calls if CALLS.name in name.lower() else no_candles
                raise LakeError(str(wrong)) from None
        else:
            return CALLS, None
    lengths = lengths_in(part for part in Path(name).parts if not part.startswith((MINT_DIRECTORY, CALLER_DIRECTORY)))
    if not lengths and source.timeframes():
        lengths = set(stated_lengths(source, Path(name).name))
        if len(lengths) > 1:
            return CANDLES, None
    if len(lengths) != 1:
        found = f"names {' and '.join(sorted(lengths))}" if lengths else "does not say"
        raise LakeError(
            f"{name} {found}: how long are its candles? Call it such as candles-5m.csv, or drop it into candles/5m/"
        )
    return CANDLES, lengths.pop()


def _said_by_directory(prefix: str, name: str) -> str | None:
    said = [one.removeprefix(prefix) for one in Path(name).parts[:-1] if one.startswith(prefix)]
    return said[-1] if said else None


def key_of(path: Path, name: str) -> str:
    """Return the key of a file: it changes when the file is written or replaced, and stays when it is renamed."""
    found = path.stat()
    return _digest(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ino}")


def readable(name: Path) -> str:
    r"""Return a name as text, `_` for every byte that is not.

    >>> readable(Path(os.fsdecode(b"M\xfcnchen-1m.csv")))
    'M_nchen-1m.csv'
    """
    return NOT_TEXT.sub("_", str(name))


def _digest(state: str) -> str:
    return hashlib.sha256(os.fsencode(state)).hexdigest()[:16]


def _has_key(path: Path, name: str, key: str) -> bool:
    try:
        return key_of(path, name) == key
    except OSError:  # gone, or not to be looked at, which `drops` tells of
        return False


def _files(
    directory: Path, on_error: Callable[[OSError], None] | None = None, *, without: Sequence[str] = ()
) -> Iterator[Path]:
    """Yield the files under a directory, without what is hidden in it; tell of what cannot be looked at.

    Args:
        directory: need not exist.
        on_error: called with what the system said of a file or directory, which is left out.
        without: what is left out of the directory itself, by name.
    """
    left_out = {directory / name for name in without}
    for parent, names, files in os.walk(directory, onerror=on_error):
        names[:] = sorted(n for n in names if not n.startswith(".") and Path(parent, n) not in left_out)
        for name in sorted(files):
            path = Path(parent) / name
            if name.startswith(".") or path in left_out:
                continue
            try:
                is_file = path.is_file()
            except OSError as error:
                if on_error is not None:
                    on_error(error)
            else:
                if is_file:
                    yield path


def _obstacle(path: Path) -> str | None:
    """Say why this user cannot move a file out of its directory, if that is known before it is tried."""
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        return "it cannot be moved: this user may not write in its directory"
    directory = path.parent.stat()
    owners = (0, directory.st_uid, path.lstat().st_uid)
    if directory.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
        return "it cannot be moved: it is another user's, in a directory whose files only their owners may move"
    if path.is_symlink() and not path.readlink().is_absolute():
        return "it is a link that leads nowhere from elsewhere: drop the file itself, or a link with its whole path"
    return None


def _is_unfinished(name: Path) -> bool:
    return name.suffix.lower() in UNFINISHED or name.name.endswith("~")


def _free(place: Path, name: str, key: str) -> Path:
    """Return the path of a name in a place, or one beside it where something else is called so."""
    *parents, last = Path(name).parts
    for parent in parents:
        place = place / parent
        if place.exists() and not place.is_dir():
            place = place.with_name(_marked(place.name, key, _longest_name(place.parent)))
    target = place / last
    return target.with_name(_marked(last, key, _longest_name(place))) if target.exists() else target


def _fitting(name: str, ending: str, key: str, longest: int) -> str:
    """Append an ending; a name that gets too long is cut, and bears the key."""
    if len(os.fsencode(name + ending)) <= longest:
        return name + ending
    return _cut(name, longest - len(f".{key}{ending}")) + f".{key}{ending}"


def _marked(name: str, key: str, longest: int) -> str:
    """Put the key before the suffix of a name; its stem is cut where the name gets too long."""
    path = Path(name)
    stem, suffix = (name, "") if len(os.fsencode(path.suffix)) > LONGEST_SUFFIX else (path.stem, path.suffix)
    ending = f".{key}{suffix}"
    return _cut(stem, longest - len(os.fsencode(ending))) + ending


def _cut(name: str, longest: int) -> str:
    """Return as much of the start of a name as has no more than so many bytes."""
    return os.fsencode(name)[:longest].decode("utf-8", "ignore")


def _longest_name(directory: Path) -> int:
    """Return how many bytes a name in a directory, which need not exist, may have."""
    return os.pathconf(next(one for one in (directory, *directory.parents) if one.is_dir()), "PC_NAME_MAX")


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    move(source, target)
