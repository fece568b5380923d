"""Made-up results of runs."""

import math
from datetime import UTC, datetime, timedelta

import polars as pl

from lab_pipeline.domain.frames import EQUITY, FILLS

BEGIN = datetime(2024, 2, 28, 22, 58, tzinfo=UTC)


def equity_frame(points, begin=BEGIN, every_minutes=1):
    """A wave of `points` points, with a pause after the first third."""
    gap = timedelta(hours=7)
    moments = [
        begin + timedelta(minutes=every_minutes * n) + (gap if n > points // 3 else timedelta()) for n in range(points)
    ]
    equity = [10_000 + 500 * math.sin(n / 17) + n / 10 for n in range(points)]
    frame = pl.DataFrame(
        {"timestamp": moments, "equity": equity}, schema_overrides={"equity": pl.Float64}
    ).with_columns(
        cash=pl.col("equity") / 2,
        exposure=pl.col("equity").mod(100) / 100,
        drawdown=pl.col("equity") / pl.col("equity").cum_max() - 1,
        open_positions=pl.int_range(pl.len()).mod(5),
    )
    return frame.cast(dict(EQUITY)).select(EQUITY.names())


def fills_frame(fills, begin=BEGIN):
    """`fills` fills, buys and sells, several of them at the same time."""
    rows = [
        {
            "call_id": f"call-{n // 2}",
            "mint": f"mint-{n % 3}",
            "trade_no": 1,
            "fill_no": n % 2 + 1,
            "timestamp": begin + timedelta(minutes=n // 4 * 3),
            "side": "sell" if n % 2 else "buy",
            "price": 1.0 + n,
            "fraction": 1.0,
            "quantity": 0.5 * (n % 4),
            "fee": 0.01,
            "reason": "target" if n % 2 else "entry",
        }
        for n in range(fills)
    ]
    return pl.DataFrame(rows, schema=FILLS, strict=False)
