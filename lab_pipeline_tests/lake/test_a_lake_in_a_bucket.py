"""A lake in a bucket does what one in a directory does; a store that does not answer is an error, no empty lake."""

import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.lake import CandleSlice, Lake, LakeDamagedError, LakeError, combine, tables
from lab_pipeline.lake.coverage import quality
from lab_pipeline.lake.faults import find_faults
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import full_range, run_backtest
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline_tests.lake.samples import calls, candles, everything, frame_of, snapshot
from lab_pipeline_tests.support import markets
from lab_pipeline_tests.support.object_store import serving_objects, use_only

PROGRAM = Path(__file__).with_name("ingest_process.py")
ROWS = candles(["AAA", "BBB", "CCC"], 40)


@pytest.fixture
def lake(bucket):
    return Lake(bucket)


def test_what_is_ingested_is_read(lake, tmp_path):
    assert (lake.timeframes(), lake.calls().height, lake.calls_extent()) == ([], 0, None)
    path = tmp_path / "candles.csv"
    ROWS.write_csv(path)
    assert lake.ingest_candles([path], "1m", receipt="r1").added == ROWS.height
    assert lake.ingest_candles([path], "1m", receipt="r1").done_before
    assert lake.receipts() == ["r1"]
    lake.forget_receipt("r1")
    assert lake.receipts() == []
    lake.write_calls(calls(3))
    assert everything(lake).equals(ROWS)
    assert (lake.calls().height, lake.callers()) == (3, ["ann"])
    assert quality(lake, "1m")["rows"].to_list() == [40, 40, 40]
    assert find_faults(lake, "1m").columns
    assert (lake.damage(), lake.repair(), lake.leftovers()) == ([], [], 0)


def test_it_has_the_snapshot_of_a_directory(lake, tmp_path):
    other = Lake(tmp_path / "lake")
    for one in (lake, other):
        one.write_candles(ROWS, "1m")
    assert snapshot(lake) == snapshot(other)


def test_a_backtest_reads_it_and_goes_back(lake, tmp_path):
    lake.write_candles(markets.candles(), "1m")
    lake.write_calls(markets.calls())
    strategies, artifacts = StrategyStore(tmp_path / "catalog.duckdb", examples=True), ArtifactStore(tmp_path / "runs")

    def run(run_id, as_of=None):
        spec = BacktestSpec(strategy_id="ladder", timeframe="1m", range=full_range(lake), as_of=as_of)
        return run_backtest(run_id, spec, lake=lake, strategies=strategies, artifacts=artifacts)

    first = run("one")
    lake.write_candles(markets.candles().with_columns(pl.col("open", "high", "low", "close") * 1.5), "1m")
    assert run("two").fingerprint != first.fingerprint
    assert run("three", first.lake).fingerprint == first.fingerprint


def test_pieces_are_read_elsewhere(lake):
    lake.write_candles(ROWS, "1m")
    with lake.slice("1m", ["AAA", "BBB", "CCC"], 0, 1 << 60) as whole:
        pieces = pickle.loads(pickle.dumps(whole.pieces(1)))  # noqa: S301 - as they travel between processes
    lake.write_candles(ROWS.with_columns(volume=pl.lit(9.0)), "1m")
    found, digests = [], []
    for piece in pieces:
        with CandleSlice.of(piece) as part:
            found.append(frame_of(part))
        digests += part.digests
    assert pl.concat(found).sort("mint", "timestamp").equals(ROWS)
    assert len(combine(sorted(digests))) == 64


def test_an_ingest_that_is_overtaken_begins_anew_and_loses_nothing(lake, monkeypatch):
    lake.write_candles(ROWS[:20], "1m")
    commit, overtaken = tables.commit, []

    def late(*arguments, **options):
        if not overtaken:
            overtaken.append(1)
            Lake(lake.root).write_candles(ROWS[20:60], "1m")
        return commit(*arguments, **options)

    monkeypatch.setattr(tables, "commit", late)
    report = lake.write_candles(ROWS[60:], "1m")
    assert report.added == ROWS.height - 60
    assert everything(lake).equals(ROWS)


def test_ingests_at_once_lose_nothing(lake, tmp_path):
    pieces = [ROWS[:70], ROWS[50:]]
    running = []
    for number, piece in enumerate(pieces):
        piece.write_parquet(tmp_path / f"{number}.parquet")
        command = [sys.executable, PROGRAM, lake.root, "0", tmp_path / f"{number}.parquet"]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    assert [process.wait(60) for process in running] == [0, 0]
    assert everything(lake).equals(ROWS)


def test_replaced_versions_are_deleted(lake):
    lake.write_candles(ROWS, "1m")
    before = lake.version
    lake.write_candles(ROWS.with_columns(volume=pl.lit(9.0)), "1m")
    later = datetime.now(UTC) + timedelta(days=1)
    assert lake.forget_versions(later, [before], settled=later, remove=True) == 0
    assert lake.forget_versions(later, [], settled=later, remove=True) > 1000
    assert everything(lake)["volume"].unique().to_list() == [9.0]
    with pytest.raises(LakeError, match="this version of the lake is there no longer"):
        everything(lake.at(before))


def test_a_lost_file_is_named(lake):
    lake.write_candles(ROWS, "1m")
    name = lake.candle_files("1m")[0].name
    lake.store.remove(name)
    with pytest.raises(LakeDamagedError, match=rf"{name} is lost"):
        everything(lake)
    assert len(lake.damage()) == 1
    assert len(lake.repair()) == 1
    assert everything(lake).height


@pytest.mark.parametrize(
    "read",
    [
        lambda lake: lake.timeframes(),
        lambda lake: lake.calls(),
        everything,
        lambda lake: lake.write_candles(ROWS, "1m"),
        lambda lake: lake.history(),
        lambda lake: Lake(f"{lake.root}-new").timeframes(),
    ],
)
def test_a_store_that_does_not_answer_is_an_error(monkeypatch, read):
    with serving_objects() as store:
        use_only(store, monkeypatch)
        lake = Lake(f"s3://{store.make_bucket()}/lake")
        lake.write_candles(ROWS, "1m")
        lake.write_calls(calls(3))
        assert lake.calls().height == 3
    with pytest.raises(LakeError, match=r"the lake at s3://bucket-\d+/lake(-new)? cannot be reached: ") as raised:
        read(lake)
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_bucket_that_is_not_there_is_an_error(bucket):
    assert bucket.startswith("s3://")
    with pytest.raises(LakeError, match=r"cannot be reached: .*NoSuchBucket"):
        Lake("s3://no-such-bucket/lake").timeframes()
