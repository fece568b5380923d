"""DuckDB files at rest: for tests that compare their bytes, and for homes that are copied."""

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


def content(path: Path) -> tuple[bytes, bytes]:
    """Return what is stored: the bytes of the file, and of its log, where a transaction's rows are at first."""
    log = Path(f"{path}.wal")
    return path.read_bytes(), log.read_bytes() if log.exists() else b""


def leave_no_logs(home: Path) -> None:
    """Bring every DuckDB file of a home to rest, so that a copy of the home is whole."""
    for path in home.rglob("*.duckdb"):
        leave_no_log(path)
