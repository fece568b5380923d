"""Changes that happen as a whole: files put in their places, then one commit to the table's log that names them.

A writer of a directory holds an advisory lock (flock; a killed process drops its own) for as long as it works, so that
one that comes second waits instead of working for nothing. Its scratch is a directory named as its files are: if that
is still there when the next writer begins, the files that no version of the table has are removed with it. Writers of
a bucket race: whoever commits second begins anew, and files that nobody names go with the next retention.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_pipeline.files import atomic
from lab_pipeline.files.locks import locked
from lab_pipeline.lake import adoption, tables
from lab_pipeline.lake.layout import Table
from lab_pipeline.lake.store import Store
from lab_pipeline.lake.tables import Addition, DataFile, Snapshot

WRITE_LOCK = ".writer.lock"
STAGING = ".staging"
RECEIPTS = "receipts"
UPLOADS = 8
"""Files that are sent to a bucket at once."""


@contextmanager
def writing(store: Store) -> Iterator["Transaction"]:
    """Give the one writer of a directory, or one of a bucket's, a transaction; without `commit` nothing changes."""
    with ExitStack() as held:
        if store.directory is not None:
            atomic.make_directory(store.directory)
            held.enter_context(locked(store.directory / WRITE_LOCK))
        adoption.require_layout(store, writing=True)
        for table in tables.TABLES:
            if not store.size(f"{table.name}/{tables.LOG}/{0:020d}.json"):
                tables.create(store, table)
        if store.directory is None:
            directory = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="lab-")))
            yield Transaction(store, uuid.uuid4().hex[:12], directory)
            return
        _sweep(store.directory)
        name = uuid.uuid4().hex[:12]
        directory = store.directory / STAGING / name
        directory.mkdir(parents=True)
        transaction = Transaction(store, name, directory)
        try:
            yield transaction
        finally:
            if transaction.is_placed:
                _sweep(store.directory)
            else:
                shutil.rmtree(store.directory / STAGING, ignore_errors=True)


@dataclass(frozen=True)
class _Change:
    file: Path
    addition: Addition
    replaces: tuple[DataFile, ...]


class Transaction:
    """New files on the side, and what they replace.

    Attributes:
        id: which the names of its files have.
        directory: for scratch.
        is_placed: whether files are in their places that no version has.
    """

    def __init__(self, store: Store, name: str, directory: Path) -> None:
        self._store = store
        self.id = name
        self.directory = directory
        self.is_placed = False
        self._changes: list[_Change] = []
        self._bases: dict[str, Snapshot] = {}

    def base(self, table: Table) -> Snapshot:
        """Return the version of a table that this changes."""
        if table.name not in self._bases:
            self._bases[table.name] = tables.snapshot(self._store, table)
        return self._bases[table.name]

    def replace(
        self,
        table: Table,
        values: Mapping[str, str],
        file: Path,
        statistics: Mapping[str, Any],
        replaced: tuple[DataFile, ...],
    ) -> None:
        """Have a file take the place of those of a partition.

        Args:
            table: of the rows.
            values: of the partition, by column.
            file: in the scratch directory; the disk has it.
            statistics: of its rows, by `tables.statistics`.
            replaced: what the base has there.
        """
        name = f"{tables.partition_of(table, values)}part-{self.id}.parquet"
        addition = Addition(name, file.stat().st_size, values, statistics)
        self._changes.append(_Change(file, addition, replaced))

    def commit(self, table: Table, note: Mapping[str, Any]) -> None:
        """Put everything into place, or nothing.

        Raises:
            Overtaken: if another writer was faster: begin anew.
        """
        if not self._changes:
            return
        places = [f"{table.name}/{change.addition.name}" for change in self._changes]
        files = [change.file for change in self._changes]
        self.is_placed = True
        if self._store.directory is None:
            with ThreadPoolExecutor(UPLOADS, thread_name_prefix="lake-upload") as uploads:
                list(uploads.map(self._store.take, files, places))
        else:
            for file, place in zip(files, places, strict=True):
                self._store.take(file, place)
            for directory in _with_parents({(self._store.directory / place).parent for place in places}, self._store):
                atomic.sync_directory(directory)
        removed = [file for change in self._changes for file in change.replaces]
        added = [change.addition for change in self._changes]
        tables.commit(self._store, table, self.base(table).version, added, removed, note={**note, "writer": self.id})
        self.is_placed = False


def leftovers(store: Store, *, remove: bool) -> int:
    """Measure what killed writers left beside the rows, in bytes, and remove it if wanted; 0 while somebody writes."""
    root = store.directory
    if root is None or not (root / STAGING).is_dir():
        return 0
    try:
        with locked(root / WRITE_LOCK, timeout_seconds=0):
            adoption.require_layout(store, writing=True)
            found = [path for path in (root / STAGING).rglob("*") if path.is_file()] + _unnamed(root)
            size = sum(path.stat().st_size for path in found)
            if remove:
                _sweep(root)
            return size
    except TimeoutError:
        return 0


def _sweep(root: Path) -> None:
    """Remove the scratch of writers that are no more, and first the files of theirs that were not committed."""
    if not (root / STAGING).is_dir():
        return
    for path in _unnamed(root):
        path.unlink(missing_ok=True)
    shutil.rmtree(root / STAGING, ignore_errors=True)


def _unnamed(root: Path) -> list[Path]:
    """List files whose writer has left its scratch and that the newest version lacks: no other writer came since."""
    store = Store.at(root)
    names = [path.name for path in (root / STAGING).iterdir()]
    there = [path for name in names for table in tables.TABLES for path in (root / table.name).rglob(f"part-{name}.*")]
    if not there:
        return []
    committed = {store.place(file.name) for table in tables.TABLES for file in tables.snapshot(store, table).files}
    return [path for path in there if str(path) not in committed]


def _with_parents(directories: set[Path], store: Store) -> list[Path]:
    root = store.directory
    assert root is not None  # noqa: S101 - of a bucket there are no directories
    return sorted({parent for path in directories for parent in (path, *path.parents) if parent.is_relative_to(root)})
