import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab_pipeline.files.atomic import PRIVATE, Sync, drafted, link_or_copy, whole_file, write_whole


def test_threads_that_write_one_file_at_once_leave_one_whole_content(tmp_path):
    path = tmp_path / "state.json"
    contents = [str(number) * 20_000 for number in range(10)]

    def write(content):
        for _ in range(10):
            write_whole(path, content)
            assert path.read_text() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


def test_an_error_leaves_what_was_there_and_no_draft(tmp_path):
    path = tmp_path / "state.json"
    write_whole(path, "old")

    def fail():
        with whole_file(path) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


def test_a_file_is_for_its_user_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        write_whole(tmp_path / "secret", "word")
    finally:
        os.umask(before)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == PRIVATE


def test_a_name_as_long_as_a_directory_takes_leaves_room_for_its_draft(tmp_path):
    path = tmp_path / ("ü" * 127)
    write_whole(path, "word")
    assert path.read_text() == "word"


def test_a_draft_may_lie_elsewhere_and_need_not_be_waited_for(tmp_path):
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    with drafted(tmp_path / "kept", beside=drafts, sync=Sync.NOTHING) as draft:
        draft.write_text("word")
        assert list(drafts.iterdir()) == [draft]
    assert (tmp_path / "kept").read_text() == "word"
    assert list(drafts.iterdir()) == []


def test_a_file_gets_another_name_or_a_copy_where_the_disk_has_no_names_to_give(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.write_text("word")
    link_or_copy(source, tmp_path / "linked")
    assert source.samefile(tmp_path / "linked")

    def another_disk(*_args):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", another_disk)
    link_or_copy(source, tmp_path / "copied")
    assert (tmp_path / "copied").read_text() == "word"
    assert not source.samefile(tmp_path / "copied")


def test_a_name_that_is_taken_is_left_alone(tmp_path):
    for name in ("source", "taken"):
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        link_or_copy(tmp_path / "source", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "taken"
