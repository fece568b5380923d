"""An ingest puts rows aside by partition; they come back whole, in the order in which they came."""

import numpy as np
import polars as pl
import pytest

from lab_pipeline.lake import ingest
from lab_pipeline.lake.spill import Spill
from lab_pipeline_tests.lake.samples import candles, everything, paths_of, snapshot


@pytest.mark.parametrize("scattered", [False, True])
def test_rows_keep_their_order_within_a_partition(tmp_path, scattered):
    frames, places = [], []
    for number in range(3):
        rows = candles(["AAA", "BBB", "CCC"], 10).with_columns(number=pl.lit(number)).with_row_index("row")
        places.append(np.random.default_rng(number).integers(0, 5, 30) if scattered else np.repeat([2, 0, 4], 10))
        frames.append(rows)
    with Spill(tmp_path) as spill:
        for rows, partitions in zip(frames, places, strict=True):
            spill.add(rows, partitions)
        taken = {partition: spill.take(partition) for partition in spill.partitions}
    every, where = pl.concat(frames), np.concatenate(places)
    assert sorted(taken) == np.unique(where).tolist()
    for partition, rows in taken.items():
        assert rows.equals(every.filter(pl.Series(where == partition)))


def test_a_file_in_any_order_makes_the_same_lake(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "SPILL_ROWS", 64)
    rows = candles([f"mint-{number}" for number in range(30)], 40)
    sorted_by = {
        "mint": rows,
        "time": rows.sort("timestamp", "mint"),
        "nothing": rows.sample(fraction=1, shuffle=True, seed=1),
    }
    seen = set()
    for name, frame in sorted_by.items():
        frame.write_csv(tmp_path / f"{name}.csv")
        other = type(lake)(tmp_path / name)
        report = other.ingest_candles([tmp_path / f"{name}.csv"], "1m")
        assert (report.rows, report.added, report.mints) == (1200, 1200, 30)
        assert everything(other).equals(rows.sort("mint", "timestamp"))
        seen.add(snapshot(other))
        seen.add(tuple(path.read_bytes() for path in paths_of(other)))
    assert len(seen) == 2
