"""What comes of a sweep, in the words of whoever asked for it."""

import math
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.domain.space import Space
from lab_pipeline.domain.strategy import Exit, StopFill, StrategyConfig
from lab_pipeline.engine import simulate
from lab_pipeline.engine.sweep import Sets, SweepCanceledError, Sweeper, sweep
from lab_pipeline.engine.sweep.cells import BINS, Cells, accumulate, bin_edges, bytes_needed, medians, totals
from lab_pipeline_tests.engine.market import calls, candles

from .walks import walks

BASE = StrategyConfig(exit=Exit(stop_loss=0.25, stop_fill=StopFill(through=0)))


def test_the_first_worked_example_by_several_rules():
    """(1,1.1,.9,1.05)(1.05,1.2,1,1.15)(1.15,2.1,1.1,2): twice doubles, a stop of a twentieth is hit at once."""
    rows = candles([(1, 1.1, 0.9, 1.05), (1.05, 1.2, 1, 1.15), (1.15, 2.1, 1.1, 2)])
    space = {
        "exit.stopLoss": [0.25, 0.05],
        "exit.targets": [[], [{"multiple": 2, "fraction": 1}], [{"multiple": 1.1, "fraction": 0.5}]],
    }
    result = sweep(rows, calls(), BASE, space, timeframe="1m")
    net = dict(zip(result.sets["set_id"], result.sets["expectancy"], strict=True))
    assert net == pytest.approx({0: 1.0, 1: 1.0, 2: 0.55, 3: -0.05, 4: -0.05, 5: -0.05})
    assert result.sets.columns[:5] == [
        "set_id",
        "config_hash",
        "p.exit.stopLoss",
        "p.exit.targets[0].multiple",
        "p.exit.targets[0].fraction",
    ]
    assert result.sets["p.exit.targets[0].multiple"].to_list() == [None, 2.0, 1.1] * 2
    assert result.sets["trades"].to_list() == [1] * 6
    assert result.sets["ambiguous"].to_list() == [0, 0, 0, 0, 0, 1]
    assert (result.pairs, result.by_kernel, result.asked) == (6, 0, 6)


def test_a_set_has_the_hash_of_its_configuration():
    sets = Sets(BASE, Space.parse({"exit.stopLoss": [0.1, 0.2]}))
    exits = [Exit(stop_loss=fraction, stop_fill=StopFill(through=0)) for fraction in (0.1, 0.2)]
    assert sets.hashes == [StrategyConfig(exit=leave).config_hash() for leave in exits]
    assert sets.config(1).exit.stop_loss == 0.2


def test_sets_that_are_none_are_counted_and_named():
    space = Space.parse(
        {"exit.stopLoss": [0.1, 0.1, 1.5, 0.2], "exit.maxHoldMinutes": [10, 60]},
        ["exit.maxHoldMinutes / 100 > exit.stopLoss"],
    )
    sets = Sets(BASE, space)
    assert (sets.asked, len(sets), sets.duplicates, sets.excluded, sets.invalid_count) == (8, 2, 1, 5, 0)
    sets = Sets(BASE, Space.parse({"exit.stopLoss": [0.1, 0.1, 1.5, 0.2]}))
    assert (sets.asked, len(sets), sets.duplicates, sets.excluded, sets.invalid_count) == (4, 2, 1, 0, 1)
    assert (sets.invalid[0].number, sets.invalid[0].values) == (2, {"exit.stopLoss": 1.5})
    assert sets.invalid[0].problems[0].path == "exit.stopLoss"


def test_a_space_without_a_set_is_refused_with_the_reason():
    with pytest.raises(InvalidConfigError, match=r"none of 2 sets is a strategy.*exit\.stopLoss: input should be"):
        Sets(BASE, Space.parse({"exit.stopLoss": [1.5, 2.5]}))
    with pytest.raises(InvalidConfigError, match="none of 1 sets passes"):
        Sets(BASE, Space.parse({"exit.stopLoss": [0.5]}, ["exit.stopLoss < 0.1"]))


def test_cells_that_do_not_fit_the_memory_are_refused_with_what_would():
    _, called = walks(tokens=4, calls_each=4)
    sets = Sets(BASE, Space.parse({"exit.stopLoss": {"from": 0.1, "to": 0.9, "n": 100}}))
    with pytest.raises(LabError, match=r"100 sets on 2 days of 7 callers take 0\.00 GB.*\(\d+ sets fit\)"):
        Sweeper(called, sets, timeframe="1m", memory=bytes_needed(100, 2, 7) - 1)
    Sweeper(called, sets, timeframe="1m", memory=bytes_needed(100, 2, 7))


def test_memory_is_told_to_the_byte():
    cells = Cells.empty(11, 3, 5)
    arrays = [*cells.by_day, *cells.by_caller, *cells.tail, cells.entered, cells.reasons, cells.held]
    arrays += [cells.ambiguous, cells.by_kernel]
    assert sum(array.nbytes for array in arrays) == bytes_needed(11, 3, 5)


def test_a_canceled_sweep_ends_and_is_of_no_use():
    rows, called = walks(tokens=30, calls_each=40)
    sets = Sets(
        BASE, Space.parse({"exit.stopLoss": {"from": 0.01, "to": 0.9, "n": 500}, "exit.maxHoldMinutes": [5, 10]})
    )
    done: list[int] = []
    sweeper = Sweeper(called, sets, timeframe="1m", threads=1, canceled=lambda: len(done) > 1, progress=done.append)
    columns = CandleColumns.from_frame(rows.sort("mint", "timestamp"))
    with pytest.raises(SweepCanceledError, match="canceled"):
        sweeper.add(columns)
    assert 2 <= len(done) <= 3
    with pytest.raises(RuntimeError, match="make a new Sweeper"):
        sweeper.finish()


def test_progress_adds_up_to_all_pairs():
    rows, called = walks(tokens=10, calls_each=5)
    sets = Sets(BASE, Space.parse({"exit.stopLoss": [0.1, 0.2], "costs.fixedFee": [0, 1]}))
    done: list[int] = []
    sweeper = Sweeper(called, sets, timeframe="1m", progress=done.append)
    sweeper.add(CandleColumns.from_frame(rows.sort("mint", "timestamp")))
    assert sum(done) == 4 * 50


def test_sums_are_exact_whatever_their_order():
    random = np.random.default_rng(0)
    net = np.exp(random.normal(0, 3, (5_000, 1))) * random.choice([1.0, 1e-9, 9.0], (5_000, 1)) / 3 - 1.0
    one, other = Cells.empty(1, 2, 1), Cells.empty(1, 2, 1)
    days, callers = random.integers(0, 2, 5_000), np.zeros(5_000, np.int64)
    order = random.permutation(5_000)
    accumulate(net, days, callers, 0, one.by_day, one.by_caller, one.tail)
    accumulate(net[order], days[order], callers, 0, other.by_day, other.by_caller, other.tail)
    for left, right in ((one.by_day, other.by_day), (one.by_caller, other.by_caller), (one.tail, other.tail)):
        for mine, others in zip(left, right, strict=True):
            assert mine.tobytes() == others.tobytes()
    assert totals(one.by_day.whole, one.by_day.rest)[0] == math.fsum(net[:, 0])
    for day in range(2):
        exact = math.fsum(net[days == day, 0])
        assert one.by_day.whole[day, 0] + one.by_day.rest[day, 0] == exact
    squares = math.fsum(x * x for x in net[:, 0].tolist())
    assert totals(one.by_day.square, one.by_day.square_rest)[0] == pytest.approx(squares, rel=1e-10)


def test_medians_are_near():
    random = np.random.default_rng(1)
    net = np.exp(random.normal(-0.2, 0.6, (20_001, 1))) - 1.0
    cells = Cells.empty(1, 1, 1)
    places = np.zeros(len(net), np.int64)
    accumulate(net, places, places, 0, cells.by_day, cells.by_caller, cells.tail)
    edges = bin_edges()
    assert len(edges) == BINS + 1
    assert (np.diff(edges) > 0).all()
    inside = np.clip(np.searchsorted(edges, net[:, 0], side="right") - 1, 0, BINS - 1)
    below = net[:, 0] < 0
    inside[below] = np.clip(np.searchsorted(edges, net[below, 0], side="left") - 1, 0, BINS - 1)
    assert (np.bincount(inside, minlength=BINS) == cells.tail.bins[0]).all()
    assert medians(cells.tail.bins)[0] == pytest.approx(np.median(net), abs=0.01)
    assert np.isnan(medians(np.zeros((1, BINS), np.int32))[0])


def test_errors_are_clustered_by_day():
    rows, called = walks(tokens=30, calls_each=6)
    result = sweep(rows, called, BASE, {"exit.maxHoldMinutes": [30]}, timeframe="1m")
    trades = simulate(
        rows, called, Sets(BASE, Space.parse({"exit.maxHoldMinutes": [30]})).config(0), timeframe="1m"
    ).trades
    net, mean = trades["net_return"], trades["net_return"].mean()
    by_day = trades.group_by(pl.col("called_at").dt.date()).agg(left=(pl.col("net_return") - mean).sum())["left"]
    error = math.sqrt((by_day**2).sum() * len(by_day) / (len(by_day) - 1)) / len(net)
    row = result.sets.row(0, named=True)
    assert row["expectancy_se"] == pytest.approx(error, rel=1e-9)
    assert row["expectancy_lower"] == pytest.approx(mean - 1.6448536269514722 * error, rel=1e-9)
    assert row["days"] == len(by_day)
    assert row["callers"] == 7
    assert (result.reach >= result.days + 1_440 * 60_000).all()


def test_callers_beyond_a_thousand_share_a_cell(monkeypatch):
    monkeypatch.setattr("lab_pipeline.engine.sweep.sweeper.MOST_CALLERS", 2)
    rows, called = walks(tokens=6, calls_each=5)
    named = called.with_columns(caller=pl.Series(["often"] * 15 + ["twice"] * 10 + ["a", "b", "c", "d", "e"]))
    result = sweep(rows, named, BASE, {"exit.stopLoss": [0.2]}, timeframe="1m")
    assert result.callers == ["often", "twice", "(other)"]
    assert result.caller_trades.tolist() == [[15, 10, 5]]


def test_the_example_of_the_guide_runs():
    rows, called = walks(tokens=6, calls_each=5)
    names = {"candles": rows.filter(pl.col("timestamp").dt.minute() % 5 == 0), "calls": called, "strategy": BASE}
    guide = (Path(__file__).parents[3] / "docs" / "sweeps.md").read_text()
    exec(re.search(r"```python\n(.*?)```", guide, re.DOTALL)[1], names)  # noqa: S102 - our own page
    assert len(names["result"].sets) == 30
