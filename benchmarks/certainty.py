"""What it costs to say how sure a result is: python -m benchmarks.certainty.

The demo's candles and calls through the simulator, with and without lanes and nulls, in turn: processor seconds from
candles to frames on one thread, the least of the rounds. Exit status 1 if they take more than the limit.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.engine import Simulator
from lab_pipeline.lake import generate_market
from lab_pipeline.runs.strategies import StrategyStore

LIMIT_SECONDS = 0.3


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="certainty-") as directory:
        config = StrategyStore(Path(directory) / "catalog.duckdb", examples=True).get("ladder").strategy.config
    market = generate_market(seed=7)
    candles = CandleColumns.from_frame(market.candles.sort("mint", "timestamp"))
    seconds = {None: float("inf"), 0: float("inf")}
    for _ in range(rounds + 1):  # the first compiles, and is the least of none
        for seed in (None, 0):
            began = time.process_time()
            simulator = Simulator(market.calls, config, timeframe="5m", threads=1, doubt_seed=seed)
            simulator.add(candles)
            simulator.finish()
            seconds[seed] = min(seconds[seed], time.process_time() - began)
    extra = seconds[0] - seconds[None]
    print(f"the run alone                 {seconds[None] * 1000:7.1f} ms")
    print(f"with lanes and nulls          {seconds[0] * 1000:7.1f} ms, {seconds[0] / seconds[None]:.1f} times")
    print(f"lanes and nulls               {extra * 1000:7.1f} ms (limit {LIMIT_SECONDS * 1000:.0f})")
    sys.exit(extra > LIMIT_SECONDS)


if __name__ == "__main__":
    main()
