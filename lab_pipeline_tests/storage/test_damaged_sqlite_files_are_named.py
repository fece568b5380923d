import sqlite3
from pathlib import Path

import pytest

from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.files.sqlite_damage import damaged_files

DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "junk": lambda path: path.write_bytes(b"not a database " * 100),
    "few-bytes": lambda path: path.write_bytes(b"SQLite format 3\0"),
}


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "schedules" / "schedules.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [["x" * 500]] * 100)
    connection.close()
    return path


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_with_what_is_lost_and_what_goes_on(database, damage, tmp_path):
    damage(database)

    (said,) = damaged_files(tmp_path)

    assert said.startswith(str(database))
    assert "schedules and sensors" in said
    assert "`lab restore`" in said
    assert disk_error(sqlite3.DatabaseError("file is not a database"), tmp_path) == said
    for name in said.partition("rm -f ")[2].replace("'", "").split():
        Path(name).unlink(missing_ok=True)
    assert list(damaged_files(tmp_path)) == []


def test_a_sound_or_a_new_file_is_not_damaged(database, tmp_path):
    (tmp_path / "index.db").touch()

    assert list(damaged_files(tmp_path)) == []
    assert disk_error(sqlite3.DatabaseError("database disk image is malformed"), tmp_path) is None
    assert database.exists()
