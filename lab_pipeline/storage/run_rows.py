"""Rows of the run storage's file for readers that have no Dagster: to import it takes longer than to read them."""

from collections.abc import Generator
from datetime import datetime
from pathlib import Path

from lab_pipeline.storage.duck_file import DuckFile

LAYOUT = 1
"""What this project decides about a file beyond Dagster's own tables. A file of a later layout is not touched."""
ROWS_AT_ONCE = 100
_NEWEST = """
    SELECT run_id, pipeline_name, status, create_timestamp, run_body
    FROM runs
    WHERE pipeline_name IN (SELECT unnest(?))
    ORDER BY create_timestamp DESC, id DESC
    LIMIT ? OFFSET ?
"""

Row = tuple[str, str, str, datetime, str]
"""Run id, name of the job, status, time of creation (UTC, without saying so), body as JSON."""


def newest_runs(path: Path, jobs: list[str]) -> Generator[Row] | None:
    """Return the runs of these jobs, newest first, as they are at the first that is taken.

    Returns:
        None where there is no such file, or one of another layout than this version writes.

    Raises:
        StorageError: if the file cannot be read.
    """
    file = DuckFile.at(path)
    if not file.exists():
        return None
    with file.transaction(write=False) as connection:
        tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()")}
        if "run_storage_layout" not in tables:
            return None
        if connection.execute("SELECT max(version) FROM run_storage_layout") != [(LAYOUT,)]:
            return None
    return _walk(file, jobs)


def _walk(file: DuckFile, jobs: list[str]) -> Generator[Row]:
    with file.transaction(write=False) as connection:
        offset = 0
        while rows := connection.execute(_NEWEST, [jobs, ROWS_AT_ONCE, offset]):
            yield from rows
            offset += len(rows)
