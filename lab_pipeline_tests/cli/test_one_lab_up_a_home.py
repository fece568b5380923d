"""A home belongs to one `lab up`, under whatever name it is reached."""

import os

import pytest

from lab_pipeline.cli.up import is_up, only_one
from lab_pipeline.domain.errors import LabError
from lab_pipeline.settings import Settings


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home" / "dagster").mkdir(parents=True)
    return tmp_path / "home"


def test_a_second_one_is_told_who_is_first_also_by_another_path(home, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(home)
    with only_one(Settings(home=home)):
        for other in (home, link, tmp_path / "home" / ".." / "home"):
            assert is_up(Settings(home=other))
            with (
                pytest.raises(LabError, match=rf"is already up \(process {os.getpid()}\)"),
                only_one(Settings(home=other)),
            ):
                pass
    assert not is_up(Settings(home=link))
    with only_one(Settings(home=link)):
        assert is_up(Settings(home=home))
