"""What the rules of fills cost: python -m benchmarks.fills.

The same calls, each on a token of its own with 1,440 one-minute candles, simulated by strategies that differ in one
rule. Each is compared with the one that has none of them, in turn with it, in processor time of candles to frames; the
best of several rounds counts. `asked` is the part of all candles whose finer candles were asked for. Exit status 1 if a
cost by size takes more than twice the time.
"""

import argparse
import sys
import time
from typing import Any

import numpy as np
import polars as pl

from benchmarks.kernel_vs_vectorbt import MINUTE_MS, ROWS, lay_out, make_prices
from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import Simulator

EXIT = {"targets": [{"multiple": 1.5, "fraction": 0.5}, {"multiple": 2.0, "fraction": 0.5}], "stopLoss": 0.3}
NEUTRAL: dict[str, Any] = {"exit": EXIT | {"stopFill": {"through": 0}}}
NARROW = {"targets": [{"multiple": 1.004, "fraction": 1.0}], "stopLoss": 0.004}
"""So near to one another that one candle may reach both."""

CROSS = {"all": [{"kind": "ema_cross", "fast": 9, "slow": 21}]}
RULES: dict[str, tuple[dict[str, Any], float | None]] = {
    "through 0.5": ({"exit": EXIT | {"stopFill": {"through": 0.5}}}, 1.05),
    "fixed fee": (NEUTRAL | {"costs": {"fixedFee": 1.0}}, 2.0),
    "volume share": (NEUTRAL | {"costs": {"impact": {"model": "volume_share"}}}, 2.0),
    "pool": (NEUTRAL | {"costs": {"impact": {"model": "amm", "liquidity": 1e5}}}, 2.0),
    "true range": ({"exit": EXIT | {"stopLoss": {"atr": {"n": 14, "k": 20}}}, "entry": {"delayMinutes": 60}}, None),
    "finer candles": ({"exit": NARROW, "intrabar": "finer", "finerTimeframe": "30s"}, None),
    "signal": (NEUTRAL | {"entry": {"when": CROSS}}, None),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=2_000)
    options.add_argument("--rounds", type=int, default=7)
    arguments = options.parse_args()
    candles, calls = lay_out(make_prices(arguments.calls))
    asked: list[int] = []

    def finer(wanted: pl.DataFrame) -> pl.DataFrame:
        asked.append(len(wanted))
        return pl.DataFrame(schema=frames.CANDLES)

    print(f"{arguments.calls:,} calls x {ROWS:,} candles, one thread; best of {arguments.rounds}\n")
    print(f"{'rule':<16}{'with, s':>10}{'without, s':>12}{'ratio':>8}{'limit':>8}{'asked':>10}")
    missed = False
    for name, (document, limit) in RULES.items():
        asked.clear()
        config = StrategyConfig.parse(document)
        best = {True: np.inf, False: np.inf}
        for _ in range(arguments.rounds + 1):
            for ruled, one in ((True, config), (False, StrategyConfig.parse(NEUTRAL))):
                seconds = simulated(candles, calls, one, finer if one.finer_timeframe else None)
                best[ruled] = min(best[ruled], seconds)
        ratio = best[True] / best[False]
        share = f"{sum(asked) / (arguments.rounds + 1) / len(candles):.4%}" if asked else ""
        print(f"{name:<16}{best[True]:>10.3f}{best[False]:>12.3f}{ratio:>8.2f}{limit or '':>8}{share:>10}", flush=True)
        missed |= limit is not None and limit >= 2 and ratio > limit
    sys.exit(missed)


def simulated(candles: CandleColumns, calls: pl.DataFrame, config: StrategyConfig, finer: Any) -> float:  # noqa: ANN401
    """Return the seconds of the processor that a simulation takes."""
    begin = time.process_time()
    simulator = Simulator(calls, config, timeframe="1m", threads=1, finer=finer)
    simulator.add(candles)
    simulator.finish()
    return time.process_time() - begin


if __name__ == "__main__":
    assert MINUTE_MS == 60_000  # noqa: S101 - the timeframe above
    main()
