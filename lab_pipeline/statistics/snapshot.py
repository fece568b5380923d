"""The catalog and the files of the statistics in one state, for queries of anybody's own."""

import os
from pathlib import Path

import duckdb

from lab_pipeline.statistics.catalog import NotComputedError
from lab_pipeline.statistics.refreshing import Statistics
from lab_pipeline.statistics.segments import PATHS, TRADES
from lab_pipeline.storage.catalog_file import open_catalog
from lab_pipeline.storage.plain_path import plain, quoted


def take_snapshot(statistics: Statistics, directory: Path) -> Path:
    """Copy the catalog while everything goes on; a writer waits no longer than it takes to copy its tables.

    Args:
        statistics: of the lab.
        directory: which is empty, and on the disk of the statistics: their files are not copied but linked.

    Returns:
        A DuckDB file with the catalog's tables and, once there are statistics, views `trades` and `paths` with the rows
        of all counted runs. Who opens it reads files of the directory, which nobody changes.

    Raises:
        StorageError: the catalog cannot be read, or a later version of the lab has written it.
    """
    path = directory / "snapshot.duckdb"
    catalog, segments = open_catalog(statistics.catalog.path), statistics.files
    with catalog.transaction(write=False):
        try:
            with statistics.catalog.reading() as (_, state):
                names = [segment.name for segment in state.segments]
        except NotComputedError:
            names = []
        linked = {kind: [segments.path(name, kind) for name in names] for kind in (TRADES, PATHS)}
        for file in (file for files in linked.values() for file in files):
            os.link(file, directory / file.name)
        catalog.copy_to(path)
    with duckdb.connect(plain(path)) as connection:
        for kind, files in linked.items():
            if files:
                paths = ", ".join(f"'{quoted(directory / file.name)}'" for file in files)
                connection.execute(f"CREATE VIEW {kind} AS FROM read_parquet([{paths}])")
    return path
