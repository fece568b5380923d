"""Files that appear whole or not at all, and stay through a power cut once the write has returned."""

import enum
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PRIVATE = 0o600
NAME_BYTES = 100
"""Of a file's name in that of its draft, which has to fit into a directory too."""
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)
"""What says that a file cannot have another name there, though it could be copied."""


class Sync(enum.Enum):
    """What the disk has when a file has taken its place.

    Attributes:
        ALL: the content and the name.
        CONTENT: the content; the directory is synced by the caller, once for many files.
        NOTHING: nothing yet; a power cut may leave an empty file.
    """

    ALL = "all"
    CONTENT = "content"
    NOTHING = "nothing"


def write_whole(path: Path, content: str | bytes, *, beside: Path | None = None, sync: Sync = Sync.ALL) -> None:
    """Write a small file, for this user only, in place of the one that is there; arguments as of `drafted`."""
    with whole_file(path, beside=beside, sync=sync) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path, *, beside: Path | None = None, sync: Sync = Sync.ALL) -> Iterator[IO[bytes]]:
    """Yield a file to write, for this user only, that takes its place as the one of `drafted` does."""
    with drafted(path, beside=beside, sync=sync) as draft, _created(draft) as file:
        yield file


@contextmanager
def drafted(path: Path, *, beside: Path | None = None, sync: Sync = Sync.ALL) -> Iterator[Path]:
    """Yield where to write a file that takes its place under `path` at the end of the block; after an error it is gone.

    Args:
        path: of the file; what is there is replaced.
        beside: directory of the draft, on the same disk; by default, that of the file.
        sync: what is to be on the disk at the end.
    """
    draft = _draft_of(path, beside or path.parent)
    draft.unlink(missing_ok=True)
    try:
        yield draft
        if sync is not Sync.NOTHING:
            sync_file(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    if sync is Sync.ALL:
        sync_directory(path.parent)


def copy_if_missing(content: bytes, path: Path) -> bool:
    """Put a file in its place, for this user only, unless another has put one there, who may be writing it already.

    Returns:
        Whether it is this one that is there.
    """
    draft = _draft_of(path, path.parent)
    try:
        draft.unlink(missing_ok=True)
        with _created(draft) as file:
            file.write(content)
        sync_file(draft)
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def link_or_copy(source: Path, path: Path) -> None:
    """Give a file another name, or where the disk has none to give, put a copy there.

    Raises:
        FileExistsError: there is a file of that name.
    """
    try:
        path.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with drafted(path, sync=Sync.NOTHING) as draft:
            shutil.copyfile(source, draft)


def move(source: Path, target: Path) -> None:
    """Rename a file or a directory, and wait until the disk knows where it is now."""
    source.rename(target)
    sync_directory(target.parent)
    if source.parent != target.parent:
        sync_directory(source.parent)


def sync_file(path: Path) -> None:
    """Wait until the disk has the content of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the disk has the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory, and those above it that are not there, for good."""
    above = next(one for one in path.absolute().parents if one.exists())
    path.mkdir(parents=True, exist_ok=True)
    for made in path.absolute().parents:
        if made.is_relative_to(above):
            sync_directory(made)


def _draft_of(path: Path, directory: Path) -> Path:
    name = os.fsdecode(os.fsencode(path.name)[:NAME_BYTES])
    return directory / f".{name}.{os.getpid()}.{threading.get_native_id()}"  # others may write it at once


def _created(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    return open(descriptor, "wb")  # noqa: PTH123 - a path has no mode to create with
