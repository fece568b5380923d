import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab_pipeline.files.atomic import PRIVATE, whole_file, write_whole


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
