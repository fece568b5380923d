"""LAB_HOME: any name of any alphabet, or one sentence; always private."""

import os
import stat

import pytest

from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.settings import keep_private, load_settings, places_of_libraries
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.storage.event_log_storage import BatchingEventLogStorage
from lab_pipeline.storage.plain_path import plain
from lab_pipeline.storage.schedule_storage import AnyPathScheduleStorage

NAMES = [
    "with space", "it's", 'a "b"', "100%", "%41", "#1", "a*b", "**", "{a,b}", "a;b", "a:b", "back\\slash", "&$x|`",
    "~", "!(x)", "=+@^", "Zoë", "Мария", "李雷", "مريم", "דנה", "🚀", "-n", "a\\*b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_store_opens_twice(tmp_path, monkeypatch, name):
    home = tmp_path / name / "home"
    (tmp_path / "axb" / "home").mkdir(parents=True)  # what a pattern would find
    home.mkdir(parents=True)
    monkeypatch.setenv("LAB_HOME", str(home))
    assert load_settings().home == home

    for _ in range(2):
        file = DuckFile.at(home / "catalog.duckdb")
        with file.transaction(write=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS rows (number BIGINT)")
            connection.execute("INSERT INTO rows VALUES (1)")
        BatchingEventLogStorage(str(home / "events")).dispose()
        AnyPathScheduleStorage.from_config_value(None, {"base_dir": str(home / "schedules")})
    assert (home / "catalog.duckdb").stat().st_size > 0
    assert (home / "events" / "index.db").stat().st_size > 0
    assert (home / "schedules" / "schedules.db").stat().st_size > 0
    assert list((tmp_path / "axb" / "home").iterdir()) == []


def test_a_plain_path_leads_to_the_same_file_whatever_becomes_of_the_directory(tmp_path):
    directory = tmp_path / "a*b"
    for text in ("first", "second"):
        directory.mkdir()
        (directory / "file").write_text(text)
        with open(plain(directory / "file")) as file:  # noqa: PTH123 - as a library would
            assert file.read() == text
        directory.rename(tmp_path / text)
    assert plain(tmp_path / "plain" / "file") == str(tmp_path / "plain" / "file")


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x1bb", "a\u2028b", "a?b", "[a]"])
def test_what_some_store_cannot_have_is_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / name))
    with pytest.raises(InvalidConfigError) as refused:
        load_settings()
    (error,) = refused.value.errors
    assert error.path == "LAB_HOME"
    assert str(error).isprintable()


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_home_that_is_open_to_others_is_closed_with_what_the_lab_keeps_in_it(tmp_path):
    home, users = tmp_path / "home", tmp_path / "users"
    for directory in (home / "lake" / "calls", home / "notes", users):
        directory.mkdir(parents=True)
    files = [home / "lake" / "calls" / "part.parquet", home / "catalog.duckdb.wal", home / "notes" / "mine.txt"]
    for path in (*files, users / "own.csv"):
        path.write_text("x")
        path.chmod(0o664)
    files[0].chmod(0o444)
    (home / "inbox").symlink_to(users)
    for directory in (home, home / "lake", home / "lake" / "calls", users):
        directory.chmod(0o755)
    keep_private(home)
    keep_private(home)

    assert [mode(path) for path in (home, home / "lake", home / "lake" / "calls")] == [0o700] * 3
    assert [mode(path) for path in files] == [0o400, 0o600, 0o664]
    assert (mode(users), mode(users / "own.csv")) == (0o755, 0o664)


def test_a_directory_of_everybody_is_left_alone(tmp_path):
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake").chmod(0o755)  # whatever the umask is
    tmp_path.chmod(0o1777)
    keep_private(tmp_path)
    keep_private(tmp_path / "absent")
    assert mode(tmp_path) == 0o1777
    assert mode(tmp_path / "lake") == 0o755


@pytest.mark.parametrize("users", ["absent", "~"])
def test_libraries_get_a_place_where_the_user_has_none(tmp_path, monkeypatch, users):
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("HOME", users if users == "~" else str(tmp_path / "file" / users))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr("lab_pipeline.settings.os.access", lambda path, _: os.path.realpath(path) == str(tmp_path))
    assert places_of_libraries(tmp_path) == {"NUMBA_CACHE_DIR": str(tmp_path / "cache" / "numba")}
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/mine")
    assert places_of_libraries(tmp_path) == {}


def test_libraries_keep_their_own_places_where_there_are_some(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places_of_libraries(tmp_path) == {}
