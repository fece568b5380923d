"""For tests that compare the bytes of a DuckDB file before and after."""

from pathlib import Path

import duckdb

from lab_pipeline.storage.duck_file import DuckFile


def leave_no_log(path: Path) -> None:
    """Bring a file to rest: nobody in this process has it open, and no log is left to be shortened some time later.

    A transaction that makes the log long has it shortened by a thread once nobody waits, which rewrites the file.
    """
    file = DuckFile.at(path)
    file.close()
    file.stop_watching()
    file.close()  # waits for what the thread was about to do
    with duckdb.connect(path) as connection:
        connection.execute("CHECKPOINT")
