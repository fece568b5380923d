"""A home of which lake, catalog, artifacts and statistics are from before stops, costs and calls said more."""

import json
from datetime import timedelta

import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import BacktestSpec, TimeRange
from lab_pipeline.domain.strategy import NEUTRAL, Strategy
from lab_pipeline.domain.summary import Summary
from lab_pipeline.lake import Lake
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import run_backtest
from lab_pipeline.runs.compare import differing_fields
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.statistics import Board, RunRecord, Statistics, leaderboard, refresh
from lab_pipeline.statistics.catalog import Catalog
from lab_pipeline.statistics.segments import SegmentFiles
from lab_pipeline.storage.catalog_file import open_catalog
from lab_pipeline_tests.support.world import START

DOCUMENT = {
    "id": "mine",
    "exit": {"stopLoss": 0.2, "targets": [{"multiple": 1.5, "fraction": 1.0}]},
    "costs": {"feeBps": 30.0},
}
AT_LEVEL = "stops at their level, stop first, fee 30 bps"
PRICES = [(1, 1.1, 0.9, 1), (1, 1, 0.5, 0.6), (0.6, 0.7, 0.5, 0.6)]


def without_later_fields(strategy):
    """Take what later versions added out of a strategy's JSON."""
    for path in NEUTRAL:
        *parents, last = path.split(".")
        node = strategy
        for parent in parents:
            node = node[parent]
        node.pop(last, None)
    return strategy


@pytest.fixture
def home(tmp_path):
    """A home with a published run, `old`, of which everything is as its own version wrote it."""
    rows = [
        (mint, START + timedelta(minutes=minute), *map(float, prices), 10.0)
        for mint in ("A", "B")
        for minute, prices in enumerate(PRICES)
    ]
    lake, strategies = Lake(tmp_path / "lake"), StrategyStore(tmp_path / "catalog.duckdb", examples=False)
    lake.write_candles(pl.DataFrame(rows, schema=frames.CANDLES, orient="row"), "1m")
    called = [(f"c{mint}", "ann", mint, START) for mint in ("A", "B")]
    lake.write_calls(pl.DataFrame(called, schema=frames.CALLS, orient="row"))
    document = DOCUMENT | {"exit": DOCUMENT["exit"] | {"stopFill": {"through": 0}}}
    strategies.add(Strategy.parse(document))
    backtest(tmp_path, "old")
    refresh(statistics(tmp_path), known("old"))
    with open_catalog(tmp_path / "catalog.duckdb").transaction(write=True) as connection:
        ((config,),) = connection.execute("SELECT config FROM strategies")
        stripped = json.dumps(without_later_fields(json.loads(config)))
        connection.execute("UPDATE strategies SET config = $1", [stripped])
        connection.execute("ALTER TABLE leaderboard_runs DROP COLUMN fills")
        connection.execute("UPDATE statistics_state SET format = 3")
    path = tmp_path / "artifacts" / "old" / "manifest.json"
    manifest = json.loads(path.read_text())
    without_later_fields(manifest["spec"]["strategy"])
    manifest["spec"].pop("signals", None)
    manifest["engine_version"] = "2"
    for name, field in Summary.model_fields.items():
        if not field.is_required():
            del manifest["summary"][name]
    path.write_text(json.dumps(manifest))
    return tmp_path


def backtest(home, run_id, **params):
    whole = TimeRange(start=START, end=START + timedelta(days=1))
    return run_backtest(
        run_id,
        BacktestSpec(strategy_id="mine", timeframe="1m", range=whole, params=params),
        lake=Lake(home / "lake"),
        strategies=StrategyStore(home / "catalog.duckdb", examples=False),
        artifacts=ArtifactStore(home / "artifacts"),
        threads=1,
    )


def statistics(home):
    files = SegmentFiles(home / "statistics")
    return Statistics(Catalog(home / "catalog.duckdb"), files, ArtifactStore(home / "artifacts"), threads=1)


def known(*run_ids):
    return [RunRecord(run_id, "completed", "mine", START) for run_id in run_ids]


def test_its_strategies_go_on_as_they_were(home):
    strategies = StrategyStore(home / "catalog.duckdb", examples=False)
    assert strategies.get("mine").strategy.exit.stop_fill.through == 0
    unchanged, new = (
        Strategy.parse(DOCUMENT | {"exit": DOCUMENT["exit"] | more}) for more in ({"stopFill": {"through": 0}}, {})
    )
    assert strategies.add(unchanged).version == "1"
    assert strategies.add(new).version == "2"  # which now says how far its stops fill through
    again = backtest(home, "again", **{"exit.stopFill": {"through": 0}})
    old, now = (pl.read_parquet(home / "artifacts" / one / "trades.parquet") for one in ("old", "again"))
    assert now.equals(old)
    assert again.snapshot == ArtifactStore(home / "artifacts").manifest("old").snapshot


def test_its_runs_are_read_as_what_they_were(home):
    old = ArtifactStore(home / "artifacts").manifest("old")
    assert old.fill_assumptions.text == AT_LEVEL
    new = backtest(home, "new", **{"exit.stopFill": {"through": 0.5}})
    assert differing_fields([old.spec, new.spec])["strategy.exit.stopFill.through"] == [0.0, 0.5]


def test_its_statistics_are_computed_anew_with_the_label_of_what_it_did(home):
    backtest(home, "new", **{"exit.stopFill": {"through": 0.5}})
    done = refresh(statistics(home), known("old", "new"))
    assert (done.changed, done.runs) == (True, 2)
    body = leaderboard(statistics(home), Board.RUNS)[0].body
    assert {row["runId"]: row["fillAssumptions"] for row in body["leaderboard"]} == {
        "old": AT_LEVEL,
        "new": "stops 0.5 through, stop first, fee 30 bps",
    }
    assert body["fillsNote"] is not None
