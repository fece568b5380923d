"""A small, rising market for tests that need any data at all, and one that keeps a backtest busy for minutes."""

from datetime import UTC, datetime

import numpy as np
import polars as pl

from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import Settings
from lab_pipeline_tests.support.duck_files import leave_no_logs

MINUTE = 60_000
ENDLESS_MINUTES, ENDLESS_CALLS = 600_000, 400_000
START = 1_515_542_400_000  # 2018-01-10T00:00:00Z


def candles(mints=("AAA", "BBB"), rows=120):
    """Prices that rise by one percent a minute from 1.0, for each mint."""
    frames = []
    for mint in mints:
        price = pl.int_range(rows, eager=True).cast(pl.Float64) * 0.01 + 1.0
        frames.append(
            pl.DataFrame(
                {
                    "mint": [mint] * rows,
                    "timestamp": [START + i * MINUTE for i in range(rows)],
                    "open": price,
                    "high": price + 0.01,
                    "low": price - 0.005,
                    "close": price + 0.01,
                    "volume": [10.0] * rows,
                }
            )
        )
    return pl.concat(frames)


def calls():
    rows = [("c1", "ann", "AAA", 30_000), ("c2", "ben", "BBB", 10 * MINUTE + 1), ("c3", "ann", "BBB", 20 * MINUTE)]
    return pl.DataFrame(
        [(call_id, caller, mint, START + after) for call_id, caller, mint, after in rows],
        schema=["call_id", "caller", "mint", "called_at"],
        orient="row",
    )


def stock(home):
    """Put the small market into the lake of a home."""
    lake = Lake(home / "lake")
    time_type = pl.Datetime("ms", "UTC")
    lake.write_candles(candles().with_columns(pl.col("timestamp").cast(time_type)), "1m")
    lake.write_calls(calls().with_columns(pl.col("called_at").cast(time_type)))


def make_endless(home):
    """Add a market on which a backtest stays in the kernel for minutes: every call watches every candle."""
    stock(home)
    start = int(datetime(2019, 1, 1, tzinfo=UTC).timestamp() * 1000)
    times = pl.Series(start + np.arange(ENDLESS_MINUTES, dtype=np.int64) * 60_000).cast(pl.Datetime("ms", "UTC"))
    price = 1 + 1e-6 * np.arange(ENDLESS_MINUTES)  # ever higher: the trailing stop moves with every candle
    columns = {"mint": "SLOW", "timestamp": times, "open": price, "high": price, "low": price, "close": price}
    lake = Lake(home / "lake")
    lake.write_candles(pl.DataFrame({**columns, "volume": np.ones(ENDLESS_MINUTES)}), "1m")
    ids = [f"slow{number}" for number in range(ENDLESS_CALLS)]
    lake.write_calls(
        pl.DataFrame({"call_id": ids, "caller": "slow", "mint": "SLOW", "called_at": times.head(ENDLESS_CALLS)})
    )
    document = {
        "id": "endless",
        "horizonMinutes": ENDLESS_MINUTES,
        "exit": {"trailing": {"activation": 1.0001, "distance": 0.9}},
    }
    StrategyStore(Settings(home=home).catalog_path).add(Strategy.parse(document))
    leave_no_logs(home)
