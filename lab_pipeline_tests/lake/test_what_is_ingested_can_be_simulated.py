"""No instant, price or volume that ingest accepts breaks a later run."""

from datetime import timedelta

import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import LARGEST, SMALLEST_PRICE
from lab_pipeline.domain.results import check
from lab_pipeline.domain.strategy import LONGEST_MINUTES, Entry, Exit, StrategyConfig
from lab_pipeline.engine import simulate
from lab_pipeline.lake import LakeError

DAY = timedelta(days=1)
CONFIG = StrategyConfig(
    entry=Entry(max_wait_minutes=LONGEST_MINUTES),
    exit=Exit(stop_loss=0.5, max_hold_minutes=LONGEST_MINUTES),
    horizon_minutes=LONGEST_MINUTES,
)


def market(first, *, low=0.9, high=1.1, volume=5.0, days=3):
    return pl.DataFrame(
        {
            "mint": ["AAA"] * days,
            "timestamp": [first + number * DAY for number in range(days)],
            "open": [low] * days,
            "high": [high] * days,
            "low": [low] * days,
            "close": [high] * days,
            "volume": [volume] * days,
        },
        schema=frames.CANDLES,
    )


def simulated(lake, tmp_path, candles, called_at):
    candles.write_csv(tmp_path / "candles.csv")
    pl.DataFrame([["c1", "ann", "AAA", called_at]], schema=frames.CALLS, orient="row").write_csv(tmp_path / "calls.csv")
    lake.ingest_candles([tmp_path / "candles.csv"], "1d")
    lake.ingest_calls([tmp_path / "calls.csv"])
    return simulate(candles, lake.calls(), CONFIG, timeframe="1d")


@pytest.mark.parametrize(
    ("first", "called_at"),
    [
        (frames.EARLIEST, frames.EARLIEST),
        (frames.END - 3 * DAY, frames.END - 3 * DAY),
        (frames.END - 3 * DAY, frames.END - timedelta(milliseconds=1)),
    ],
)
def test_the_first_and_the_last_instants(lake, tmp_path, first, called_at):
    simulation = simulated(lake, tmp_path, market(first), called_at)
    check("trades", simulation.trades)
    check("equity", simulation.equity)
    assert simulation.trades.height == (called_at < frames.END - DAY)


@pytest.mark.parametrize(
    ("low", "high", "volume"),
    [(SMALLEST_PRICE, SMALLEST_PRICE, 0.0), (LARGEST, LARGEST, LARGEST), (SMALLEST_PRICE, LARGEST, LARGEST)],
)
def test_the_smallest_and_the_largest_numbers(lake, tmp_path, low, high, volume):
    candles = market(frames.EARLIEST, low=low, high=high, volume=volume)
    simulation = simulated(lake, tmp_path, candles, frames.EARLIEST)
    check("trades", simulation.trades)


@pytest.mark.parametrize(
    "column",
    [pl.lit(SMALLEST_PRICE / 2).alias("low"), pl.lit(LARGEST * 2).alias("high"), pl.lit(LARGEST * 2).alias("volume")],
)
def test_ingest_refuses_what_the_engine_refuses(lake, tmp_path, column):
    candles = market(frames.EARLIEST).with_columns(column)
    with pytest.raises(LakeError, match="must be from"):
        simulated(lake, tmp_path, candles, frames.EARLIEST)
    with pytest.raises(Exception, match=r"must be (a number|numbers) from"):
        simulate(
            candles,
            pl.DataFrame([["c1", "ann", "AAA", frames.EARLIEST]], schema=frames.CALLS, orient="row"),
            CONFIG,
            timeframe="1d",
        )
