"""A file that a power cut, or a person, has damaged: healed where nothing acknowledged is lost, named where it is."""

import os
from pathlib import Path

import duckdb
import pytest

from lab_pipeline.files.errors import StorageError
from lab_pipeline.storage.duck_file import DuckFile


@pytest.fixture
def stored(tmp_path):
    """A file with three acknowledged rows in its log, and the bytes of the log."""
    made = tmp_path / "made" / "runs.duckdb"
    made.parent.mkdir()
    file = DuckFile.at(made)
    with file.transaction(write=True) as connection:
        connection.execute("CREATE TABLE t (a VARCHAR)")
    for number in range(3):
        with file.transaction(write=True) as connection:
            connection.execute("INSERT INTO t VALUES (?)", [f"row {number} {'x' * 100}"])
    log = made.with_name("runs.duckdb.wal").read_bytes()
    file.release()
    with file.transaction(write=False):  # a reader does not shorten the log
        kept = {path.name: path.read_bytes() for path in made.parent.iterdir()}
    other = tmp_path / "runs.duckdb"
    for name, content in kept.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "runs.duckdb.wal").write_bytes(log)
    return other, tmp_path / "runs.duckdb.wal"


def rows(path):
    with DuckFile.at(path).transaction(write=False) as connection:
        return len(connection.execute("SELECT a FROM t"))


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (lambda log: log + bytes(4096), 3),
        (lambda log: log + os.urandom(7), 3),
        (lambda log: log[:-37], 2),
        (lambda log: log[:-30] + bytes(30), 2),
        (lambda log: log[:-60] + bytes(4096), 2),
    ],
    ids=["zeros-behind", "junk-behind", "cut", "end-of-zeros", "cut-and-zeros"],
)
@pytest.mark.parametrize("write", [False, True], ids=["reading", "writing"])
def test_the_torn_end_of_a_log_is_cut_off(stored, damage, left, write):
    path, log = stored
    log.write_bytes(damage(log.read_bytes()))

    with DuckFile.at(path).transaction(write=write) as connection:
        assert len(connection.execute("SELECT a FROM t")) == left
    with DuckFile.at(path).transaction(write=True) as connection:
        connection.execute("INSERT INTO t VALUES ('after')")

    assert rows(path) == left + 1


def test_damage_in_the_middle_of_a_log_is_named_and_left_alone(stored):
    path, log = stored
    content = bytearray(log.read_bytes())
    content[-400:-390] = b"\xff" * 10
    log.write_bytes(content)

    with pytest.raises(StorageError, match="is damaged, and with it the record of all runs"):
        rows(path)
    assert log.read_bytes() == content


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("write", [False, True], ids=["reading", "writing"])
def test_a_damaged_file_is_named_with_what_is_lost_and_what_goes_on(tmp_path, damage, write):
    path = tmp_path / "catalog.duckdb"
    file = DuckFile.at(path)
    with file.transaction(write=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT md5(i::VARCHAR) AS a FROM range(20000) AS r(i)")
    assert file.close()
    with duckdb.connect(path) as foreign:
        foreign.execute("CHECKPOINT")
    damage(path)

    with pytest.raises(StorageError) as raised, DuckFile.at(path).transaction(write=write) as connection:
        connection.execute("SELECT max(a) FROM t")

    said = str(raised.value)
    assert str(path) in said
    assert "strategies" in said
    assert "`lab restore`" in said
    assert "is intact" not in said
    command = said.partition("rm -f ")[2]
    for name in command.replace("'", "").split():
        Path(name).unlink(missing_ok=True)
    with DuckFile.at(path).transaction(write=True) as connection:
        connection.execute("CREATE TABLE t (a VARCHAR)")


def test_a_file_that_never_was_is_not_lost(tmp_path):
    file = DuckFile.at(tmp_path / "runs.duckdb")

    assert not file.exists()
    with pytest.raises(StorageError, match="does not exist"), file.transaction(write=False):
        pass
    assert not file.exists()
