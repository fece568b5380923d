"""Bring a snapshot back: all of it under its name at once, or nothing."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab_pipeline.backup.errors import BackupError, DamagedBackupError
from lab_pipeline.backup.repository import (
    PRIVATE_DIRECTORY,
    FileEntry,
    Progress,
    Repository,
    Snapshot,
    path_of,
)
from lab_pipeline.files.atomic import PRIVATE, move, sync_directory, sync_file
from lab_pipeline.files.locks import try_lock


@contextmanager
def restoring(
    repository: Repository, snapshot: Snapshot, home: Path, on_progress: Progress | None = None
) -> Iterator[Path]:
    """Write the files of a snapshot beside a home, and make them the home when the block, which sees them, is done.

    Args:
        repository: that has the snapshot.
        snapshot: what is to be restored.
        home: which must not exist, or be empty.
        on_progress: called with the files that were written, and all.

    Raises:
        DamagedBackupError: naming what is missing, cut or changed; nothing is restored then.
        BackupError: if the home has anything, its disk too little room, or another process restores it.
    """
    _require_room(snapshot, home)
    draft = home.parent / f".{home.name}.restoring"
    with _alone(draft):
        try:
            for done, file in enumerate(snapshot.files):
                if on_progress:
                    on_progress(done, len(snapshot.files))
                _write(repository, file, draft)
            for directory in [draft, *(path for path in draft.rglob("*") if path.is_dir())]:
                sync_directory(directory)
            yield draft
            move(draft, home)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def _require_room(snapshot: Snapshot, home: Path) -> None:
    if home.exists() and not (home.is_dir() and next(home.iterdir(), None) is None):
        raise BackupError(f"{home} is not empty: set LAB_HOME to a directory that is to become the restored home")
    home.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home.parent).free
    if free < snapshot.bytes:
        raise BackupError(
            f"the disk of {home} has {free:,} bytes free, and the snapshot has {snapshot.bytes:,}: make room, or set "
            "LAB_HOME elsewhere"
        )


@contextmanager
def _alone(draft: Path) -> Iterator[None]:
    """Hold the draft, emptied of what a killed process left in it, against every other process."""
    draft.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not try_lock(descriptor):
            raise BackupError(f"another process is restoring to {draft}: wait for its end")
        for path in draft.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        yield
    finally:
        os.close(descriptor)


def _write(repository: Repository, file: FileEntry, draft: Path) -> None:
    path = draft / path_of(file.path)
    try:
        for directory in reversed([path.parent, *path.parent.parents]):
            if directory.is_relative_to(draft):
                directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    except (FileExistsError, NotADirectoryError):
        raise DamagedBackupError(f"{file.path} comes twice, or is a directory as well: nothing was restored") from None
    with os.fdopen(descriptor, "wb") as opened:
        for name in file.objects:
            try:
                opened.write(repository.content(name))
            except DamagedBackupError as error:
                raise DamagedBackupError(
                    f"{error}, and {file.path} needs it: nothing was restored. Restore from another snapshot "
                    "(`--snapshot`), which may not need it"
                ) from None
        if opened.tell() != file.bytes:
            raise DamagedBackupError(f"{file.path} has {opened.tell():,} bytes in the backup, not {file.bytes:,}")
    sync_file(path)
    os.utime(path, ns=(file.mtime_ns, file.mtime_ns))
