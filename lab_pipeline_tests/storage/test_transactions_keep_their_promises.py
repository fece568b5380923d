"""What a transaction on a shared DuckDB file promises to its block, within one process."""

import threading
import time
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as db

from lab_pipeline.files.errors import StorageError
from lab_pipeline.storage.duck_file import DuckFile


@pytest.fixture
def file(tmp_path: Path) -> DuckFile:
    file = DuckFile.at(tmp_path / "notes.duckdb")
    with file.transaction(write=True) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER UNIQUE, text VARCHAR)")
        connection.execute("INSERT INTO notes VALUES (1, 'one')")
    return file


def texts(file: DuckFile) -> list[str]:
    with file.transaction(write=False) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM notes ORDER BY id")]


def open_files(file: DuckFile) -> list[str]:
    names = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [name for name in names if name in {str(file.path), f"{file.path}.wal"}]


def test_a_finished_block_is_stored(file: DuckFile) -> None:
    with file.transaction(write=True) as connection:
        connection.execute("INSERT INTO notes VALUES (2, 'two')")
    assert texts(file) == ["one", "two"]


def test_a_block_that_raises_changes_nothing(file: DuckFile) -> None:
    with pytest.raises(ZeroDivisionError), file.transaction(write=True) as connection:  # noqa: PT012
        connection.execute("INSERT INTO notes VALUES (2, 'two')")
        raise ZeroDivisionError
    assert texts(file) == ["one"]


def test_a_broken_rule_shows_duckdbs_own_error_and_changes_nothing(file: DuckFile) -> None:
    with pytest.raises(duckdb.ConstraintException), file.transaction(write=True) as connection:  # noqa: PT012
        connection.execute("INSERT INTO notes VALUES (2, 'two')")
        connection.execute("INSERT INTO notes VALUES (2, 'again')")
    assert texts(file) == ["one"]


def test_sqlalchemy_and_plain_sql_share_the_transaction(file: DuckFile) -> None:
    with pytest.raises(ZeroDivisionError), file.transaction(write=True) as connection:  # noqa: PT012
        connection.sqlalchemy.execute(db.text("INSERT INTO notes VALUES (2, 'two')"))
        assert connection.execute("SELECT count(*) FROM notes") == [(2,)]
        raise ZeroDivisionError
    with file.transaction(write=True) as connection:
        connection.execute("INSERT INTO notes VALUES (3, 'three')")
        assert connection.sqlalchemy.execute(db.text("SELECT count(*) FROM notes")).scalar() == 2
    assert texts(file) == ["one", "three"]


def test_a_nested_block_joins_the_outer_transaction(file: DuckFile) -> None:
    with pytest.raises(ZeroDivisionError), file.transaction(write=True):  # noqa: PT012
        with file.transaction(write=True) as inner:
            inner.execute("INSERT INTO notes VALUES (2, 'two')")
        with file.transaction(write=False) as inner:
            assert inner.execute("SELECT count(*) FROM notes") == [(2,)]
        raise ZeroDivisionError
    assert texts(file) == ["one"]


def test_a_reading_transaction_cannot_write(file: DuckFile) -> None:
    with file.transaction(write=False) as connection, pytest.raises(duckdb.Error, match="read-only"):
        connection.execute("INSERT INTO notes VALUES (2, 'two')")
    with (
        file.transaction(write=False),
        pytest.raises(StorageError, match="begin it with write=True"),
        file.transaction(write=True),
    ):
        pass
    assert texts(file) == ["one"]


def test_a_reading_transaction_cannot_write_while_the_process_stays_attached_for_writing(file: DuckFile) -> None:
    for number in range(2, 5):  # so close together that the file stays attached between them
        with file.transaction(write=True) as connection:
            connection.execute("INSERT INTO notes VALUES (?, 'more')", [number])
    with pytest.raises(duckdb.Error, match="read-only"), file.transaction(write=False) as connection:
        connection.execute("DELETE FROM notes")
    assert len(texts(file)) == 4


def test_a_result_left_unread_does_not_keep_the_file_open(file: DuckFile) -> None:
    with file.transaction(write=False) as connection:
        connection.raw.execute("SELECT * FROM range(1000000) AS numbers, notes")
    with file.transaction(write=False) as connection:
        connection.sqlalchemy.execute(db.text("SELECT * FROM notes"))
    file.release()
    assert open_files(file) == []


def test_the_file_is_closed_soon_after_a_burst_of_transactions(file: DuckFile) -> None:
    for _ in range(5):
        texts(file)
    end = time.monotonic() + 2
    while open_files(file) and time.monotonic() < end:
        time.sleep(0.01)
    assert open_files(file) == []


def test_threads_read_at_the_same_time(file: DuckFile) -> None:
    both_inside = threading.Barrier(2, timeout=10)

    def read() -> None:
        with file.transaction(write=False) as connection:
            both_inside.wait()
            connection.execute("SELECT * FROM notes")

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both_inside.broken


def test_threads_lose_no_update(file: DuckFile) -> None:
    def append() -> None:
        for _ in range(20):
            with file.transaction(write=True) as connection:
                ((text,),) = connection.execute("SELECT text FROM notes WHERE id = 1")
                connection.execute("UPDATE notes SET text = ? WHERE id = 1", [text + "."])
            texts(file)

    threads = [threading.Thread(target=append) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts(file) == ["one" + 120 * "."]


def test_threads_that_never_pause_do_not_keep_another_waiting(file: DuckFile) -> None:
    stop = threading.Event()
    done = [0, 0, 0]

    def insist(number: int) -> None:
        while not stop.is_set():
            with file.transaction(write=True) as connection:
                connection.execute("UPDATE notes SET text = 'busy'")
            done[number] += 1

    threads = [threading.Thread(target=insist, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    overtaken = []
    try:
        for _ in range(50):
            before = sum(done)
            with file.transaction(write=False):
                overtaken.append(sum(done) - before)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert max(overtaken) < 25, overtaken  # those ahead in the line, and what is done until this thread is in it


def test_the_path_may_contain_spaces_quotes_and_anything(tmp_path: Path) -> None:
    directory = tmp_path / 'it\'s "my" dir; DROP — ü'
    directory.mkdir()
    file = DuckFile.at(directory / "a 'b' %s {c}.duckdb")
    with file.transaction(write=True) as connection:
        connection.execute("CREATE TABLE notes AS SELECT 1 AS id, 'one' AS text")
    assert texts(file) == ["one"]
    assert sorted(path.name for path in directory.iterdir() if path.suffix == ".duckdb") == [file.path.name]


def test_one_object_serves_a_file_whatever_name_leads_to_it(file: DuckFile, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert DuckFile.at(tmp_path / "link" / "notes.duckdb") is file


def test_reading_a_missing_file_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"absent\.duckdb does not exist"),
        DuckFile.at(tmp_path / "absent.duckdb").transaction(write=False),
    ):
        pass


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.duckdb"
    path.write_bytes(b"Dear all" * 4000)
    with pytest.raises(StorageError, match=r"letter\.duckdb is damaged.*not a valid DuckDB"):
        DuckFile.at(path).transaction(write=True).__enter__()
    assert path.read_bytes() == b"Dear all" * 4000


def test_a_copy_is_complete_and_replaces_what_was_there(file: DuckFile, tmp_path: Path) -> None:
    destination = tmp_path / "it's a copy.duckdb"
    destination.write_text("old")
    file.copy_to(destination)
    with duckdb.connect(str(destination), read_only=True) as copy:
        assert copy.execute("SELECT text FROM notes").fetchall() == [("one",)]
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
