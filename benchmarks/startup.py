"""What a process pays before it simulates, and what Dagster adds to the same work called as a function.

Run: python -m benchmarks.startup [--rounds 5]

Everything is measured from outside, as whole processes on the demo market; the kernel has been compiled before.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab_pipeline.lake import Lake, generate_market

FUNCTION = """
import sys, time
from pathlib import Path
from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.lake import Lake
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import full_range, plan, resolve, simulate, publish
from lab_pipeline.runs.strategies import StrategyStore
home = Path(sys.argv[1])
lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb", examples=True)
spec = BacktestSpec(strategy_id="ladder", timeframe="5m", range=full_range(lake))
backtest = resolve(spec, strategies, lake)
first = []
result = simulate(backtest, plan(backtest, lake), on_progress=lambda done, total: first or first.append(time.time()))
publish(f"run-{time.time_ns()}", result, ArtifactStore(home / "artifacts"))
print(first[0])
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="startup-") as directory:
        home = Path(directory)
        market = generate_market(seed=7)
        lake = Lake(home / "lake")
        lake.write_candles(market.candles, "5m")
        lake.write_calls(market.calls)
        run_function(home)  # compiles the kernel where it has not been
        run_lab(home)
        functions = []
        labs = []
        for _ in range(rounds):
            functions.append(run_function(home))
            labs.append(run_lab(home))
    simulating = statistics.median(first for first, _ in functions)
    function = statistics.median(whole for _, whole in functions)
    lab = statistics.median(labs)
    print(f"from the start of a process to its first simulated calls   {simulating:6.2f} s")
    print(f"the demo's backtest as a function, whole process           {function:6.2f} s")
    print(f"`lab backtest`, whole process                              {lab:6.2f} s   ratio {lab / function:.2f}")
    print(f"what Dagster and the command line add                      {lab - function:6.2f} s")


def run_function(home: Path) -> tuple[float, float]:
    """Return the seconds until the first calls were simulated, and until the process ended."""
    started = time.time()
    done = subprocess.run([sys.executable, "-c", FUNCTION, home], check=True, capture_output=True, text=True)
    return float(done.stdout) - started, time.time() - started


def run_lab(home: Path) -> float:
    lab = Path(sys.executable).parent / "lab"
    started = time.time()
    subprocess.run(
        [lab, "backtest", "--strategy", "ladder", "--timeframe", "5m", "--json"],
        check=True,
        capture_output=True,
        env={**os.environ, "LAB_HOME": str(home)},
    )
    return time.time() - started


if __name__ == "__main__":
    main()
