"""Copies of the run storage to look into and to keep, taken while everything runs."""

from pathlib import Path

from lab_pipeline.files.atomic import drafted
from lab_pipeline.files.errors import StorageError
from lab_pipeline.storage.duck_file import DEFAULT_TIMEOUT_SECONDS, DuckFile
from lab_pipeline.storage.plain_path import quoted

_RUNS = """
    SELECT
        runs.run_id,
        pipeline_name AS job_name,
        status,
        create_timestamp AS created_at,
        update_timestamp AS updated_at,
        to_timestamp(start_time) AS started_at,
        to_timestamp(end_time) AS ended_at,
        tags,
        run_body AS body
    FROM runs
    LEFT JOIN (
        SELECT run_id, map_from_entries(list(struct_pack(k := key, v := value) ORDER BY id)) AS tags
        FROM run_tags
        GROUP BY run_id
    ) AS tags ON tags.run_id = runs.run_id
    ORDER BY runs.id
"""


def export_runs(database: Path, destination: Path, *, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> int:
    """Write all runs in one state to `destination`, and return how many there are.

    Args:
        database: the run storage's file; it may be in use.
        destination: ``*.duckdb`` gets a whole copy, which a run storage can be made of; ``*.parquet`` one row a run,
            with its tags as a map and times in UTC. What was there is replaced, when the new file is complete.
        timeout: seconds to wait for others.

    Raises:
        StorageError: the name ends otherwise, or a file cannot be read or written.
    """
    if destination.suffix not in {".duckdb", ".parquet"}:
        raise StorageError(f"{destination}: runs are exported to a name that ends in .parquet or .duckdb")
    if not destination.parent.is_dir():
        raise StorageError(f"{destination}: there is no directory {destination.parent}")
    if destination.resolve() == database.resolve():
        raise StorageError(f"{destination}: that is the live file itself; name another")
    file = DuckFile.at(database)
    with file.transaction(write=False, timeout=timeout) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM runs")
        if destination.suffix == ".duckdb":
            file.copy_to(destination, timeout=timeout)
        else:
            with drafted(destination) as draft:
                connection.raw.execute(f"COPY ({_RUNS}) TO '{quoted(draft)}' (FORMAT parquet, COMPRESSION zstd)")
    return int(count)
