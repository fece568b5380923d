"""Where and how the calls of placebos are."""

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.space import Space
from lab_pipeline.domain.strategy import Exit, StopFill, StrategyConfig
from lab_pipeline.engine.sweep import Sets, Sweeper
from lab_pipeline.lake import Lake
from lab_pipeline.sweeps.placebos import best_of_placebos
from lab_pipeline_tests.engine.sweep.walks import walks

HOUR = 3_600_000
SETS = Sets(
    StrategyConfig(horizon_minutes=60.0, exit=Exit(stop_loss=0.3, stop_fill=StopFill(through=0))),
    Space.parse({"exit.maxHoldMinutes": [15, 30]}),
)
CANDLES, CALLS = walks(tokens=30, calls_each=3)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    lake = Lake(tmp_path_factory.mktemp("lake"))
    lake.write_candles(CANDLES, "1m")
    return lake


def placebos(lake, calls, number=8, seed=0):
    """Return the calls of each placebo, the mean net return of the better set, and how often candles were opened."""
    moved, opened = [], []

    def open_candles():
        opened.append(1)
        first, last = calls["called_at"].min(), calls["called_at"].max()
        mints = calls["mint"].unique().sort().to_list()
        return lake.slice("1m", mints, first, last.replace(year=last.year + 1))

    def sweeper(some, _):
        moved.append(some)
        return Sweeper(some, SETS, timeframe="1m", threads=1)

    def best(sweep):
        return sweep.sets["expectancy"].max()

    found = best_of_placebos(number, calls, SETS, open_candles, sweeper, best, seed=seed)
    return moved, found, len(opened)


def test_calls_move_to_candles_of_their_token_with_a_whole_window(lake):
    moved, _, opened = placebos(lake, CALLS)
    assert (len(moved), opened) == (8, 2)
    own = CALLS.sort("called_at", "call_id")
    last = CANDLES.group_by("mint").agg(pl.col("timestamp").max().alias("end"))
    stayed = []
    for calls in moved:
        assert calls.drop("called_at").equals(own.drop("called_at"))
        away = (calls["called_at"] - own["called_at"]).dt.total_milliseconds().abs().to_numpy()
        stayed.append(away == 0)
        assert (away[away > 0] >= HOUR).all()
        there = calls.filter(pl.Series(away > 0)).join(last, on="mint")
        assert (there["end"] - there["called_at"]).dt.total_milliseconds().min() >= HOUR
        assert there.join(CANDLES, left_on=["mint", "called_at"], right_on=["mint", "timestamp"]).height == len(there)
    assert np.mean(stayed) < 0.2
    assert all((one == stayed[0]).all() for one in stayed)


def test_what_calls_say_of_prices_moves_with_the_price(lake):
    said = CALLS.with_columns(
        entry_price=pl.lit(2.0), targets=pl.lit([3.0, 4.0]), stop_price=pl.lit(None, pl.Float64), liquidity_at_call=9.0
    )
    (moved,), _, _ = placebos(lake, said, number=1)
    prices = CANDLES.select("mint", "timestamp", "open")
    own = said.sort("called_at", "call_id").join(
        prices, left_on=["mint", "called_at"], right_on=["mint", "timestamp"], maintain_order="left"
    )
    there = moved.join(prices, left_on=["mint", "called_at"], right_on=["mint", "timestamp"], maintain_order="left")
    scale = (there["open"] / own["open"]).to_numpy()
    assert moved["entry_price"].to_numpy() == pytest.approx(2.0 * scale)
    assert moved["targets"].list.get(1).to_numpy() == pytest.approx(4.0 * scale)
    assert moved["liquidity_at_call"].to_numpy() == pytest.approx(9.0 * np.sqrt(scale))
    assert moved["stop_price"].null_count() == len(moved)


def test_memory_does_not_decide_what_is_found(lake, monkeypatch):
    _, found, _ = placebos(lake, CALLS)
    assert len(set(found.tolist())) == 8
    assert found.tolist() != placebos(lake, CALLS, seed=1)[1].tolist()
    monkeypatch.setattr("lab_pipeline.sweeps.placebos.MEMORY", 1)
    _, again, opened = placebos(lake, CALLS)
    assert opened == 9
    assert found.tolist() == again.tolist()


def test_a_placebo_is_the_sweep_of_its_calls(lake):
    moved, found, _ = placebos(lake, CALLS, number=2)
    for calls, best in zip(moved, found, strict=True):
        sweeper = Sweeper(calls, SETS, timeframe="1m", threads=1)
        sweeper.add(CandleColumns.from_frame(CANDLES.sort("mint", "timestamp")))
        assert sweeper.finish().sets["expectancy"].max() == best
