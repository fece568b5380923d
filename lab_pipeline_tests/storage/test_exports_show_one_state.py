"""Exports of the run storage are complete copies of one moment, taken while it is in use."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterRun

from lab_pipeline.files.errors import StorageError
from lab_pipeline.storage.export import export_runs
from lab_pipeline.storage.run_storage import DuckDBRunStorage
from lab_pipeline_tests.storage.talking import StartPython, said


def test_parquet_has_a_row_for_each_run_with_its_tags(
    storage: DuckDBRunStorage, database: Path, tmp_path: Path
) -> None:
    tagged = storage.add_run(DagsterRun(job_name="job", tags={"a": "1", "b": "it's"}))
    bare = storage.add_run(DagsterRun(job_name="other"))
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    storage.handle_run_event(tagged.run_id, DagsterEvent(DagsterEventType.PIPELINE_START.value, "job"), when)

    destination = tmp_path / "it's here.parquet"
    assert export_runs(database, destination) == 2

    rows = pl.read_parquet(destination).to_dicts()
    assert [row["run_id"] for row in rows] == [tagged.run_id, bare.run_id]
    assert [row["status"] for row in rows] == ["STARTED", "NOT_STARTED"]
    assert [row["job_name"] for row in rows] == ["job", "other"]
    assert [row["started_at"] for row in rows] == [when, None]
    assert rows[0]["tags"] == {"a": "1", "b": "it's"}
    assert rows[1]["tags"] is None


def test_a_duckdb_copy_is_a_storage_itself(storage: DuckDBRunStorage, database: Path, tmp_path: Path) -> None:
    run = storage.add_run(DagsterRun(job_name="job", tags={"a": "1"}))
    destination = tmp_path / "copy.duckdb"
    assert export_runs(database, destination) == 1
    copy = DuckDBRunStorage(destination)
    assert copy.get_runs() == [run]
    copy.add_run(DagsterRun(job_name="only in the copy"))
    assert [record.storage_id for record in copy.get_run_records()] == [2, 1]
    assert storage.get_runs() == [run]


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("name", ["export.duckdb", "export.parquet"])
def test_an_export_amid_writes_sees_whole_transactions(
    name: str, database: Path, tmp_path: Path, start_python: StartPython
) -> None:
    code = """
import sys, uuid
from lab_pipeline.storage.duck_file import DuckFile
file = DuckFile.at(sys.argv[1])
while True:
    with file.transaction(write=True) as connection:  # a run and its tag, always both
        run_id = str(uuid.uuid4())
        connection.execute("INSERT INTO runs (run_id, run_body) VALUES (?, '{}')", [run_id])
        connection.execute("INSERT INTO run_tags (run_id, key, value) VALUES (?, 'a', 'b')", [run_id])
    print("more", flush=True)
"""
    writer = start_python(code, database)
    for _ in range(5):
        assert said(writer) == "more"
    destination = tmp_path / name
    counts = [export_runs(database, destination) for _ in range(3)]
    assert counts == sorted(counts)
    assert counts[0] >= 5
    if name.endswith("parquet"):
        frame = pl.read_parquet(destination)
        assert frame["tags"].null_count() == 0
        assert len(frame) == counts[-1]
    else:
        with duckdb.connect(str(destination), read_only=True) as copy:
            assert copy.execute("SELECT count(*) FROM runs").fetchone() == (counts[-1],)
            assert copy.execute("SELECT count(DISTINCT run_id) FROM run_tags").fetchone() == (counts[-1],)
    assert writer.poll() is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("runs.csv", "ends in .parquet or .duckdb"),
        ("absent/runs.parquet", "there is no directory"),
        ("runs.duckdb", "the live file itself"),
    ],
)
def test_a_destination_that_cannot_be_is_an_error(
    name: str, message: str, storage: DuckDBRunStorage, database: Path, tmp_path: Path
) -> None:
    assert storage.get_runs_count() == 0
    with pytest.raises(StorageError, match=message):
        export_runs(database, tmp_path / name)


def test_a_missing_storage_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent\.duckdb does not exist"):
        export_runs(tmp_path / "absent.duckdb", tmp_path / "export.parquet")
    assert list(tmp_path.glob("export*")) == []
