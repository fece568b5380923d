"""Changes that happen as a whole: staged files, one commit record, renames.

A writer stages its new part files in a directory of its own, then writes the commit record, which lists what has to be
renamed into place and what has to go. The record's own rename is the moment of commit: before it a crash leaves the
old state (and leftovers, which the next writer sweeps), after it the next reader or writer carries the record out.

Two advisory locks (flock; a killed process drops its own) order the processes: `.writer.lock` is held by the one writer
for as long as it works, `.lock` by readers (shared) while they open files and by whoever carries out a record
(exclusive).
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab_pipeline.domain.errors import later_layout
from lab_pipeline.files import atomic
from lab_pipeline.files.locks import locked
from lab_pipeline.lake import inventory
from lab_pipeline.lake.errors import LakeError

READ_LOCK = ".lock"
WRITE_LOCK = ".writer.lock"
RECORD = ".commit.json"
LAYOUT_FILE = ".layout"
LAYOUT = 1
"""Of everything under the root: names, partitions, columns, commit record. Without a record of it: the first."""
STAGING = ".staging"


@contextmanager
def reading(root: Path) -> Iterator[None]:
    """Hold the lake still while files are opened; what is open afterwards stays readable whatever writers do."""
    while True:
        with locked(root / READ_LOCK, shared=True):
            _require_known(root)
            if not pending(root):
                yield
                return
        _recover(root)


@contextmanager
def writing(root: Path) -> Iterator["Transaction"]:
    """Give the one writer a transaction; an error, or no `commit`, discards what it staged."""
    atomic.make_directory(root)
    with locked(root / WRITE_LOCK):
        _record_layout(root)
        _recover(root)
        shutil.rmtree(root / STAGING, ignore_errors=True)
        transaction = Transaction(root)
        try:
            yield transaction
        finally:
            if not pending(root):
                shutil.rmtree(root / STAGING, ignore_errors=True)


class Transaction:
    """New part files on the side, and the list of what they replace."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._moves: list[tuple[Path, Path]] = []
        self._removals: list[Path] = []
        self.id = uuid.uuid4().hex[:12]
        self.directory = root / STAGING / self.id
        self.directory.mkdir(parents=True)

    def stage(self, partition: Path, replaces: list[Path]) -> Path:
        """Return the path to which the new part of a partition is to be written."""
        staged = self.directory / f"{len(self._moves):04d}.parquet"
        self._moves.append((staged, partition / f"part-{self.id}.parquet"))
        self._removals.extend(replaces)
        return staged

    def stage_file(self, target: Path, content: bytes | str) -> None:
        """Have a small file appear at `target` together with the parts."""
        staged = self.directory / f"{len(self._moves):04d}.file"
        staged.write_bytes(content.encode() if isinstance(content, str) else content)
        atomic.sync_file(staged)
        self._moves.append((staged, target))

    def commit(self) -> None:
        """Put everything that was staged into place, or nothing."""
        if not self._moves:
            return
        self.stage_file(self._root / inventory.INVENTORY, inventory.after(self._root, self._moves, self._removals))
        record = {
            "moves": [[self._relative(source), self._relative(target)] for source, target in self._moves],
            "removals": [self._relative(path) for path in self._removals],
        }
        atomic.sync_directory(self.directory)
        atomic.write_whole(self._root / RECORD, json.dumps(record), beside=self.directory)
        _recover(self._root)

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._root))


def leftovers(root: Path, *, remove: bool) -> int:
    """Measure what killed writers left beside the rows, in bytes, and remove it if wanted; 0 while somebody writes."""
    if not (root / STAGING).is_dir():
        return 0
    try:
        with locked(root / WRITE_LOCK, timeout_seconds=0):
            _require_known(root)
            _recover(root)
            found = sum(path.stat().st_size for path in (root / STAGING).rglob("*") if path.is_file())
            if remove:
                shutil.rmtree(root / STAGING)
            return found
    except TimeoutError:
        return 0


def pending(root: Path) -> bool:
    """Return whether a commit was recorded but not yet carried out."""
    return (root / RECORD).exists()


def _require_known(root: Path) -> bool:
    """Return whether the lake has a record of its layout, which must be none of a later version.

    Raises:
        LakeError: if it is.
    """
    try:
        layout = int((root / LAYOUT_FILE).read_text())
    except FileNotFoundError:
        return False
    except ValueError:
        raise LakeError(
            f"{root / LAYOUT_FILE} is damaged: it must hold the number of the lake's layout, which this version writes "
            f"as {LAYOUT}. If no later one has written the lake: `echo {LAYOUT} > '{root / LAYOUT_FILE}'`"
        ) from None
    if layout > LAYOUT:
        raise LakeError(later_layout(f"the lake {root}", layout, LAYOUT))
    return True


def _record_layout(root: Path) -> None:
    if _require_known(root):
        return
    atomic.write_whole(root / LAYOUT_FILE, f"{LAYOUT}\n")


def _recover(root: Path) -> None:
    """Carry out the commit record, if there is one; doing a part of it twice does no harm."""
    if not pending(root):
        return
    with locked(root / READ_LOCK):
        try:
            record = json.loads((root / RECORD).read_text())
        except FileNotFoundError:
            return  # another process was faster
        moves = [(root / source, root / target) for source, target in record["moves"]]
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.exists():
                source.replace(target)
        for path in record["removals"]:
            (root / path).unlink(missing_ok=True)
        for directory in _with_parents({target.parent for _, target in moves}, root):
            atomic.sync_directory(directory)
        (root / RECORD).unlink()
        atomic.sync_directory(root)


def _with_parents(directories: set[Path], root: Path) -> list[Path]:
    every = {parent for path in directories for parent in (path, *path.parents) if parent.is_relative_to(root)}
    return sorted(every)
