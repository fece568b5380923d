"""Rows that were ingested are never silently fewer: a lost or damaged file is named, with what brings it back."""

from pathlib import Path

import polars as pl
import pytest

from lab_pipeline.lake import Lake
from lab_pipeline.lake.coverage import quality
from lab_pipeline.lake.inventory import INVENTORY, LakeDamagedError
from lab_pipeline_tests.lake.samples import candles, everything
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
        lambda lake: lake.candles_extent("1m"),
        lambda lake: lake.candles_count("1m"),
        lambda lake: quality(lake, "1m"),
    ],
    ids=["slice", "mints", "extent", "count", "quality"],
)
def test_a_damaged_part_of_the_candles_is_named(stored, damage, read):
    path = stored.candle_files("1m")[0]
    damage(path)

    with pytest.raises(LakeDamagedError) as raised:
        read(stored)

    assert str(path) in str(raised.value)
    assert "`lab restore`" in str(raised.value)
    assert stored.damage()[0].startswith(str(path))
    assert stored.timeframes() == ["1m"]
    assert stored.calls().height == calls().height  # of which nothing is lost


@damaged
def test_damaged_calls_are_named(stored, damage):
    (path,) = (stored.root / "calls").glob("*.parquet")
    damage(path)

    for read in (stored.calls, stored.calls_extent, stored.callers):
        with pytest.raises(LakeDamagedError, match=path.name):
            read()


def test_rows_damaged_in_the_middle_of_a_file_are_named(stored):
    path = stored.candle_files("1m")[0]
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])

    with pytest.raises(LakeDamagedError, match=path.name):
        sliced(stored)


def test_an_ingest_over_a_lost_part_does_not_hide_the_loss(stored):
    path = stored.candle_files("1m")[0]
    path.unlink()
    stored.write_candles(candles(["AAA", "BBB", "CCC", "DDD"], 3), "1m")

    with pytest.raises(LakeDamagedError, match=path.name):
        sliced(stored)


def test_what_the_message_says_goes_on(stored):
    path = stored.candle_files("1m")[0]
    path.write_bytes(b"")
    path.unlink()
    (stored.root / INVENTORY).unlink()
    stored.write_candles(ROWS, "1m")

    assert everything(stored).equals(ROWS)
    assert stored.damage() == []


@pytest.mark.parametrize("content", [b"", b"\0\0", b"[1]", b'{"a": "b"}', b"{"])
def test_a_damaged_record_of_the_parts_is_made_anew(stored, content):
    (stored.root / INVENTORY).write_bytes(content)

    assert everything(stored).equals(ROWS)
    stored.write_candles(ROWS.with_columns(volume=pl.lit(9.0)), "1m")
    assert len(stored.damage()) == 0
    stored.candle_files("1m")[0].unlink()
    assert len(stored.damage()) == 1
