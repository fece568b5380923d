import os
from pathlib import Path

import polars as pl
import pytest

from lab_pipeline_tests.lake.samples import FOREVER, candles, everything, frame_of

DESCRIPTORS = Path("/proc/self/fd")
ROWS = candles(["AAA", "BBB", "CCC"], 30)


def open_parts(lake):
    """List the part files that this process has open."""
    return [link for link in map(os.path.realpath, DESCRIPTORS.iterdir()) if link.startswith(f"{lake.root}/candles")]


def test_ingest_neither_waits_for_it_nor_changes_it(lake):
    lake.write_candles(ROWS, "1m")
    changed = ROWS.with_columns(volume=pl.lit(99.0))
    with lake.slice("1m", ["AAA", "BBB", "CCC"], *FOREVER) as part:
        assert lake.write_candles(changed, "1m").changed == ROWS.height
        assert frame_of(part).equals(ROWS)
        before = part.snapshot
    assert everything(lake).equals(changed)
    with lake.slice("1m", ["AAA", "BBB", "CCC"], *FOREVER) as part:
        list(part)
        assert part.snapshot != before


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="the kernel does not list open files")
def test_close_lets_go_of_the_files(lake):
    lake.write_candles(ROWS, "1m")
    with lake.slice("1m", ["AAA", "BBB"], *FOREVER) as part:
        assert len(open_parts(lake)) == part.files > 0
        assert sum(map(len, part)) == 60
    assert open_parts(lake) == []
