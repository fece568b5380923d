"""The lake's tables are open ones: what reads Delta Lake reads them, now and as they were."""

import polars as pl
import pytest
from deltalake import DeltaTable

from lab_pipeline.domain import frames
from lab_pipeline.lake import Lake
from lab_pipeline_tests.lake.samples import as_of_layout_1, calls, candles, everything

ROWS = candles(["AAA", "BBB", "CCC"], 40)


@pytest.fixture(params=["new", "taken in"])
def stored(lake, request):
    lake.write_candles(ROWS, "1m")
    lake.write_candles(candles(["AAA"], 8, step_ms=300_000).with_columns(liquidity=pl.lit(5.0)), "5m")
    lake.write_calls(calls(3))
    if request.param == "taken in":
        as_of_layout_1(lake)
    return Lake(lake.root)


def scan(lake, timeframe, version=None):
    found = pl.scan_delta(str(lake.root / "candles"), version=version).filter(pl.col("timeframe") == timeframe)
    return found.select(*frames.CANDLES).cast(frames.CANDLES).collect().sort("mint", "timestamp")


def test_polars_reads_what_the_lab_reads(stored):
    assert everything(stored).equals(ROWS)
    assert scan(stored, "1m").equals(ROWS)
    assert scan(stored, "5m").height == 8
    calls_found = pl.scan_delta(str(stored.root / "calls")).collect()
    assert calls_found["call_id"].to_list() == stored.calls()["call_id"].to_list()
    assert calls_found["targets"].null_count() == 3


def test_polars_reads_earlier_versions(stored):
    before = scan(stored, "1m") if stored.timeframes() else None
    version = int(stored.version[1:].partition(".")[0])
    stored.write_candles(ROWS.with_columns(volume=pl.lit(7.0)), "1m")
    assert scan(stored, "1m", version).equals(before)
    assert scan(stored, "1m")["volume"].unique().to_list() == [7.0]


def test_the_log_prunes_by_mint_and_time(stored):
    stored.timeframes()
    actions = pl.DataFrame(DeltaTable(stored.root / "candles").get_add_actions(flatten=True))
    of_minutes = actions.filter(pl.col("partition.timeframe") == "1m")
    assert of_minutes["num_records"].sum() == ROWS.height
    assert (of_minutes["min.timestamp"].min(), of_minutes["max.timestamp"].max()) == (
        ROWS["timestamp"].min(),
        ROWS["timestamp"].max(),
    )
    assert set(of_minutes["min.mint"]) | set(of_minutes["max.mint"]) == {"AAA", "BBB", "CCC"}
