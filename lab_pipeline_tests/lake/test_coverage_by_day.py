"""How much of each token's days the lake has."""

from datetime import date

import polars as pl
import pytest

from lab_pipeline.lake import Lake
from lab_pipeline.lake.coverage import by_day

MINUTE = 60_000
MIDNIGHT = 1_515_542_400_000  # 2018-01-10T00:00:00Z


def test_a_day_is_counted_by_the_candles_that_a_whole_one_has(tmp_path):
    lake = Lake(tmp_path)
    rows = [("AAA", MIDNIGHT + number * 60 * MINUTE) for number in range(36)] + [("BBB", MIDNIGHT)]
    candles = pl.DataFrame(rows, {"mint": pl.String, "timestamp": pl.Int64}, orient="row").select(
        "mint", pl.col("timestamp").cast(pl.Datetime("ms", "UTC")),
        *(pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close", "volume")),
    )  # fmt: skip
    lake.write_candles(candles, "1h")
    found = by_day(lake, "1h", ["AAA"])
    assert found.rows() == [("AAA", date(2018, 1, 10), 1.0), ("AAA", date(2018, 1, 11), 0.5)]
    assert by_day(lake, "1h", ["BBB"])["share"].to_list() == [pytest.approx(1 / 24)]
    assert by_day(lake, "5m", ["AAA"]).is_empty()
