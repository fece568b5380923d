import os
from pathlib import Path

import pytest

from lab_pipeline.lake import Lake

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


@pytest.fixture
def real_data():
    directory = Path(os.environ.get("LAB_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"no market data at {directory}: set LAB_TEST_DATA")
    return directory
