import pytest

from lab_pipeline.lake import LakeError
from lab_pipeline_tests.lake.samples import FOREVER, START_MS, candles


def read(lake, timeframe, mints, start, end):
    with lake.slice(timeframe, mints, start, end) as part:
        shards = list(part)
        assert (part.rows, part.mints, part.first, part.last) == (0, 0, None, None)
        assert len(part.snapshot) == 64
    return shards


def test_lake_that_does_not_exist(lake):
    assert read(lake, "1m", ["AAA"], *FOREVER) == []
    assert lake.timeframes() == []
    assert lake.mints("1m") == []
    assert lake.callers() == []
    assert lake.calls().is_empty()
    assert lake.calls_extent() is None
    assert lake.candles_extent("1m") is None
    assert not lake.root.exists()


@pytest.mark.parametrize(
    ("timeframe", "mints", "start", "end"),
    [
        ("5m", ["AAA"], *FOREVER),
        ("1m", ["ZZZ"], *FOREVER),
        ("1m", [], *FOREVER),
        ("1m", ["AAA"], 0, START_MS),
        ("1m", ["AAA"], START_MS + 10 * 60_000, 1 << 60),
        ("1m", ["AAA"], START_MS + 1, START_MS + 60_000),
    ],
    ids=["timeframe", "mint", "no mints", "before", "after", "between two candles"],
)
def test_rows_that_are_not_there(lake, timeframe, mints, start, end):
    lake.write_candles(candles(["AAA", "BBB"], 10), "1m")
    assert read(lake, timeframe, mints, start, end) == []


def test_text_that_is_no_timeframe_is_refused(lake):
    with pytest.raises(LakeError, match=r"'\.\./1m' is not a timeframe"):
        lake.slice("../1m", ["AAA"], *FOREVER)
    with pytest.raises(LakeError, match="'7m' does not divide a day"):
        lake.write_candles(candles(["AAA"], 1), "7m")
