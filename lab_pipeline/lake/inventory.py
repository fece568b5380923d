"""Which part files the lake has by its own record, so that a lost one is missed, and what to say of a damaged one."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.lake.errors import LakeError

INVENTORY = ".parts.json"
PART_FILES = "part-*.parquet"
UNREADABLE = (pa.ArrowException, pl.exceptions.PolarsError, OSError)
SHOWN = 3
REMEDY = (
    "`lab restore` brings them back from a backup; to go on without, delete what is damaged and the lake's "
    f"{INVENTORY}, and ingest the rows' files again"
)


class LakeDamagedError(LakeError):
    """Rows that were ingested are lost, or cannot be read."""


def recorded(root: Path) -> dict[str, int] | None:
    """Return the bytes of every part file by its path in the lake; none without a record that can be read.

    A lake of an earlier version has none until its next commit.
    """
    try:
        found = json.loads((root / INVENTORY).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(found, dict) and all(isinstance(size, int) for size in found.values())
    return found if whole else None


def after(root: Path, written: Iterable[tuple[Path, Path]], removed: Iterable[Path]) -> str:
    """Return the record after a commit. A part that is lost stays on it.

    Args:
        root: of the lake.
        written: where each new file is, and its place.
        removed: files that they replace.
    """
    known = recorded(root)
    if known is None:
        known = {_name(root, path): path.stat().st_size for path in root.rglob(PART_FILES)}
    for path in removed:
        known.pop(_name(root, path), None)
    known |= {_name(root, place): path.stat().st_size for path, place in written if place.match(PART_FILES)}
    return json.dumps(known, sort_keys=True)


def require_whole(root: Path, directory: Path) -> None:
    """Require that no part file of a directory is lost or cut.

    Raises:
        LakeDamagedError: naming them.
    """
    if problems := _missed(root, directory):
        raise LakeDamagedError(f"{'; '.join(problems[:SHOWN])}: {REMEDY}")


def damage(root: Path) -> list[str]:
    """Say of each part file that is lost or cannot be opened what it is."""
    problems = _missed(root, root)
    missed = {problem.partition(" ")[0] for problem in problems}
    for path in sorted(root.rglob(PART_FILES)):
        if str(path) not in missed:
            try:
                pq.read_metadata(path)
            except UNREADABLE as error:
                problems.append(_damaged(path, error))
    return problems


def damaged_rows(path: Path) -> LakeDamagedError:
    """Say that a file can be read, but that its rows are not those that were written."""
    return LakeDamagedError(f"{path} is damaged (its checksum does not hold), its rows are lost: {REMEDY}")


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """Name the damaged file if that is why rows cannot be read: the one at `place`, or those of the lake there."""
    try:
        yield
    except UNREADABLE as error:
        problems = [_damaged(place, error)] if place.is_file() else damage(place)
        if not problems:
            raise
        raise LakeDamagedError(f"{'; '.join(problems[:SHOWN])}: {REMEDY}") from error


def _missed(root: Path, directory: Path) -> list[str]:
    problems = []
    for name, size in sorted((recorded(root) or {}).items()):
        path = root / name
        if path.is_relative_to(directory):
            try:
                now = path.stat().st_size
            except FileNotFoundError:
                problems.append(f"{path} is lost, with its rows")
                continue
            if now != size:
                problems.append(f"{path} is damaged ({now:,} of {size:,} bytes), its rows are lost")
    return problems


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged ({str(error).splitlines()[0]}), its rows are lost"


def _name(root: Path, path: Path) -> str:
    return str(path.relative_to(root))
