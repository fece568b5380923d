"""Threads, shards, parts and the order of everything change no byte of a sweep."""

import pickle

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.space import Space
from lab_pipeline.domain.strategy import Exit, Reentry, StrategyConfig
from lab_pipeline.engine.sweep import Sets, Sweeper
from lab_pipeline.engine.sweep import sweeper as module
from lab_pipeline_tests.engine.market import assert_identical

from .generated_sweeps import cells_of
from .walks import walks

BASE = StrategyConfig(exit=Exit(stop_loss=0.3), reentry=Reentry(retrace=0.1, max_count=1), horizon_minutes=300)
SPACE = {
    "exit.stopLoss": [0.1, 0.2, 0.3],
    "exit.targets": {"ladder": {"multiples": [1.1, 1.3], "fractions": [[1.0], [0.5, 0.5]]}},
    "exit.trailing": [None, {"activation": 1.1, "distance": 0.1}],
    "entry.delayMinutes": [0, 2],
    "costs.fixedFee": [0, 1],
    "reentry": [None, {"retrace": 0.1, "maxCount": 1}],
}
CANDLES, CALLS = walks(tokens=40, calls_each=9)
SETS = Sets(BASE, Space.parse(SPACE))


def swept(shards: int = 1, threads: int = 1, calls: pl.DataFrame = CALLS, order: int = 1):
    sweeper = Sweeper(calls, SETS, timeframe="1m", threads=threads)
    for piece in pieces(shards)[::order]:
        sweeper.add(piece)
    return sweeper.finish()


def pieces(count: int) -> list[CandleColumns]:
    mints = sorted(set(CANDLES["mint"]))
    cuts = [mints[number::count] for number in range(count)]
    return [
        CandleColumns.from_frame(CANDLES.filter(pl.col("mint").is_in(some)).sort("mint", "timestamp")) for some in cuts
    ]


@pytest.fixture(scope="module")
def whole():
    return swept()


def assert_same(left, right) -> None:
    assert cells_of(left) == cells_of(right)
    assert_identical(left.sets, right.sets)
    assert_identical(left.day_cells(), right.day_cells())
    assert_identical(left.caller_cells(), right.caller_cells())


def test_threads(whole):
    assert_same(whole, swept(threads=5))


def test_shards_and_their_order(whole):
    assert_same(whole, swept(shards=3))
    assert_same(whole, swept(shards=7, order=-1, threads=2))


def test_the_order_of_calls(whole):
    assert_same(whole, swept(calls=CALLS.sample(fraction=1.0, shuffle=True, seed=3)))


def test_the_size_of_chunks(whole, monkeypatch):
    monkeypatch.setattr(module, "CALLS_A_CHUNK", 7)
    assert_same(whole, swept())


def test_parts_of_other_processes(whole):
    gathering = Sweeper(CALLS, SETS, timeframe="1m")
    for piece in pieces(3):
        worker = Sweeper(CALLS, SETS, timeframe="1m", threads=1)
        worker.add(piece)
        gathering.add_part(pickle.loads(pickle.dumps(worker.part())))  # noqa: S301 - our own
    assert_same(whole, gathering.finish())


def test_the_order_of_sets_changes_only_their_numbers(whole):
    points = list(SETS.space.grid())
    np.random.default_rng(4).shuffle(points)
    other = Sets(BASE, SETS.space, points)
    sweeper = Sweeper(CALLS, other, timeframe="1m", threads=1)
    sweeper.add(pieces(1)[0])
    shuffled = sweeper.finish().sets
    assert_identical(
        whole.sets.drop("set_id").sort("config_hash"),
        shuffled.drop("set_id").select(whole.sets.columns[1:]).sort("config_hash"),
    )


def test_a_part_of_another_sweep_is_refused():
    one, other = Sweeper(CALLS, SETS, timeframe="1m"), Sweeper(CALLS[:5], SETS, timeframe="1m")
    with pytest.raises(ValueError, match="other sets or calls"):
        one.add_part(other.part())


def test_a_part_that_comes_twice_is_refused():
    one, other = Sweeper(CALLS, SETS, timeframe="1m"), Sweeper(CALLS, SETS, timeframe="1m")
    other.add(pieces(4)[0])
    part = other.part()
    one.add_part(part)
    with pytest.raises(ValueError, match="swept already"):
        one.add_part(part)
