"""Who keeps others from a shared file is named, and others go on as soon as it is gone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from lab_pipeline.files.errors import StorageError, StorageTimeoutError
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline_tests.storage.talking import StartPython, said

STOP_INSIDE = """
import os, signal, sys
from lab_pipeline.storage.duck_file import DuckFile
with DuckFile.at(sys.argv[1]).transaction(write=sys.argv[2] == "write") as connection:
    connection.execute("SELECT count(*) FROM notes")
    print("inside", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""
STOP_AFTER_A_BURST = """
import os, signal, sys
from lab_pipeline.storage.duck_file import DuckFile
file = DuckFile.at(sys.argv[1])
for number in range(50):
    with file.transaction(write=True) as connection:
        connection.execute("INSERT INTO notes VALUES (?)", [f"burst {number}"])
    if number == 49:
        os.write(1, b"stopping\\n")
        os.kill(os.getpid(), signal.SIGSTOP)
"""
HOLD_WITH_DUCKDB = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("open", flush=True)
sys.stdin.readline()
"""
COMPUTE_AFTER_A_BURST = """
import sys, time
from lab_pipeline.storage.duck_file import DuckFile
file = DuckFile.at(sys.argv[1])
for number in range(5):
    with file.transaction(write=True) as connection:
        connection.execute("INSERT INTO notes VALUES ('burst')")
print("computing", flush=True)
end = time.monotonic() + 20
while time.monotonic() < end:
    pass
"""


READ_WITHOUT_PAUSE = """
import sys, threading
from lab_pipeline.storage.duck_file import DuckFile
file = DuckFile.at(sys.argv[1])
def read():
    while True:
        with file.transaction(write=False) as connection:
            connection.execute("SELECT count(*) FROM notes")
threads = [threading.Thread(target=read, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
print("reading", flush=True)
sys.stdin.readline()
"""
UNSHARED = ["unshare", "--mount", "--map-root-user", "sh", "-c"]


@pytest.fixture
def file(tmp_path: Path) -> DuckFile:
    file = DuckFile.at(tmp_path / "notes.duckdb")
    with file.transaction(write=True) as connection:
        connection.execute("CREATE TABLE notes (text VARCHAR)")
    return file


def add(file: DuckFile, timeout: float = 20) -> None:
    with file.transaction(write=True, timeout=timeout) as connection:
        connection.execute("INSERT INTO notes VALUES ('added')")


def count(file: DuckFile, timeout: float = 20) -> int:
    with file.transaction(write=False, timeout=timeout) as connection:
        return int(connection.execute("SELECT count(*) FROM notes")[0][0])


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_writer_gives_up_on_a_stopped_process_and_goes_on_when_it_dies(
    mode: str, file: DuckFile, start_python: StartPython
) -> None:
    holder = start_python(STOP_INSIDE, file.path, mode)
    assert said(holder) == "inside"

    began = time.monotonic()
    with pytest.raises(StorageTimeoutError, match=rf"stayed locked by process {holder.pid} .*raise the .*timeout"):
        add(file, timeout=0.5)
    assert time.monotonic() - began < 3

    holder.send_signal(signal.SIGKILL)
    add(file)
    assert count(file) == 1


def test_a_process_stopped_while_it_stays_attached_blocks_nobody_beyond_the_timeout(
    file: DuckFile, start_python: StartPython
) -> None:
    holder = start_python(STOP_AFTER_A_BURST, file.path)
    assert said(holder) == "stopping"
    os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        assert count(file, timeout=0.5) == 50  # it had already given the file up
    except StorageTimeoutError as error:
        assert f"process {holder.pid} " in str(error)  # noqa: PT017 - either may happen
    holder.send_signal(signal.SIGKILL)
    assert count(file) == 50


def test_a_process_that_computes_after_a_burst_lets_others_in(file: DuckFile, start_python: StartPython) -> None:
    holder = start_python(COMPUTE_AFTER_A_BURST, file.path)
    assert said(holder) == "computing"
    began = time.monotonic()
    add(file)
    assert time.monotonic() - began < 2
    assert holder.poll() is None


def test_a_foreign_program_that_writes_is_named_and_waited_for(file: DuckFile, start_python: StartPython) -> None:
    file.release()
    holder = start_python(HOLD_WITH_DUCKDB, file.path, "write")
    assert said(holder) == "open"

    with pytest.raises(StorageTimeoutError, match=rf"is open in process {holder.pid} .*close it there.* a copy"):
        count(file, timeout=0.3)
    with pytest.raises(StorageTimeoutError, match=f"process {holder.pid}"):
        add(file, timeout=0.3)

    holder.communicate("close\n")
    add(file)
    assert count(file) == 1


def test_beside_a_foreign_reader_reading_goes_on(file: DuckFile, start_python: StartPython) -> None:
    file.release()
    holder = start_python(HOLD_WITH_DUCKDB, file.path, "read")
    assert said(holder) == "open"
    assert count(file, timeout=2) == 0
    with pytest.raises(StorageTimeoutError, match=f"process {holder.pid}"):
        add(file, timeout=0.3)


def test_a_connection_of_the_same_process_is_an_error_at_once(file: DuckFile) -> None:
    file.release()
    with duckdb.connect(str(file.path)), pytest.raises(StorageError, match="open in this very process"):
        count(file)
    assert count(file) == 0


def test_a_waiting_writer_overtakes_readers_that_never_pause(file: DuckFile, start_python: StartPython) -> None:
    readers = [start_python(READ_WITHOUT_PAUSE, file.path) for _ in range(2)]
    for reader in readers:
        assert said(reader) == "reading"
    waits = []
    for _ in range(10):
        began = time.monotonic()
        add(file)
        waits.append(time.monotonic() - began)
        file.release()
    assert max(waits) < 3, waits


@pytest.fixture
def read_only_mount(tmp_path: Path) -> str:
    """Name a program that runs another one with `tmp_path` mounted read-only, in a mount space of its own."""
    script = f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path} && exec "
    done = subprocess.run(
        [*UNSHARED, script + "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    return script


@pytest.mark.parametrize("locked_before", [True, False])
def test_a_read_only_file_system_can_be_read_and_says_why_not_written(
    *, file: DuckFile, read_only_mount: str, locked_before: bool
) -> None:
    add(file)
    file.close()
    if not locked_before:
        for suffix in (".lock", ".lock.gate"):
            file.path.with_name(file.path.name + suffix).unlink()
    code = """
import sys
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.files.errors import StorageError
file = DuckFile.at(sys.argv[1])
with file.transaction(write=False) as connection:
    print(connection.execute("SELECT text FROM notes"))
try:
    file.transaction(write=True).__enter__()
except StorageError as error:
    print(error)
"""
    done = subprocess.run(
        [*UNSHARED, read_only_mount + '"$@"', "sh", sys.executable, "-c", code, str(file.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows, refusal = done.stdout.strip().splitlines()
    assert rows == "[('added',)]"
    assert "notes.duckdb" in refusal
    assert "ead-only file system" in refusal
