"""Files that others write while they are copied."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import duckdb
import pytest

from lab_pipeline.backup import BackupError, Repository
from lab_pipeline.backup.copying import Copier
from lab_pipeline.files.errors import StorageError
from lab_pipeline.storage.duck_file import DuckFile

LONG_AGO = time.time_ns() - 10**12

# Each transaction adds a pair: in every state there are as many of one as of the other.
WRITER = """
import sys
from lab_pipeline.storage.duck_file import DuckFile
import sqlite3
kind, path = sys.argv[1:]
if kind == "sqlite":
    connection = sqlite3.connect(path, isolation_level=None)
    def add():
        connection.execute("BEGIN")
        for side in (1, 2):
            connection.execute("INSERT INTO pairs VALUES (?, ?)", (side, "x" * 2000))
        connection.execute("COMMIT")
else:
    def add():
        with DuckFile.at(path).transaction(write=True) as connection:
            for side in (1, 2):
                connection.execute("INSERT INTO pairs VALUES (?, ?)", (side, "x" * 2000))
add()
print("ready", flush=True)
while True:
    add()
"""


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path / "backup")
    with made.writing():
        yield made


@pytest.fixture
def written(home):
    """Have another process write pairs into a database."""
    processes = []

    def start(kind, path):
        command = [sys.executable, "-c", WRITER, kind, str(path)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=home))
        assert processes[-1].stdout.readline() == "ready\n"

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def bring_back(copier, repository, directory):
    directory.mkdir()
    for entry in copier.files.values():
        content = b"".join(map(repository.content, entry.objects))
        (directory / entry.path).write_bytes(content)
    return directory


def test_a_sqlite_database_is_whole_while_another_process_writes_it(home, repository, written, tmp_path):
    path = home / "pairs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE pairs (side INTEGER, text VARCHAR)")
    written("sqlite", path)
    for attempt in range(5):
        copier = Copier(repository, home, {})
        copier.copy_sqlite(path)
        back = bring_back(copier, repository, tmp_path / f"back {attempt}")
        with closing(sqlite3.connect(back / "pairs.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            ((ones, twos),) = connection.execute("SELECT sum(side = 1), sum(side = 2) FROM pairs")
            assert ones == twos > 0


def test_a_duckdb_file_is_whole_while_another_process_writes_it(home, repository, written, tmp_path):
    path = home / "pairs.duckdb"
    with DuckFile.at(path).transaction(write=True) as connection:
        connection.execute("CREATE TABLE pairs (side INTEGER, text VARCHAR)")
    written("duckdb", path)
    for attempt in range(5):
        copier = Copier(repository, home, {})
        with copier.copy_duckdb(path) as connection:
            ((seen,),) = connection.execute("SELECT count(*) FROM pairs")
        back = bring_back(copier, repository, tmp_path / f"back {attempt}")
        with duckdb.connect(back / "pairs.duckdb") as connection:
            query = "SELECT count(*) FILTER (side = 1), count(*) FILTER (side = 2) FROM pairs"
            assert connection.execute(query).fetchall() == [(seen / 2, seen / 2)]


def test_a_database_that_cannot_be_opened_is_named(home, repository):
    (home / "cut.db").write_bytes(b"SQLite format 3\0" + bytes(10))
    with pytest.raises(BackupError, match=r"cut\.db cannot be read"):
        Copier(repository, home, {}).copy_sqlite(home / "cut.db")
    (home / "cut.duckdb").write_bytes(bytes(100))
    with (
        pytest.raises(StorageError, match=r"cut\.duckdb"),
        Copier(repository, home, {}).copy_duckdb(home / "cut.duckdb"),
    ):
        pass


def copied(repository, home, before, name="file"):
    """Copy a file and return what is known of it, and whether it was read."""
    copier = Copier(repository, home, before)
    repository.add = reads = Recorder(Repository.add, repository)
    assert copier.copy([home / name])
    return copier.files, reads.calls == 1


class Recorder:
    def __init__(self, function, owner):
        self.function, self.owner, self.calls = function, owner, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(self.owner, *arguments)


def test_a_file_is_read_again_only_when_it_was_touched(home, repository, monkeypatch):
    path = home / "file"
    path.write_bytes(b"one")
    first, read = copied(repository, home, {})
    assert read
    second, read = copied(repository, home, first)
    assert read  # it was young: it could have been changed since within one tick of the clock
    later = time.time_ns() + 10**10
    monkeypatch.setattr("lab_pipeline.backup.copying.time.time_ns", lambda: later)
    third, read = copied(repository, home, second)
    assert read
    fourth, read = copied(repository, home, third)
    assert not read
    assert fourth == third
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # of the same size, and as if of the same time
    fifth, read = copied(repository, home, fourth)
    assert read
    assert fifth["file"].objects != fourth["file"].objects


def test_a_content_that_is_gone_from_the_backup_is_read_again(home, repository, monkeypatch):
    (home / "file").write_bytes(b"one")
    monkeypatch.setattr("lab_pipeline.backup.copying.time.time_ns", lambda: LONG_AGO + 10**15)
    files, _ = copied(repository, home, {})
    other = Repository(repository.directory.with_name("other"))
    with other.writing():
        assert copied(other, home, files)[1]


def test_a_file_that_is_gone_is_left_out(home, repository):
    copier = Copier(repository, home, {})
    assert not copier.copy([home / "gone"])
    copier.copy_sqlite(home / "gone.db")
    os.mkfifo(home / "pipe")
    assert not copier.copy([home / "pipe"])
    assert copier.files == {}
