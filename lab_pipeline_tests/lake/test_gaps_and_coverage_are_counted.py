import polars as pl

from lab_pipeline.lake import QUALITY, coverage, quality
from lab_pipeline_tests.lake.samples import START_MS, candles


def test_by_mint(lake):
    minute = (pl.col("timestamp").to_physical() - START_MS) // 60_000
    whole = candles(["whole"], 10)
    holes = candles(["holes"], 20).filter(~minute.is_in([3, 7, 8, 9, 15]))
    lake.write_candles(pl.concat([whole, holes, candles(["one"], 1)]), "1m")
    found = quality(lake, "1m")
    assert found.schema == QUALITY
    columns = ("mint", "rows", "expected", "coverage", "gaps", "longest_gap", "duplicates")
    assert found.select(columns).rows() == [
        ("holes", 15, 20, 0.75, 3, 3, 0),
        ("one", 1, 1, 1.0, 0, 0, 0),
        ("whole", 10, 10, 1.0, 0, 0, 0),
    ]
    holes_row = found.row(0, named=True)
    assert (holes_row["first"], holes_row["last"]) == (holes["timestamp"].min(), holes["timestamp"].max())


def test_duplicates_would_be_seen(tmp_path):
    path = tmp_path / "part.parquet"
    rows = candles(["AAA"], 4)
    pl.concat([rows, rows[1:3]]).sort("timestamp").write_parquet(path)
    (found,) = coverage._measure_part(pl.scan_parquet(path), "1m").collect().rows(named=True)  # noqa: SLF001 - no lake admits duplicates
    assert (found["rows"], found["duplicates"], found["gaps"], found["coverage"]) == (6, 2, 0, 1.0)


def test_absent_timeframe_has_no_rows(lake):
    assert quality(lake, "5m").schema == QUALITY
    assert quality(lake, "5m").is_empty()
