"""What a run read of the lake can be read again, whatever was ingested since: the same fingerprint and bytes."""

from datetime import timedelta

import polars as pl
import pytest

from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.lake import Lake, LakeError
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import find_problems, full_range, run_backtest
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline_tests.support.markets import calls, candles


@pytest.fixture
def lake(tmp_path):
    lake = Lake(tmp_path / "lake")
    lake.write_candles(candles(), "1m")
    lake.write_calls(calls())
    return lake


@pytest.fixture
def run(tmp_path, lake):
    strategies, artifacts = StrategyStore(tmp_path / "catalog.duckdb", examples=True), ArtifactStore(tmp_path / "runs")

    def run(run_id, as_of=None):
        spec = BacktestSpec(strategy_id="ladder", timeframe="1m", range=full_range(lake.at(as_of)), as_of=as_of)
        return run_backtest(run_id, spec, lake=lake, strategies=strategies, artifacts=artifacts)

    return run


def restate(lake):
    lake.write_candles(candles().with_columns(pl.col("open", "high", "low", "close") * 1.5), "1m")
    more = calls().with_columns(pl.col("call_id") + "-2", called_at=pl.col("called_at") + 60_000)
    lake.write_calls(more)


def test_a_run_says_which_version_it_read(lake, run):
    assert run("one").lake == lake.version == "v1.1"


@pytest.mark.parametrize("by", ["version", "time"])
def test_it_is_read_again_after_later_ingests(lake, run, by):
    first = run("one")
    then = lake.history()[-1]
    restate(lake)
    changed = run("two")
    again = run("three", first.lake if by == "version" else then.at.isoformat())

    assert changed.fingerprint != first.fingerprint
    assert changed.lake == "v2.2"
    assert (again.fingerprint, again.lake) == (first.fingerprint, first.lake)
    assert {file.name: file.sha256 for file in again.files} == {file.name: file.sha256 for file in first.files}


def test_a_version_that_never_was_is_named(lake, run, tmp_path):
    with pytest.raises(LakeError, match=r"the lake has no version 9 of its candles: the newest is 1"):
        run("one", "v9.1")
    early = (lake.history()[0].at - timedelta(seconds=1)).isoformat()
    with pytest.raises(LakeError, match=r"no version of .* or before: the first is of"):
        run("one", early)
    spec = BacktestSpec(strategy_id="ladder", timeframe="1m", range=full_range(lake), as_of="v9.1")
    strategies = StrategyStore(tmp_path / "catalog.duckdb", examples=True)
    assert [(one.path, "no version 9" in one.message) for one in find_problems(spec, strategies, lake)] == [
        ("asOf", True)
    ]


def test_what_is_neither_a_version_nor_a_time_is_refused(lake):
    request = {"strategyId": "ladder", "timeframe": "1m", "range": full_range(lake).to_json_dict(), "asOf": "12"}
    with pytest.raises(InvalidConfigError, match=r"asOf: must be a version of the lake, such as v12.5, or a time"):
        BacktestSpec.parse(request, subject="backtest")


def test_a_lake_as_it_was_stays_so_while_others_ingest(lake):
    then = lake.at(None)
    before = then.candles("1m", "AAA", 0, 1 << 60)
    restate(lake)
    assert then.candles("1m", "AAA", 0, 1 << 60).equals(before)
    assert (then.calls().height, lake.calls().height) == (calls().height, 2 * calls().height)
    assert then.at(None).version == "v1.1"


def test_the_history_tells_what_was_done(lake):
    restate(lake)
    told = [(one.name, one.table, one.what, one.added, one.changed) for one in lake.history()[2:]]
    rows = candles().height
    assert told == [
        ("v1.0", "candles", "ingest frame", rows, 0),
        ("v1.1", "calls", "ingest frame", calls().height, 0),
        ("v2.1", "candles", "ingest frame", 0, rows),
        ("v2.2", "calls", "ingest frame", calls().height, 0),
    ]
