"""A storage's file outlives versions: of this storage, of Dagster's schema, and of DuckDB."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, RunsFilter, instance_for_test
from dagster._core.storage.runs.schema import RunStorageSqlMetadata

from lab_pipeline.files.errors import StorageError
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.storage.run_storage import DuckDBRunStorage

OLDER_DUCKDB = "duckdb==1.5.*"


def test_a_new_file_has_all_that_dagster_declares_and_nothing_to_migrate(
    storage: DuckDBRunStorage, database: Path
) -> None:
    with DuckFile.at(database).transaction(write=False) as connection:
        rows = connection.execute(
            "SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() GROUP BY 1"
        )
    columns = dict(rows)
    for table in RunStorageSqlMetadata.sorted_tables:
        assert columns[table.name] == [column.name for column in table.columns]
    current, head = storage.alembic_version()
    assert current == head
    said: list[str] = []
    storage.migrate(said.append)
    storage.optimize(said.append)
    assert all("Skipping already applied" in line for line in said)


def test_a_file_of_an_older_schema_opens_and_grows_when_migrated(storage: DuckDBRunStorage, database: Path) -> None:
    run = storage.add_run(DagsterRun(job_name="job", tags={"a": "b"}))
    with DuckFile.at(database).transaction(write=True) as connection:
        connection.execute("ALTER TABLE runs DROP COLUMN backfill_id")
        connection.execute("ALTER TABLE runs DROP COLUMN start_time")
        connection.execute("DROP TABLE backfill_tags")
        connection.execute("DROP SEQUENCE backfill_tags_id_seq")
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
        connection.execute("DELETE FROM secondary_indexes WHERE name = 'run_backfill_id'")

    older = DuckDBRunStorage(database)
    assert not older.has_backfill_id_column()
    assert not older.has_run_stats_index_cols()
    assert not older.has_backfill_tags_table()
    older.add_run(DagsterRun(job_name="job"))
    assert len(older.get_run_records()) == 2
    assert older.alembic_version()[0] == "older"

    DuckDBRunStorage(database).upgrade()  # as another process would
    older.migrate()
    assert older.has_backfill_id_column()
    assert older.has_run_stats_index_cols()
    assert older.has_backfill_tags_table()
    assert older.alembic_version()[0] == older.alembic_version()[1]
    assert older.get_run_records(RunsFilter(run_ids=[run.run_id]))[0].dagster_run.tags["a"] == "b"


@pytest.mark.usefixtures("storage")
def test_a_file_of_a_later_layout_is_refused(database: Path) -> None:
    with DuckFile.at(database).transaction(write=True) as connection:
        connection.execute("UPDATE run_storage_layout SET version = 99")
    with pytest.raises(StorageError, match="layout 99 by a later version"):
        DuckDBRunStorage(database)


def test_dagster_instance_migrate_works_on_the_configured_storage(tmp_path: Path) -> None:
    configuration = """
telemetry: {enabled: false}
run_storage:
  module: lab_pipeline.storage.run_storage
  class: DuckDBRunStorage
  config:
    path: {env: RUNS_DATABASE}
    timeout: {env: RUNS_TIMEOUT}
"""
    (tmp_path / "dagster.yaml").write_text(configuration)
    database = tmp_path / "elsewhere" / "runs.duckdb"
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(tmp_path),
        "RUNS_DATABASE": str(database),
        "RUNS_TIMEOUT": "7",
    }
    command = [sys.executable, "-m", "dagster", "instance", "migrate"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "DuckDBRunStorage" in done.stdout
    assert DuckDBRunStorage(database).get_runs() == []


def test_the_configuration_reaches_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = {
        "module": "lab_pipeline.storage.run_storage",
        "class": "DuckDBRunStorage",
        "config": {"path": "runs.duckdb", "timeout": 7},
    }
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with DagsterInstance.from_config(str(tmp_path)) as default:
        assert not isinstance(default.run_storage, DuckDBRunStorage)
    with instance_for_test(overrides={"run_storage": block}, temp_dir=str(tmp_path)) as instance:
        assert isinstance(instance.run_storage, DuckDBRunStorage)
        instance.run_storage.add_run(DagsterRun(job_name="job"))
        assert instance.get_ref().run_storage_data is not None
    assert DuckDBRunStorage(tmp_path / "runs.duckdb").get_runs_count() == 1


def test_a_relative_path_without_a_home_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with pytest.raises(StorageError, match=r"runs\.duckdb is relative to DAGSTER_HOME"):
        DuckDBRunStorage("runs.duckdb")


@pytest.mark.slow
def test_the_last_duckdb_1_reads_the_file_and_its_own_files_open(
    storage: DuckDBRunStorage, database: Path, tmp_path: Path, fetch_distribution: Callable[..., Path]
) -> None:
    older = tmp_path / "older"
    with zipfile.ZipFile(fetch_distribution(OLDER_DUCKDB, "--only-binary", ":all:")) as wheel:
        wheel.extractall(older)
    runs = [storage.add_run(DagsterRun(job_name=f"job {number}", tags={"a": "b"})) for number in range(50)]
    DuckFile.at(database).close()
    code = """
import duckdb, sys
assert duckdb.__version__.startswith("1.5."), duckdb.__version__
with duckdb.connect(sys.argv[1]) as connection:  # for writing, which brings its log into the file too
    print(connection.execute("SELECT count(*), count(DISTINCT run_body) FROM runs").fetchone())
    connection.execute("DELETE FROM runs WHERE pipeline_name = 'job 7'")
    connection.execute("DELETE FROM run_tags WHERE run_id NOT IN (SELECT run_id FROM runs)")
"""
    environment = {**os.environ, "PYTHONPATH": str(older)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(database)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(50, 50)"
    again = DuckDBRunStorage(database)
    assert again.get_runs_count() == 49
    again.add_run(DagsterRun(job_name="after"))
    assert {run.run_id for run in again.get_runs()} >= {run.run_id for run in runs if run.job_name != "job 7"}
