"""The tear sheet of the demo's backtest, beside the backtest as a plain function that makes it.

Run: python -m benchmarks.tear_sheet [--rounds 5]

Seconds of processor, the least of the rounds, one after the other in one process that has made one of each before.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.lake import Lake, generate_market
from lab_pipeline.reports import equity_picture, render_report
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import full_range, plan, publish, resolve, simulate
from lab_pipeline.runs.strategies import StrategyStore

LIMIT_SECONDS = 0.05


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="tear-sheet-") as directory:
        home = Path(directory)
        market = generate_market(seed=7)
        lake = Lake(home / "lake")
        lake.write_candles(market.candles, "5m")
        lake.write_calls(market.calls)
        strategies = StrategyStore(home / "catalog.duckdb", examples=True)
        spec = BacktestSpec(strategy_id="ladder", timeframe="5m", range=full_range(lake))

        def whole() -> None:
            backtest = resolve(spec, strategies, lake)
            publish(
                f"run-{time.time_ns()}", simulate(backtest, plan(backtest, lake)), ArtifactStore(home / "artifacts")
            )

        backtest = resolve(spec, strategies, lake)
        result = simulate(backtest, plan(backtest, lake))

        def sheet() -> str:
            source = result.provenance
            return render_report(
                result.simulation,
                source.spec,
                fingerprint=source.fingerprint,
                snapshot=source.snapshot,
                engine_version=source.engine_version,
            )

        def picture() -> str:
            return equity_picture(result.simulation.equity, initial_capital=10_000.0)

        page, small = sheet(), picture()
        whole()
        backtests, sheets, pictures = zip(
            *((seconds(whole), seconds(sheet), seconds(picture)) for _ in range(rounds)), strict=True
        )
    print(f"the backtest as a function   {min(backtests):7.3f} s")
    print(
        f"its tear sheet               {min(sheets):7.3f} s   {min(sheets) / min(backtests):.1%} of it, "
        f"{len(page.encode()):,} bytes; wanted at most {LIMIT_SECONDS} s"
    )
    print(f"the picture of its equity    {min(pictures):7.3f} s   {len(small.encode()):,} bytes")


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
