"""The README and its pictures tell the numbers of one market: that of the demo, under the rules that ship."""

import json
import re
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from lab_pipeline.cli.demo import DEMO_STRATEGY, DEMO_TIMEFRAME
from lab_pipeline.domain.backtest import BacktestSpec, TimeRange
from lab_pipeline.lake import Lake, generate_market
from lab_pipeline.reports.formats import moment, multiple, percent, signed_percent, words
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import plan, publish, resolve, simulate
from lab_pipeline.runs.published import PublishedRun
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.statistics.answer import SURE, cells_of

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text()
TOLD = json.loads((REPOSITORY / "docs" / "pictures.json").read_text())
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The run of each rule of the picture, by its name."""
    home = tmp_path_factory.mktemp("home")
    market = generate_market(seed=7, tokens=300, calls=1500, timeframe=DEMO_TIMEFRAME)
    lake, artifacts = Lake(home / "lake"), ArtifactStore(home / "artifacts")
    lake.write_candles(market.candles, DEMO_TIMEFRAME)
    lake.write_calls(market.calls)
    strategies = StrategyStore(home / "catalog.duckdb", home / "signals")
    last = market.calls["called_at"].max() + timedelta(milliseconds=1)
    whole = TimeRange(start=market.calls["called_at"].min(), end=last)
    made = {}
    for rule in TOLD["answer"]["rules"]:
        spec = BacktestSpec(strategy_id=rule, timeframe=DEMO_TIMEFRAME, range=whole)
        backtest = resolve(spec, strategies, lake)
        made[rule] = PublishedRun.of(artifacts, publish(rule, simulate(backtest, plan(backtest, lake)), artifacts))
    return made


def test_every_cell_of_the_answer_is_that_of_the_demo(runs):
    cells = {
        (row["run_id"], row["caller"]): signed_percent(row["expectancy"])
        for row in cells_of(list(runs.values())).to_dicts()
    }
    shown = {
        (rule, caller): text
        for caller, texts in TOLD["answer"]["callers"].items()
        for rule, text in zip(TOLD["answer"]["rules"], texts, strict=True)
    }
    assert shown == cells
    assert len(TOLD["answer"]["rules"]) == 6


def test_the_readme_counts_whom_a_rule_makes_money_on(runs):
    cells = cells_of(list(runs.values()))
    gains = cells.filter(pl.col("q_value") <= SURE, pl.col("expectancy") > 0)["caller"].n_unique()
    callers = cells["caller"].n_unique()
    assert f"{gains} callers of {callers} make money under some rule, {callers - gains} under none" in README
    whole = cells.group_by("run_id").agg(all_gain=(pl.col("expectancy") > 0).all())
    assert not whole["all_gain"].any()


def test_the_fills_of_the_trade_are_those_of_the_demo(runs):
    fills = runs[DEMO_STRATEGY].frame("fills").filter(pl.col("call_id") == TOLD["trade"]["call"])
    bought, *sold = fills.sort("fill_no").to_dicts()
    made = [
        [
            moment(row["timestamp"]),
            words(row["reason"]),
            multiple(row["price"] / bought["price"]),
            percent(row["fraction"], 0),
        ]
        for row in (bought, *sold)
    ]
    assert [[row[1], row[2], row[4], row[5]] for row in TOLD["trade"]["fills"]] == made


def test_the_readme_tells_what_each_caller_made(runs):
    trades = runs[DEMO_STRATEGY].trades
    made = trades.group_by("caller").agg(pl.len(), mean=pl.col("net_return").mean(), pnl=pl.col("pnl").sum())
    told = re.findall(r"(?m)^(\S.*?) {2,}([\d,]+) +[\d.]+% +([+-][\d.]+%) +[\d.]+% +([+-][\d,.]+)$", README)
    assert {(caller, trades, mean, pnl) for caller, trades, mean, pnl in told} == {
        (row["caller"], f"{row['len']:,}", f"{row['mean']:+.2%}", f"{row['pnl']:+,.2f}") for row in made.to_dicts()
    }
    summary = runs[DEMO_STRATEGY].summary
    for said in (
        f"{summary.total_return:+.2%}",
        f"{summary.max_drawdown:.2%}",
        f"{summary.expectancy_low:+.2%} to {summary.expectancy_high:+.2%}",
        f"{summary.expectancy_stop_at_level:+.2%}, {summary.expectancy_stop_at_low:+.2%}",
    ):
        assert said in README


def test_every_picture_of_the_readme_is_there():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures[0] == "docs/answer.png"
    assert all((REPOSITORY / picture).stat().st_size > 10_000 for picture in pictures)
