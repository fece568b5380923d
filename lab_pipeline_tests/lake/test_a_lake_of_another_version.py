"""A lake of a later version is neither read nor written; one without a record of its layout is of the first."""

import pytest

from lab_pipeline.lake import Lake, LakeError, commit
from lab_pipeline_tests.lake.samples import candles, everything

OLD = candles(["AAA", "BBB"], 20)
MORE = candles(["CCC"], 20)


def content(lake):
    return {str(path.relative_to(lake.root)): path.read_bytes() for path in lake.root.rglob("*") if path.is_file()}


@pytest.fixture
def later(lake):
    """A lake that a later version has left in the middle of a commit."""
    lake.write_candles(OLD, "1m")
    (lake.root / commit.LAYOUT_FILE).write_text("99\n")
    (lake.root / commit.STAGING).mkdir()
    (lake.root / commit.STAGING / "part").write_text("rows")
    (lake.root / commit.RECORD).write_text("of a form that this version does not know")
    return lake


@pytest.mark.parametrize(
    "use",
    [
        everything,
        lambda lake: lake.mints("1m"),
        lambda lake: lake.calls(),
        lambda lake: lake.candles_count("1m"),
        lambda lake: lake.write_candles(MORE, "1m"),
        lambda lake: lake.leftovers(),
        lambda lake: lake.leftovers(remove=True),
    ],
)
def test_a_lake_of_a_later_version_is_refused_and_left_alone(later, use):
    before = content(later)
    with pytest.raises(LakeError, match=r"the lake .* was written in layout 99 by a later version.*: update it"):
        use(Lake(later.root))
    assert content(later) == before


def test_a_new_lake_records_its_layout(lake):
    lake.write_candles(OLD, "1m")
    assert (lake.root / commit.LAYOUT_FILE).read_text() == "1\n"


def test_a_lake_without_a_record_is_read_as_it_is_and_gets_one_when_it_is_written(lake):
    lake.write_candles(OLD, "1m")
    (lake.root / commit.LAYOUT_FILE).unlink()
    assert everything(lake).equals(OLD)
    assert not (lake.root / commit.LAYOUT_FILE).exists()
    lake.write_candles(MORE, "1m")
    assert everything(lake).height == OLD.height + MORE.height
    assert (lake.root / commit.LAYOUT_FILE).read_text() == "1\n"


def test_a_damaged_record_is_named(lake):
    lake.write_candles(OLD, "1m")
    (lake.root / commit.LAYOUT_FILE).write_text("")
    with pytest.raises(LakeError, match=r"/\.layout is damaged"):
        everything(lake)
