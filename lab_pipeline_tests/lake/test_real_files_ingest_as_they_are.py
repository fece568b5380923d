import polars as pl

from lab_pipeline_tests.lake.samples import everything


def test_five_minute_candles_with_plus_0000_offsets(lake, real_data):
    path = real_data / "altcoins_btc_5m.csv"
    report = lake.ingest_candles([path], "5m")
    assert (report.rows, report.added, report.mints) == (34_515, 34_515, 6)
    expected = pl.read_csv(path).with_columns(
        pl.col("timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%S%.3f%z", time_unit="ms")
    )
    assert everything(lake, "5m").equals(expected.sort("mint", "timestamp"))


def test_calls(lake, real_data):
    report = lake.ingest_calls([real_data / "altcoins_calls.csv"])
    assert (report.rows, report.added) == (239, 239)
    assert lake.callers() == ["breakout", "coin_flip", "volume_spike"]
    assert lake.calls()["called_at"].is_sorted()


def test_one_minute_candles_in_parquet(lake, real_data):
    path = real_data / "btc_perp_1m.parquet"
    report = lake.ingest_candles([path], "1m")
    assert report.rows == report.added == 45_031
    assert everything(lake).equals(pl.read_parquet(path).sort("mint", "timestamp"))
