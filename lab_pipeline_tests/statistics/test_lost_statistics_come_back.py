"""Statistics are made of the artifacts: files of theirs that are lost are computed again, the same, by themselves."""

import shutil
from pathlib import Path

import pytest

from lab_pipeline.runs.artifacts import DamagedArtifactError
from lab_pipeline.statistics.answers import Binning, Bins, distribution
from lab_pipeline.statistics.refreshing import refresh
from lab_pipeline_tests.statistics.chance import add_some, from_nothing
from lab_pipeline_tests.support.world import World, rows_of

DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "zeros-in-the-middle": lambda path: path.write_bytes(b"PAR1" + bytes(200) + path.read_bytes()[204:]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}
BINS = Bins(Binning.WIDTH, 5)
damaged = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)


@pytest.fixture
def counted(world):
    add_some(world, 3)
    refresh(world.statistics, world.runs)
    return world


def files_of(world, kind="*"):
    return sorted(world.statistics.files.directory.glob(f"*.{kind}.parquet"))


@damaged
@pytest.mark.parametrize("kind", ["trades", "paths", "calls"])
def test_a_refresh_with_more_runs_computes_what_is_damaged_again(counted, damage, kind, tmp_path):
    (path,) = files_of(counted, kind)
    damage(path)
    add_some(counted)

    refresh(counted.statistics, counted.runs)

    assert rows_of(counted.statistics) == from_nothing(counted, tmp_path)


def test_a_refresh_without_anything_new_notices_the_loss(counted):
    before = rows_of(counted.statistics)
    shutil.rmtree(counted.statistics.files.directory)

    assert refresh(counted.statistics, counted.runs).changed
    assert rows_of(counted.statistics) == before
    assert len(files_of(counted)) == 3
    assert not refresh(counted.statistics, counted.runs).changed


def refreshed_elsewhere(world, tmp_path):
    other = World(tmp_path / "other", runs=world.runs)
    other.home.mkdir()
    (other.home / "artifacts").symlink_to(world.home / "artifacts")
    refresh(other.statistics, other.runs)
    return distribution(other.statistics, bins=BINS).body["distributions"]


def test_a_question_that_needs_lost_files_has_them_computed_again(counted, tmp_path):
    expected = refreshed_elsewhere(counted, tmp_path)
    shutil.rmtree(counted.statistics.files.directory)

    assert distribution(counted.statistics, bins=BINS).body["distributions"] == expected
    assert len(files_of(counted)) == 3


@damaged
def test_a_damaged_artifact_is_named(world, damage):
    add_some(world, 2)
    path = min((world.home / "artifacts").glob("*/trades.parquet"))
    damage(path)

    with pytest.raises(DamagedArtifactError) as raised:
        refresh(world.statistics, world.runs)

    assert path.parent.name in str(raised.value)
    assert "`lab restore`" in str(raised.value)
