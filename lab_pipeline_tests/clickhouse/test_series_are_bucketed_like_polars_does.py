from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lab_pipeline.clickhouse.series import COLUMNS, SERIES_KINDS, Bucket, fill_series, metric_series
from lab_pipeline.clickhouse.writer import publish_run
from lab_pipeline_tests.clickhouse.market import BEGIN, equity_frame, fills_frame

EQUITY = equity_frame(3_000)
FILLS = fills_frame(800)


@pytest.fixture(scope="module")
def run(clickhouse):
    run_id = f"series-{id(EQUITY)}-{BEGIN}"
    publish_run(clickhouse, run_id, equity_frame(77), fills_frame(9))  # replaced by the next
    publish_run(clickhouse, run_id, EQUITY, FILLS)
    return run_id


def expected_metrics(equity, every):
    grouped = equity if every == "raw" else equity.with_columns(pl.col("timestamp").dt.truncate(every))
    return (
        grouped.group_by(pl.col("timestamp").alias("bucket"), maintain_order=True)
        .agg(
            equity_open=pl.col("equity").first(),
            equity_high=pl.col("equity").max(),
            equity_low=pl.col("equity").min(),
            equity_close=pl.col("equity").last(),
            drawdown_min=pl.col("drawdown").min(),
            exposure_mean=pl.col("exposure").mean(),
            exposure_max=pl.col("exposure").max(),
        )
        .sort("bucket")
    )


@pytest.mark.parametrize("bucket", list(Bucket))
def test_every_bucket_of_the_metrics(clickhouse, run, bucket):
    assert_frame_equal(metric_series(clickhouse, run, bucket), expected_metrics(EQUITY, str(bucket)))


@pytest.mark.parametrize("bucket", list(Bucket))
@pytest.mark.parametrize("kinds", [SERIES_KINDS, ("exposure", "equity"), ("drawdown",)])
def test_points_that_fill_buckets_alone_are_the_same_series(clickhouse, run, bucket, kinds):
    columns = ["bucket", *(name for kind in kinds for name in COLUMNS[kind])]
    found = metric_series(clickhouse, run, bucket, kinds=kinds, spacing_ms=60_000)
    assert_frame_equal(found.select(columns), expected_metrics(EQUITY, str(bucket)).select(columns))
    assert found.columns == expected_metrics(EQUITY, str(bucket)).columns


@pytest.mark.parametrize("bucket", list(Bucket))
def test_every_bucket_of_the_fills(clickhouse, run, bucket):
    every = FILLS if bucket is Bucket.RAW else FILLS.with_columns(pl.col("timestamp").dt.truncate(str(bucket)))
    expected = (
        every.group_by(pl.col("timestamp").alias("bucket"))
        .agg(
            fills=pl.len().cast(pl.UInt64),
            buys=(pl.col("side") == "buy").sum().cast(pl.UInt64),
            sells=(pl.col("side") == "sell").sum().cast(pl.UInt64),
            notional=(pl.col("price") * pl.col("quantity")).sum(),
        )
        .sort("bucket")
    )
    assert_frame_equal(fill_series(clickhouse, run, bucket), expected)


def test_ranges_include_their_start_and_exclude_their_end(clickhouse, run):
    start, end = BEGIN + timedelta(minutes=100), BEGIN + timedelta(minutes=200)
    found = metric_series(clickhouse, run, start=start, end=end)
    assert (found["bucket"].min(), found["bucket"].max(), found.height) == (start, end - timedelta(minutes=1), 100)
    assert (
        fill_series(clickhouse, run, start=start, end=end)["fills"].sum()
        == FILLS.filter(pl.col("timestamp").is_between(start, end, closed="left")).height
    )
    assert metric_series(clickhouse, run, start=end, end=start).height == 0


@pytest.mark.parametrize("most", [2, 3, 10, 777, 2_999, 3_000, 10**6])
def test_longer_buckets_keep_the_series_within_max_points(clickhouse, run, most):
    found = metric_series(clickhouse, run, max_points=most)
    assert found.height <= most
    assert found.height == 3_000 or most < 3_000
    assert found["equity_high"].max() == EQUITY["equity"].max()
    assert found["drawdown_min"].min() == EQUITY["drawdown"].min()
    assert found["equity_open"][0] == EQUITY["equity"][0]
    assert found["equity_close"][-1] == EQUITY["equity"][-1]
    assert fill_series(clickhouse, run, max_points=most)["fills"].sum() == FILLS.height


def test_fewer_than_two_points_are_no_series(clickhouse, run):
    with pytest.raises(ValueError, match="at least 2"):
        metric_series(clickhouse, run, max_points=1)
