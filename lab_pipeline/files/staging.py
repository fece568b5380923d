"""Directories that are written out of sight and appear whole, by one rename, or not at all."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab_pipeline.files.atomic import make_directory
from lab_pipeline.files.locks import lock, locked, try_lock

GATE = "gate"


@contextmanager
def staged(root: Path) -> Iterator[Path]:
    """Yield a directory under `root` to write into; it is removed at the end unless it has been renamed away.

    The writer holds a lock beside it, which dies with the process: that is how the next one tells what a killed process
    left from what a living one is writing.
    """
    make_directory(root)
    with locked(root / GATE):
        _clear(root)
        staging = root / uuid.uuid4().hex
        staging.mkdir()
        alive = _lock_of(staging).open("w")
        lock(alive)
    try:
        yield staging
    finally:
        with alive, locked(root / GATE):
            shutil.rmtree(staging, ignore_errors=True)
            _lock_of(staging).unlink()


def leftovers(root: Path, *, remove: bool = False) -> int:
    """Return the bytes that killed writers left, which the next one would remove; or remove them now."""
    if not root.is_dir():
        return 0
    with locked(root / GATE):
        return _clear(root, remove=remove)


def _clear(root: Path, *, remove: bool = True) -> int:
    """Remove what dead writers left, or just measure it; returns its bytes."""
    found = 0
    for staging in {path.with_suffix("") for path in root.iterdir() if path.name != GATE}:
        with _lock_of(staging).open("a") as alive:
            if not try_lock(alive):
                continue  # its writer lives
            found += sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
            if not remove:
                continue
            if staging.exists():  # gone if the process died right after its rename
                shutil.rmtree(staging)
            _lock_of(staging).unlink()
    return found


def _lock_of(staging: Path) -> Path:
    return staging.with_suffix(".lock")
