"""A market made of whole numbers, the same on every machine, and a strategy that meets all of its moves."""

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.strategy import StrategyConfig

from .generated import MINUTE_MS, START_MS

CONFIG = StrategyConfig.parse(
    {
        "entry": {"kind": "dip", "fraction": 0.03},
        "exit": {
            "targets": [{"multiple": 1.07, "fraction": 0.3}, {"multiple": 1.2, "fraction": 0.3}],
            "stopLoss": 0.11,
            "stopFill": {"through": 0},
            "trailing": {"activation": 1.15, "distance": 0.1},
            "breakEvenAfter": 1,
            "maxHoldMinutes": 50,
        },
        "reentry": {"retrace": 0.02, "maxCount": 2},
        "costs": {"feeBps": 30, "slippageBps": 10},
        "horizonMinutes": 150,
    }
)


def market() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Walk through prices in thousandths with a linear congruential generator."""
    state, price, rows = 1, 1_000, []
    for mint in range(20):
        for minute in range(200):
            moves = []
            for _ in range(3):
                state = (state * 1_103_515_245 + 12_345) % 2**31
                moves.append(state // 65_536 % 41)
            opened, price = price, max(100, price + moves[0] - 20)
            high, low = max(opened, price) + moves[1] // 4, min(opened, price) - moves[2] // 4
            prices = [value / 1_000 for value in (opened, high, low, price)]
            rows.append((f"m{mint:02d}", START_MS + minute * MINUTE_MS, *prices, float(moves[0])))
    candles = pl.DataFrame(rows, frames.CANDLES.names(), orient="row").cast(frames.CANDLES)
    calls = pl.DataFrame(
        [(f"c{k:03d}", "caller", f"m{k % 20:02d}", START_MS + k * 7 % 150 * MINUTE_MS) for k in range(200)],
        frames.CALLS.names(),
        orient="row",
    )
    return candles, calls.cast(frames.CALLS)
