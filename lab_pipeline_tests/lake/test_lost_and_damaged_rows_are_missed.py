"""Rows that were ingested are never silently fewer: a lost or damaged file is named, with what brings it back."""

from pathlib import Path

import polars as pl
import pytest

from lab_pipeline.lake import Lake
from lab_pipeline.lake.coverage import quality
from lab_pipeline.lake.errors import LakeDamagedError
from lab_pipeline_tests.lake.samples import candles, everything, paths_of
from lab_pipeline_tests.support.markets import calls

ROWS = candles(["AAA", "BBB", "CCC"], 40)
DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "zeros-at-the-end": lambda path: path.write_bytes(path.read_bytes()[:-64] + bytes(64)),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}
damaged = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)


@pytest.fixture
def stored(tmp_path):
    lake = Lake(tmp_path / "lake")
    lake.write_candles(ROWS, "1m")
    lake.write_calls(calls())
    return lake


def sliced(lake):
    with lake.slice("1m", ["AAA", "BBB", "CCC"], 0, 10**15) as candles_of_all:
        return list(candles_of_all)


@damaged
@pytest.mark.parametrize(
    "read",
    [
        sliced,
        lambda lake: lake.mints("1m"),
        lambda lake: quality(lake, "1m"),
    ],
    ids=["slice", "mints", "quality"],
)
def test_a_damaged_part_of_the_candles_is_named(stored, damage, read):
    path = paths_of(stored)[0]
    damage(path)

    with pytest.raises(LakeDamagedError) as raised:
        read(stored)

    assert str(path) in str(raised.value)
    assert "`lab restore`" in str(raised.value)
    assert stored.damage()[0].startswith(str(path))
    assert stored.timeframes() == ["1m"]
    assert stored.calls().height == calls().height  # of which nothing is lost


@damaged
@pytest.mark.parametrize("count", [lambda lake: lake.candles_count("1m"), lambda lake: lake.candles_extent("1m")])
def test_what_the_log_knows_of_a_damaged_part_is_as_it_was_unless_the_damage_shows(stored, damage, count):
    before, path = count(stored), paths_of(stored)[0]
    size = path.stat().st_size
    damage(path)

    if path.exists() and path.stat().st_size == size:
        assert count(stored) == before
        return
    with pytest.raises(LakeDamagedError, match=path.name):
        count(stored)


@damaged
def test_damaged_calls_are_named(stored, damage):
    (path,) = (stored.root / "calls").glob("*.parquet")
    damage(path)

    for read in (stored.calls, stored.callers):
        with pytest.raises(LakeDamagedError, match=path.name):
            read()


def test_rows_damaged_in_the_middle_of_a_file_are_named(stored):
    path = paths_of(stored)[0]
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])

    with pytest.raises(LakeDamagedError, match=path.name):
        sliced(stored)


def test_an_ingest_over_a_lost_part_does_not_hide_the_loss(stored):
    path = paths_of(stored)[0]
    path.unlink()
    with pytest.raises(LakeDamagedError, match=path.name):
        stored.write_candles(candles(["AAA", "BBB", "CCC", "DDD"], 3), "1m")
    with pytest.raises(LakeDamagedError, match=path.name):
        sliced(stored)


@damaged
def test_a_repaired_lake_goes_on_without_what_is_lost(stored, damage):
    path = paths_of(stored)[0]
    rows = everything(stored).height
    damage(path)
    (said,) = stored.repair()

    assert said.startswith(str(path))
    assert stored.damage() == []
    assert 0 < everything(stored).height < rows
    stored.write_candles(ROWS, "1m")
    assert everything(stored).equals(ROWS)
    assert stored.repair() == []


@pytest.mark.parametrize("content", [b"", b"\0\0", b"[1]", b"{"])
def test_a_log_that_cannot_be_read_is_named_and_its_last_record_put_aside(stored, content):
    before = everything(stored)
    stored.write_candles(ROWS.with_columns(volume=pl.lit(9.0)), "1m")
    record = max((stored.root / "candles" / "_delta_log").glob("*.json"))
    record.write_bytes(content)

    with pytest.raises(LakeDamagedError, match=r"the log of the lake's candles .*`lab lake repair`"):
        everything(stored)
    (said,) = stored.repair()
    assert said.startswith(str(record))
    assert everything(stored).equals(before)
