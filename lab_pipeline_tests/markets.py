"""A small, rising market for tests that need any data at all."""

import polars as pl

MINUTE = 60_000
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
