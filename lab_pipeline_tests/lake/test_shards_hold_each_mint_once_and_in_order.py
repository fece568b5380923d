from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from lab_pipeline.lake import layout, scan
from lab_pipeline_tests.lake.samples import MINUTE_MS, START_MS, candles, frame_of

MINTS = [f"mint-{number}" for number in range(24)]


@pytest.fixture(params=[1, 200, 1 << 20], ids=["a bucket a shard", "some buckets a shard", "one shard"])
def shards_of(request, monkeypatch):
    monkeypatch.setattr(scan, "SHARD_ROWS", request.param)
    return request.param


def test_columns_are_those_that_were_written(lake, shards_of, monkeypatch):
    monkeypatch.setattr(layout, "ROW_GROUP_ROWS", 33)
    rows = candles(MINTS, 20)
    lake.write_candles(rows, "1m")
    with lake.slice("1m", MINTS, 0, 1 << 60) as part:
        shards = list(part)
        assert (part.rows, part.mints) == (rows.height, 24)
        assert (part.first, part.last) == (START_MS, START_MS + 19 * MINUTE_MS)
    assert (len(shards) == 1) == (shards_of > rows.height)
    assert sorted(mint for shard in shards for mint in shard.mints) == sorted(MINTS)
    for shard in shards:
        assert shard.mints == sorted(shard.mints)
        assert shard.offsets.tolist() == list(range(0, 20 * len(shard.mints) + 1, 20))
        assert not shard.open.flags.writeable
        assert shard.open.flags.c_contiguous
        assert all((np.diff(shard.timestamp[a:b]) > 0).all() for a, b in pairwise(shard.offsets))
    assert frame_of(shards).equals(rows.sort("mint", "timestamp"))


@pytest.mark.usefixtures("shards_of")
def test_window_and_mints_select_rows(lake):
    rows = candles(MINTS, 20)
    lake.write_candles(rows, "1m")
    start, end = START_MS + 3 * MINUTE_MS, START_MS + 7 * MINUTE_MS
    wanted = [*MINTS[2:22], "unknown", MINTS[2]]
    with lake.slice("1m", wanted, start, end) as part:
        found = frame_of(part)
        assert part.rows_planned >= part.rows == 80
    time = pl.col("timestamp").to_physical()
    expected = rows.filter((time >= start) & (time < end) & pl.col("mint").is_in(wanted))
    assert found.equals(expected.sort("mint", "timestamp"))


@pytest.mark.usefixtures("shards_of")
def test_leaving_early_is_no_harm(lake):
    lake.write_candles(candles(MINTS, 20), "1m")
    with lake.slice("1m", MINTS, 0, 1 << 60) as part:
        for shard in part:
            assert len(shard)
            break
