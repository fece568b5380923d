import pytest

from lab_pipeline_tests.support.world import World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)
