"""Processes and threads that write and read one file at once lose nothing and see no halves."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dagster import DagsterRun, DagsterRunStatus

from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.storage.run_storage import DuckDBRunStorage
from lab_pipeline_tests.storage.talking import StartPython, said

PROCESSES = 8

# Moves amounts between accounts, counts its transactions, and checks that no sum is ever off.
TRANSFER = """
import json, random, sys, time
from lab_pipeline.storage.duck_file import DuckFile
file, number, seconds = DuckFile.at(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
chance = random.Random(number)
print("ready", flush=True)
sys.stdin.readline()
writes, reads, longest = 0, 0, 0.0
end = time.monotonic() + seconds
while time.monotonic() < end:
    began = time.monotonic()
    if chance.random() < 0.5:
        source, target = chance.sample(range(10), 2)
        with file.transaction(write=True) as connection:
            ((amount,),) = connection.execute("SELECT amount FROM accounts WHERE id = ?", [source])
            connection.execute("UPDATE accounts SET amount = ? WHERE id = ?", [amount - 1, source])
            connection.execute("UPDATE accounts SET amount = amount + 1 WHERE id = ?", [target])
            connection.execute("INSERT INTO transfers VALUES (?, ?)", [number, writes])
        writes += 1
    else:
        with file.transaction(write=False) as connection:
            ((total,),) = connection.execute("SELECT sum(amount) FROM accounts")
            assert total == 1000, total
            own = connection.execute("SELECT count(*) FROM transfers WHERE process = ?", [number])
            assert own == [(writes,)], (own, writes)
        reads += 1
    longest = max(longest, time.monotonic() - began)
    if chance.random() < 0.2:
        time.sleep(chance.uniform(0, 0.03))
print(json.dumps({"writes": writes, "reads": reads, "longest": longest}), flush=True)
"""


@pytest.mark.long
def test_transfers_between_accounts_always_add_up(tmp_path: Path, start_python: StartPython) -> None:
    file = DuckFile.at(tmp_path / "accounts.duckdb")
    with file.transaction(write=True) as connection:
        connection.execute("CREATE TABLE accounts AS SELECT range AS id, 100 AS amount FROM range(10)")
        connection.execute("CREATE TABLE transfers (process INTEGER, number INTEGER)")
    file.close()

    workers = [start_python(TRANSFER, file.path, number, 8) for number in range(PROCESSES)]
    for worker in workers:
        assert said(worker) == "ready"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    results = [json.loads(said(worker)) for worker in workers]

    with file.transaction(write=False) as connection:
        assert connection.execute("SELECT sum(amount) FROM accounts") == [(1000,)]
        counted = dict(connection.execute("SELECT process, count(DISTINCT number) FROM transfers GROUP BY process"))
        assert connection.execute("SELECT count(*) FROM transfers") == [(sum(result["writes"] for result in results),)]
    assert counted == {number: result["writes"] for number, result in enumerate(results)}
    assert min(result["writes"] for result in results) > 5, results  # nobody starved
    assert max(result["longest"] for result in results) < 8, results


# Uses a run storage as Dagster does, and prints what was acknowledged.
USE_A_RUN_STORAGE = """
import json, random, sys, time, uuid
from dagster import DagsterEvent, DagsterEventType, DagsterRun, RunsFilter
from dagster._daemon.types import DaemonHeartbeat
from lab_pipeline.storage.run_storage import DuckDBRunStorage
storage, number, shared = DuckDBRunStorage(sys.argv[1]), int(sys.argv[2]), sys.argv[4]
chance = random.Random(number)
print("ready", flush=True)
sys.stdin.readline()
statuses, tags = {}, 0
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end or not statuses:
    call = chance.random()
    if call < 0.2 or not statuses:
        run_id = str(uuid.uuid4())
        storage.add_run(DagsterRun(job_name="job", run_id=run_id, tags={"process": str(number)}))
        statuses[run_id] = "NOT_STARTED"
    elif call < 0.45:
        run_id = chance.choice(list(statuses))
        kind = chance.choice(["START", "SUCCESS", "CANCELED"])
        storage.handle_run_event(run_id, DagsterEvent(getattr(DagsterEventType, f"PIPELINE_{kind}").value, "job"))
        statuses[run_id] = {"START": "STARTED"}.get(kind, kind)
    elif call < 0.5:
        storage.add_run_tags(shared, {f"{number}/{tags}": "x"})  # all processes add to one run
        tags += 1
    elif call < 0.6:
        storage.add_daemon_heartbeat(DaemonHeartbeat(time.time(), f"daemon {number}", "id", []))
        storage.set_cursor_values({"one": str(number), "two": str(number)})
    elif call < 0.7:
        values = storage.get_cursor_values({"one", "two"})
        assert len(set(values.values())) <= 1, values  # both or neither
    elif call < 0.85:
        run_id = chance.choice(list(statuses))
        (record,) = storage.get_run_records(RunsFilter(run_ids=[run_id]))
        assert record.dagster_run.status.value == statuses[run_id], "a stale read"
    else:
        own = storage.get_run_records(RunsFilter(tags={"process": str(number)}), limit=25)
        assert len(own) == min(len(statuses), 25)
print(json.dumps({"statuses": statuses, "tags": tags}), flush=True)
"""


@pytest.mark.long
def test_runs_of_many_processes_are_all_there_and_current(database: Path, start_python: StartPython) -> None:
    storage = DuckDBRunStorage(database)
    shared = storage.add_run(_run()).run_id
    workers = [start_python(USE_A_RUN_STORAGE, database, number, 8, shared) for number in range(PROCESSES)]
    for worker in workers:
        assert said(worker) == "ready"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    results = [json.loads(said(worker)) for worker in workers]

    records = storage.get_run_records()
    runs = {record.dagster_run.run_id: record.dagster_run for record in records}
    expected = {run_id: status for result in results for run_id, status in result["statuses"].items()}
    assert len(records) == len(runs) == len(expected) + 1  # none lost, none twice, no phantom
    assert len({record.storage_id for record in records}) == len(records)
    assert {run_id: runs[run_id].status for run_id in expected} == {
        run_id: DagsterRunStatus(status) for run_id, status in expected.items()
    }
    added = {f"{number}/{tag}" for number, result in enumerate(results) for tag in range(result["tags"])}
    assert runs[shared].tags.keys() == added  # no tag of another process was overwritten
    assert len(storage.get_daemon_heartbeats()) <= PROCESSES


def _run() -> DagsterRun:

    return DagsterRun(job_name="shared")


def test_two_processes_that_create_the_storage_at_once_both_succeed(database: Path, start_python: StartPython) -> None:
    code = """
import sys
from dagster import DagsterRun
from lab_pipeline.storage.run_storage import DuckDBRunStorage
print("ready", flush=True)
sys.stdin.readline()
storage = DuckDBRunStorage(sys.argv[1])
storage.add_run(DagsterRun(job_name="job"))
print(storage.get_run_storage_id(), flush=True)
"""
    workers = [start_python(code, database) for _ in range(3)]
    for worker in workers:
        assert said(worker) == "ready"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    assert len({said(worker) for worker in workers}) == 1
    assert DuckDBRunStorage(database).get_runs_count() == 3


FORK_AMID_THREADS = """
import os, sys, threading, time
from lab_pipeline.storage.duck_file import DuckFile
file = DuckFile.at(sys.argv[1])
stop = threading.Event()
failures = []

def add(word):
    with file.transaction(write=True, timeout=30) as connection:
        connection.sqlalchemy  # which the child must not inherit either
        connection.execute("INSERT INTO notes VALUES (?)", [word])

def work():
    while not stop.is_set():
        try:
            add("thread")
            with file.transaction(write=False) as connection:
                connection.execute("SELECT count(*) FROM notes")
        except BaseException as error:
            failures.append(error)
            raise

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for number in range(10):
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for _ in range(3):
                add("child")
            status = 0
        finally:
            if number % 2:
                os._exit(status)
            threading._shutdown = lambda: None  # the threads did not come along
            sys.exit(status)
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
stop.set()
for thread in threads:
    thread.join()
assert statuses == [0] * 10, statuses
assert not failures
with file.transaction(write=False) as connection:
    print(connection.execute("SELECT count(*) FROM notes WHERE text = 'child'")[0][0])
"""


def test_children_forked_amid_working_threads_use_the_file_too(tmp_path: Path) -> None:
    path = _notes(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FORK_AMID_THREADS, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("30", 0), done.stderr
    assert "Traceback" not in done.stderr


FORK_INSIDE = """
import os, sys
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.files.errors import StorageError
file = DuckFile.at(sys.argv[1])
with file.transaction(write=True) as connection:
    connection.execute("INSERT INTO notes VALUES ('parent')")
    child = os.fork()
    if child == 0:
        try:
            connection.execute("INSERT INTO notes VALUES ('child')")
        except StorageError as error:
            print(error, flush=True)
        try:
            with file.transaction(write=True, timeout=0.2):
                pass
        except StorageError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
with file.transaction(write=False) as connection:
    print(connection.execute("SELECT text FROM notes"))
"""


def test_a_child_forked_inside_a_transaction_leaves_it_to_the_parent(tmp_path: Path) -> None:
    path = _notes(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FORK_INSIDE, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    inherited, new, stored = done.stdout.strip().splitlines()
    assert "belongs to the parent process" in inherited
    assert f"stayed locked by process {os.getpid()}" not in new
    assert "stayed locked by process" in new
    assert stored == "[('parent',)]"


def _notes(directory: Path) -> str:
    file = DuckFile.at(directory / "notes.duckdb")
    with file.transaction(write=True) as connection:
        connection.execute("CREATE TABLE notes (text VARCHAR)")
    file.close()
    return str(file.path)


def test_a_new_process_sees_what_was_acknowledged_a_moment_ago(tmp_path: Path, start_python: StartPython) -> None:
    code = """
import sys
from lab_pipeline.storage.duck_file import DuckFile
file = DuckFile.at(sys.argv[1])
for line in sys.stdin:
    with file.transaction(write=False) as connection:
        print(connection.execute("SELECT count(*) FROM notes")[0][0], flush=True)
"""
    file = DuckFile.at(_notes(tmp_path))
    reader = start_python(code, file.path)
    assert reader.stdin is not None
    for number in range(60):
        with file.transaction(write=True) as connection:
            connection.execute("INSERT INTO notes VALUES ('x')")
        reader.stdin.write("look\n")
        reader.stdin.flush()
        assert said(reader) == str(number + 1)
        if number % 7 == 0:
            time.sleep(0.03)  # now and then leave the lease, which close steps keep
