"""What was acknowledged survives the death of its writer, a torn log and a full disk; nothing else is there."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from dagster import DagsterRun, DagsterRunStatus

from lab_pipeline.files.errors import StorageError
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.storage.run_storage import DuckDBRunStorage
from lab_pipeline_tests.storage.talking import StartPython, said

ROUNDS = 25
WRITERS = 2

# Forks a writer for every line it reads. A writer notes in a file of its own each thing that was stored, once it was.
NURSERY = """
import os, sys, uuid
from dagster import DagsterEvent, DagsterEventType, DagsterRun
from lab_pipeline.storage.run_storage import DuckDBRunStorage

def write(database, notes):
    storage = DuckDBRunStorage(database)
    while True:
        run_id = str(uuid.uuid4())
        storage.add_run(DagsterRun(job_name="job", run_id=run_id, tags={"one": run_id, "two": run_id}))
        os.write(notes, f"run {run_id}\\n".encode())
        storage.handle_run_event(run_id, DagsterEvent(DagsterEventType.PIPELINE_SUCCESS.value, "job"))
        os.write(notes, f"success {run_id}\\n".encode())
        storage.add_run_tags(run_id, {"three": run_id})
        os.write(notes, f"tagged {run_id}\\n".encode())

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        write(sys.argv[1], os.open(line.strip(), os.O_WRONLY | os.O_CREAT))
    print(child, flush=True)
"""


@pytest.mark.long
def test_fifty_killed_writers_lose_nothing_they_acknowledged(
    database: Path, tmp_path: Path, start_python: StartPython
) -> None:
    storage = DuckDBRunStorage(database, timeout=20)
    chance = random.Random(7)  # noqa: S311
    notes = [tmp_path / f"notes {number}" for number in range(ROUNDS * WRITERS)]
    nursery = start_python(NURSERY, database)
    assert nursery.stdin is not None
    assert said(nursery) == "ready"
    for first in range(0, len(notes), WRITERS):
        writers = []
        for path in notes[first : first + WRITERS]:
            nursery.stdin.write(f"{path}\n")
            nursery.stdin.flush()
            writers.append(int(said(nursery)))
        if first % (3 * WRITERS):  # mostly both are in the middle of their work, however slow the machine
            await_notes(notes[first : first + WRITERS])
        time.sleep(chance.uniform(0.05, 0.6))
        for writer in writers:
            os.kill(writer, signal.SIGKILL)
        began = time.monotonic()
        storage.add_run(DagsterRun(job_name="check"))  # no lock has stayed
        assert time.monotonic() - began < 5

    lines = [line for path in notes if path.exists() for line in path.read_text().split("\n")[:-1]]
    assert_sound(storage, [(word, run_id) for word, run_id in map(str.split, lines)])


def await_notes(paths: list[Path]) -> None:
    deadline = time.monotonic() + 60
    while not all(path.exists() and path.stat().st_size for path in paths):
        assert time.monotonic() < deadline, "the writers store nothing"
        time.sleep(0.01)


def assert_sound(storage: DuckDBRunStorage, acknowledged: list[tuple[str, str]]) -> None:
    assert Counter(word for word, _ in acknowledged)["run"] > ROUNDS
    records = storage.get_run_records()
    runs = {record.dagster_run.run_id: record.dagster_run for record in records}
    assert len(runs) == len(records)
    assert len({record.storage_id for record in records}) == len(records)
    for word, run_id in acknowledged:
        run = runs[run_id]
        if word in {"success", "tagged"}:
            assert run.status is DagsterRunStatus.SUCCESS
        if word == "tagged":
            assert run.tags["three"] == run_id
    with DuckFile.at(storage._file.path).transaction(write=False) as connection:  # noqa: SLF001
        rows = connection.execute("SELECT run_id, list(key ORDER BY key) FROM run_tags GROUP BY run_id")
    stored = dict(rows)
    assert stored.keys() <= runs.keys()  # no tag without its run
    for run_id, run in runs.items():  # no run without its tags, none of them twice
        assert stored.get(run_id, []) == sorted(run.tags_for_storage())


@pytest.fixture
def file(tmp_path: Path) -> DuckFile:
    file = DuckFile.at(tmp_path / "notes.duckdb")
    with file.transaction(write=True) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER UNIQUE, text VARCHAR)")
    file.close()
    return file


def test_a_torn_log_costs_no_more_than_the_last_transaction(file: DuckFile) -> None:
    for number in range(20):
        with file.transaction(write=True) as connection:
            connection.execute("INSERT INTO notes VALUES (?, repeat('x', 100))", [number])
    file.close()
    log = file.path.with_name(file.path.name + ".wal")
    os.truncate(log, log.stat().st_size - 37)

    with file.transaction(write=False) as connection:
        assert connection.execute("SELECT count(*), max(id) FROM notes") == [(19, 18)]
    with file.transaction(write=True) as connection:
        connection.execute("INSERT INTO notes VALUES (19, 'again')")
    with file.transaction(write=False) as connection:
        assert connection.execute("SELECT count(*), max(id) FROM notes") == [(20, 19)]


def test_a_killed_transaction_never_was(file: DuckFile, start_python: StartPython) -> None:
    code = """
import os, signal, sys
from lab_pipeline.storage.duck_file import DuckFile
with DuckFile.at(sys.argv[1]).transaction(write=True) as connection:
    connection.execute("INSERT INTO notes VALUES (1, 'half')")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert start_python(code, file.path).wait() == -signal.SIGKILL
    with file.transaction(write=True) as connection:
        assert connection.execute("SELECT count(*) FROM notes") == [(0,)]


FILL_A_DISK = """
import resource, signal, sys
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.files.errors import StorageError
file = DuckFile.at(sys.argv[1])
if len(sys.argv) > 2:  # no disk of its own: let files not grow, which fails alike
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
with file.transaction(write=True) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER UNIQUE, text VARCHAR)")
stored = 0
try:
    for number in range(1000):
        with file.transaction(write=True) as connection:
            connection.execute("INSERT INTO notes SELECT ?, string_agg(uuid()) FROM range(5000)", [number])
        stored += 1
except StorageError as error:
    print(stored)
    print(error)
with file.transaction(write=False) as connection:  # reading goes on
    print(connection.execute("SELECT count(*) FROM notes")[0][0])
"""


@pytest.mark.parametrize("disk", ["limit", "tmpfs"])
def test_a_full_disk_is_a_clear_error_and_keeps_what_was_stored(disk: str, file: DuckFile, tmp_path: Path) -> None:
    path = file.path
    if disk == "limit":
        command = [sys.executable, "-c", FILL_A_DISK, str(path), "limit"]
    else:
        mount = f"mount -t tmpfs -o size=6m none {tmp_path} && "
        probe = subprocess.run(
            ["unshare", "-mr", "sh", "-c", mount + "true"], capture_output=True, text=True, check=False
        )
        if probe.returncode:
            pytest.skip(f"nothing can be mounted here: {probe.stderr.strip()}")
        script = mount + 'exec "$1" -c "$2" "$3"'  # where the file is not yet
        command = ["unshare", "-mr", "sh", "-c", script, "sh", sys.executable, FILL_A_DISK, str(path)]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    stored, error, found = done.stdout.strip().splitlines()
    assert int(stored) == int(found) > 5
    assert str(path) in error
    assert "nothing of it is stored" in error or "cannot be written" in error
    if disk == "limit":  # and with room again, all is there and goes on
        with file.transaction(write=True) as connection:
            connection.execute("INSERT INTO notes VALUES (-1, 'room')")
            assert connection.execute("SELECT count(*) FROM notes") == [(int(stored) + 1,)]


def test_a_failed_write_leaves_the_storage_usable_for_the_same_process(file: DuckFile) -> None:
    with pytest.raises(StorageError), file.transaction(write=True) as connection:  # noqa: PT012
        connection.execute("INSERT INTO notes VALUES (1, 'lost')")
        raise StorageError("as if the disk had failed")
    with file.transaction(write=True) as connection:
        connection.execute("INSERT INTO notes VALUES (2, 'kept')")
    with file.transaction(write=False) as connection:
        assert connection.execute("SELECT text FROM notes") == [("kept",)]
