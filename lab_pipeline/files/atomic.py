"""Files that appear whole or not at all, and stay through a power cut once whoever wrote them has been told so."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PRIVATE = 0o600


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a small file, for this user only, in place of the one that is there."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write that takes its place under `path` at the end of the block; after an error it is gone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")  # others may write it at once
    draft.unlink(missing_ok=True)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a path has no mode to create with
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def copy_if_missing(content: bytes, path: Path) -> bool:
    """Put a file in its place, for this user only, unless another has put one there, who may be writing it already.

    Returns:
        Whether it is this one that is there.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a path has no mode to create with
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def put_in_place(draft: Path, path: Path) -> None:
    """Rename what another wrote to where it is looked for, its content and its name on the disk afterwards."""
    sync_file(draft)
    draft.replace(path)
    sync_directory(path.parent)


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
