from datetime import UTC, datetime

import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.lake import IngestError, Lake, snapshot_hash
from lab_pipeline_tests.lake.samples import FOREVER, calls, candles

PLANS = (
    "call_id,caller,mint,called_at,direction,entry_price,targets,stop_price,price_at_call,market_cap_at_call,"
    "liquidity_at_call,chain,source_url,message_id,edited_at,mood\n"
    "c1,ann,AAA,2025-03-01T12:00:00Z,LONG,1.5,2;3.5,0.9,1.4,1000000,5000,solana,https://example.org/1,77,2025-03-01T12:03:00Z,good\n"
    'c2,ann,AAA,2025-03-01T12:01:00Z,,,"[2, 4]",,,,0,,,,,\n'
    "c3,bob,BBB,2025-03-01T12:02:00Z,short,1,0.5,2,,,,,,,,\n"
)


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


def ingested(lake, tmp_path, text, name="calls.csv"):
    path = tmp_path / name
    path.write_text(text)
    return lake.ingest_calls([path])


def test_a_csv_brings_all_that_a_caller_said(lake, tmp_path):
    report = ingested(lake, tmp_path, PLANS)
    assert report.ignored_columns == {str(tmp_path / "calls.csv"): ["mood"]}
    found = lake.calls()
    assert found.schema == {**frames.CALLS, **frames.CALL_OPTIONS}
    assert found["direction"].to_list() == ["long", None, "short"]
    assert found["targets"].to_list() == [[2.0, 3.5], [2.0, 4.0], [0.5]]
    assert found["stop_price"].to_list() == [0.9, None, 2.0]
    assert found["liquidity_at_call"].to_list() == [5000.0, 0.0, None]
    assert found["source_url"].to_list() == ["https://example.org/1", None, None]
    assert found["message_id"].to_list() == ["77", None, None]
    assert found["edited_at"].to_list() == [datetime(2025, 3, 1, 12, 3, tzinfo=UTC), None, None]


@pytest.mark.parametrize("dtype", [pl.List(pl.Float64), pl.List(pl.Int64), pl.Array(pl.Float64, 2)])
def test_parquet_brings_targets_as_lists(lake, tmp_path, dtype):
    rows = calls(3).with_columns(targets=pl.Series([[2, 3], None, [4, 5]], dtype=dtype))
    rows.write_parquet(tmp_path / "calls.parquet")
    lake.ingest_calls([tmp_path / "calls.parquet"])
    assert lake.calls()["targets"].to_list() == [[2.0, 3.0], None, [4.0, 5.0]]
    assert lake.write_calls(lake.calls()).unchanged == 3


def test_what_nobody_says_is_no_column(lake):
    lake.write_calls(calls(3).with_columns(chain=pl.lit(None, pl.String), entry_price=pl.lit(1.5)))
    assert lake.calls().schema == {**frames.CALLS, "entry_price": pl.Float64}


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("direction", "sideways", "must be long or short"),
        ("entry_price", "-1", "must be a price from 1e-100 to 1e+100"),
        ("entry_price", "cheap", "must be a number"),
        ("price_at_call", "inf", "must be a price"),
        ("stop_price", "0", "must be a price"),
        ("targets", "2;nan", "must be prices"),
        ("targets", "2;-3", "must be prices"),
        ("targets", "2;soon", "must be numbers, with semicolons between them"),
        ("market_cap_at_call", "-1", "must be from 0 to 1e+100"),
        ("liquidity_at_call", "-0.5", "must be from 0 to 1e+100"),
        ("source_url", "a\x1b[31m", "must be at most 2,000 visible characters"),
    ],
)
def test_a_wrong_option_is_named_by_row(lake, tmp_path, column, value, rule):
    rows = f"c0,ann,AAA,2025-03-01T12:00:00Z,\nc1,ann,AAA,2025-03-01T12:00:00Z,{value}\n"
    with pytest.raises(IngestError) as caught:
        ingested(lake, tmp_path, f"call_id,caller,mint,called_at,{column}\n{rows}")
    (found,) = caught.value.violations
    assert (found.column, found.row) == (column, "line 3")
    assert rule in found.rule
    assert lake.calls().is_empty()


def test_a_stop_above_all_targets_is_no_plan(lake, tmp_path):
    header = "call_id,caller,mint,called_at,direction,targets,stop_price\n"
    for direction, wrong in (("", True), ("long", True), ("short", False)):
        row = f"c1,ann,AAA,2025-03-01T12:00:00Z,{direction},1.5;2,2\n"
        if wrong:
            with pytest.raises(IngestError, match=r"stop_price.*must be below the targets"):
                ingested(lake, tmp_path, header + row)
        else:
            ingested(lake, tmp_path, header + row)


def test_a_file_without_a_column_leaves_what_is_known(lake):
    rows = calls(3)
    lake.write_calls(rows.with_columns(entry_price=pl.Series([1.0, 2.0, 3.0])))
    report = lake.write_calls(rows)
    assert (report.changed, report.unchanged) == (0, 3)
    assert sorted(lake.calls()["entry_price"]) == [1.0, 2.0, 3.0]
    report = lake.write_calls(rows.with_columns(entry_price=pl.Series([1.0, None, 4.0])))
    assert (report.changed, report.unchanged) == (2, 1)
    assert lake.calls()["entry_price"].null_count() == 1


def test_files_with_and_without_a_column_are_put_together(lake, tmp_path):
    rows = calls(2)
    rows.write_csv(tmp_path / "plain.csv")
    rows.with_columns(entry_price=pl.lit(1.5)).write_csv(tmp_path / "plans.csv")
    rows.with_columns(entry_price=pl.lit(2.5)).write_csv(tmp_path / "others.csv")
    lake.ingest_calls([tmp_path / "plain.csv", tmp_path / "plans.csv"])
    assert lake.calls()["entry_price"].to_list() == [1.5, 1.5]
    with pytest.raises(IngestError, match="must be unique"):
        lake.ingest_calls([tmp_path / "plans.csv", tmp_path / "plain.csv", tmp_path / "others.csv"])


def test_the_snapshot_covers_what_is_read_of_calls():
    rows = calls(3)
    digest = "ab" * 32
    plain = snapshot_hash(rows, digest)
    targets = rows.with_columns(targets=pl.Series([[2.0], None, [3.0, 4.0]]))
    assert snapshot_hash(rows.with_columns(targets=pl.lit(None, pl.List(pl.Float64))), digest) == plain
    assert snapshot_hash(targets, digest) != plain
    assert snapshot_hash(targets.reverse(), digest) == snapshot_hash(targets, digest)
    other = rows.with_columns(targets=pl.Series([[2.0], [3.0], [4.0]]))
    assert snapshot_hash(other, digest) != snapshot_hash(targets, digest)


def read(lake, mints=("AAA", "BBB", "CCC"), *, liquidity):
    with lake.slice("1m", mints, *FOREVER, liquidity=liquidity) as part:
        shards = list(part)
        return shards, part.snapshot, part.bytes


def pools(rows, *, of):
    return rows.with_columns(liquidity=pl.when(pl.col("mint") == of).then(pl.col("close") * 1000))


def test_liquidity_is_read_where_it_is_asked_for(lake):
    rows = candles(["AAA", "BBB", "CCC"], 30)
    lake.write_candles(rows, "1m")
    plain = read(lake, liquidity=True)
    assert not lake.has_liquidity("1m")
    report = lake.write_candles(pools(rows, of="BBB"), "1m")
    assert report.changed == rows.filter(mint="BBB").height
    assert lake.has_liquidity("1m")
    shards, snapshot, size = read(lake, liquidity=False)
    assert (snapshot, size) == plain[1:]
    assert all(shard.liquidity is None for shard in shards)
    shards, with_pools, more = read(lake, liquidity=True)
    assert with_pools != snapshot
    assert more > size
    found = pl.concat(
        pl.DataFrame({"mint": mint, "close": shard.close[a:b], "liquidity": shard.liquidity[a:b]})
        for shard in shards
        for mint, a, b in zip(shard.mints, shard.offsets[:-1], shard.offsets[1:], strict=True)
    )
    assert found.filter(pl.col("mint") != "BBB")["liquidity"].is_nan().all()
    assert found.filter(mint="BBB").select((pl.col("liquidity") == pl.col("close") * 1000).all()).item()
    assert read(lake, ["AAA", "CCC"], liquidity=True)[1] == read(lake, ["AAA", "CCC"], liquidity=False)[1]
    assert lake.write_candles(pools(rows, of="BBB"), "1m").unchanged == rows.height


def test_a_negative_liquidity_is_named(lake):
    rows = candles(["AAA"], 30).with_columns(liquidity=pl.lit(-1.0))
    with pytest.raises(IngestError, match=r"liquidity.*must be from 0"):
        lake.write_candles(rows, "1m")
    assert lake.timeframes() == []


def test_an_ingest_that_reads_liquidity_keeps_checked_candles_checked(lake):
    lake.write_candles(pools(candles(["AAA"], 30), of="AAA"), "1m")
    ((shard,), *_) = read(lake, ["AAA"], liquidity=True)
    assert shard.checked == 60_000
