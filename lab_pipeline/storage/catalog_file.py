"""The lab's catalog: one DuckDB file that strategies, idempotency keys and statistics share, with one layout."""

from pathlib import Path

from lab_pipeline.domain.errors import later_layout
from lab_pipeline.files.errors import StorageError
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.duck_file import DuckFile

LAYOUT = 1
"""Of all tables of the catalog together. A file without a record of it is of the first."""

_seen: dict[Path, int] = {}
"""Catalogs whose layout this process knows, by the inode that it looked at: a restored one is another."""


def open_catalog(path: Path) -> DuckFile:
    """Return the catalog, which need not exist yet.

    Raises:
        StorageError: a later version of the lab has written it.
    """
    file = DuckFile.at(path)
    inode = file.path.stat().st_ino if file.exists() else None
    if inode is not None and _seen.get(file.path) != inode:
        with file.transaction(write=False) as connection:
            _is_recorded(connection, file.path)
        _seen[file.path] = inode
    return file


def record_layout(connection: DuckConnection, path: Path) -> None:
    """Record the layout in the transaction that creates tables, unless it is there.

    Raises:
        StorageError: a later version of the lab has written the file.
    """
    if not _is_recorded(connection, path):
        connection.execute("CREATE TABLE catalog_layout (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO catalog_layout VALUES (?)", [LAYOUT])


def _is_recorded(connection: DuckConnection, path: Path) -> bool:
    """Return whether the layout is on record; it must be none of a later version."""
    if not connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'catalog_layout'"):
        return False
    ((layout,),) = connection.execute("SELECT max(version) FROM catalog_layout")
    if layout > LAYOUT:
        raise StorageError(later_layout(f"the catalog {path}", layout, LAYOUT))
    return True
