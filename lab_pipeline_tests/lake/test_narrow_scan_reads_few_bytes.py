from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lab_pipeline.lake import Lake
from lab_pipeline_tests.lake.samples import FOREVER, MINUTE_MS, START_MS, candles, files_of

COUNTERS = Path("/proc/self/io")
needs_counters = pytest.mark.skipif(not COUNTERS.exists(), reason="the kernel keeps no count of the bytes read")


def bytes_read():
    return int(COUNTERS.read_text().split()[1])


def read(lake, mints, start=FOREVER[0], end=FOREVER[1]):
    before = bytes_read()
    with lake.slice("1m", mints, start, end) as part:
        rows = sum(map(len, part))
        return rows, bytes_read() - before, part


def noisy(frame):
    """Make the prices of real size on disk: noise hardly compresses."""
    factor = pl.Series(np.random.default_rng(1).random(frame.height) + 0.5)
    return frame.with_columns(pl.col("open", "high", "low", "close") * factor, volume=factor * 1000)


@pytest.fixture(scope="module")
def thousand_mints(tmp_path_factory):
    lake = Lake(tmp_path_factory.mktemp("lake"))
    lake.write_candles(noisy(candles([f"mint-{number:04d}" for number in range(1000)], 1440)), "1m")
    return lake, sum(len(content) for content, _ in files_of(lake).values())


@needs_counters
def test_one_mint_of_a_thousand(thousand_mints):
    lake, size = thousand_mints
    rows, read_bytes, part = read(lake, ["mint-0500"])
    assert rows == 1440
    assert read_bytes < 0.03 * size
    assert part.bytes < read_bytes
    assert part.files == 1
    assert part.rows_planned < 0.03 * 1_440_000


@needs_counters
def test_planning_reads_no_rows(thousand_mints):
    lake, size = thousand_mints
    before = bytes_read()
    with lake.slice("1m", [f"mint-{number:04d}" for number in range(1000)], *FOREVER) as part:
        assert part.rows_planned == 1_440_000
        assert 0.8 * size < part.bytes < size
    assert bytes_read() - before < 0.1 * size


@needs_counters
def test_one_hour_of_a_long_history(lake):
    lake.write_candles(noisy(candles(["AAA"], 200_000)), "1m")
    size = sum(len(content) for content, _ in files_of(lake).values())
    start = START_MS + 100_000 * MINUTE_MS
    rows, read_bytes, part = read(lake, ["AAA"], start, start + 60 * MINUTE_MS)
    assert rows == 60
    assert part.row_groups <= 2
    assert read_bytes < 0.2 * size
