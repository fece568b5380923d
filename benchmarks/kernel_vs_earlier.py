"""The kernel beside that of another checkout: python -m benchmarks.kernel_vs_earlier DIRECTORY.

Strategies without any rule of what a fill costs beside fees and slippage, on the same calls in two processes, which
are asked in turn; processor time of candles to frames, on one thread. The best of several rounds counts, and the
median of the rounds' ratios is shown beside it. `git worktree add DIRECTORY COMMIT` makes the other checkout. Exit
status 1 if any takes more than 1.05 times as long, and 2 if the trades differ.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LIMIT = 1.05
LADDER = [{"multiple": 1.5, "fraction": 0.5}, {"multiple": 2.0, "fraction": 0.5}]
STRATEGIES: dict[str, dict[str, Any]] = {
    "targets and stop": {"exit": {"targets": LADDER, "stopLoss": 0.3}},
    "with costs": {"exit": {"targets": LADDER, "stopLoss": 0.3}, "costs": {"feeBps": 30.0, "slippageBps": 50.0}},
    "trail and hold": {
        "exit": {"trailing": {"activation": 1.2, "distance": 0.2}, "maxHoldMinutes": 720.0, "stopLoss": 0.2}
    },
    "dip, re-entry": {
        "entry": {"kind": "dip", "fraction": 0.05},
        "exit": {"targets": LADDER, "stopLoss": 0.1},
        "reentry": {"retrace": 0.1, "maxCount": 3},
    },
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("directory", type=Path, nargs="?", help="the other checkout")
    options.add_argument("--calls", type=int, default=2_000)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.worker:
        work(arguments.calls)
        return
    if arguments.directory is None:
        options.error("name the directory of the other checkout")
    here, there = (Worker(path, arguments.calls) for path in (Path(), arguments.directory))
    print(f"{arguments.calls:,} calls, one thread; best of {arguments.rounds}\n")
    print(f"{'strategy':<20}{'here, s':>10}{'there, s':>10}{'ratio':>8}{'median':>8}{'limit':>8}")
    status = 0
    for name in STRATEGIES:
        if here.run(name)[1] != there.run(name)[1]:
            print(f"{name}: the trades differ")
            status = 2
        pairs = [(here.run(name)[0], there.run(name)[0]) for _ in range(arguments.rounds)]
        ours, theirs = (min(side) for side in zip(*pairs, strict=True))
        median = statistics.median(one / other for one, other in pairs)
        print(f"{name:<20}{ours:>10.3f}{theirs:>10.3f}{ours / theirs:>8.3f}{median:>8.3f}{LIMIT:>8}", flush=True)
        status = max(status, int(ours / theirs > LIMIT))
    sys.exit(status)


class Worker:
    """A process that simulates with the engine of a checkout."""

    def __init__(self, checkout: Path, calls: int) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", "--calls", str(calls)]
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, name: str) -> tuple[float, str]:
        """Return the seconds of a simulation and the hash of its trades."""
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        print(name, file=self._process.stdin, flush=True)
        seconds, digest = json.loads(self._process.stdout.readline())
        return seconds, digest


def work(calls: int) -> None:
    """Simulate the strategies that are named on standard input."""
    from benchmarks.kernel_vs_vectorbt import lay_out, make_prices  # noqa: PLC0415 - of the checkout
    from lab_pipeline.domain.strategy import Exit, StrategyConfig  # noqa: PLC0415
    from lab_pipeline.engine import Simulator  # noqa: PLC0415

    candles, called = lay_out(make_prices(calls))
    for line in sys.stdin:
        document = json.loads(json.dumps(STRATEGIES[line.strip()]))
        if "stop_fill" in Exit.model_fields:
            document["exit"]["stopFill"] = {"through": 0}
        config = StrategyConfig.parse(document)
        begin = time.process_time()
        simulator = Simulator(called, config, timeframe="1m", threads=1)
        simulator.add(candles)
        simulation = simulator.finish()
        seconds = time.process_time() - begin
        columns = ["call_id", "trade_no", "entry_time", "exit_time", "net_return", "mfe", "mae", "pnl"]
        digest = simulation.trades.select(columns).hash_rows(seed=1).sum()
        print(json.dumps([seconds, str(digest)]), flush=True)


if __name__ == "__main__":
    main()
