"""What commands cost before and while they answer, beside `dagster --version`.

Run: python -m benchmarks.command_line [--rounds 5]

Seconds of processor, the least of the rounds; every round calls all of them in turn, each as a process of its own, on a
home with some backtests and their statistics.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from lab_pipeline.lake import Lake, generate_market

HELP_LIMIT, READING_LIMIT = 0.2, 1.0
"""Of `dagster --version`."""
BACKTESTS = 3
PEER = ("dagster", "--version")
COMMANDS = {
    ("lab", "--help"): HELP_LIMIT,
    ("lab", "settings"): READING_LIMIT,
    ("lab", "runs", "list"): READING_LIMIT,
    ("lab", "leaderboard", "callers"): READING_LIMIT,
    ("lab", "leaderboard", "runs"): READING_LIMIT,
    ("lab", "statistics"): READING_LIMIT,
    ("lab", "strategies", "list"): READING_LIMIT,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="command-line-") as directory:
        home = Path(directory)
        fill(home)
        seconds: dict[tuple[str, ...], list[float]] = {}
        for _ in range(rounds + 1):  # the first brings everything into memory
            for command in (PEER, *COMMANDS):
                seconds.setdefault(command, []).append(processor_seconds(command, home))
    peer = min(seconds[PEER][1:])
    print(f"{'command':28}{'cpu s':>8}{'ratio':>8}{'wanted':>8}")
    print(f"{' '.join(PEER):28}{peer:>8.2f}{1:>8.2f}")
    for command, limit in COMMANDS.items():
        best = min(seconds[command][1:])
        print(f"{' '.join(command):28}{best:>8.2f}{best / peer:>8.2f}{limit:>8.2f}")


def fill(home: Path) -> None:
    """Make a market, run backtests on it and count them."""
    market = generate_market(seed=7, tokens=50, calls=200)
    lake = Lake(home / "lake")
    lake.write_candles(market.candles, "5m")
    lake.write_calls(market.calls)
    for seed in range(BACKTESTS):
        run(("lab", "backtest", "--strategy", "ladder", "--timeframe", "5m", "--seed", str(seed), "--json"), home)
    run(("lab", "statistics", "--refresh", "--json"), home)


def processor_seconds(command: tuple[str, ...], home: Path) -> float:
    """Carry out a command and return the processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command, home)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def run(command: tuple[str, ...], home: Path) -> None:
    program = Path(sys.executable).parent / command[0]
    environment = {**os.environ, "LAB_HOME": str(home)}
    subprocess.run([program, *command[1:]], check=True, capture_output=True, env=environment)


if __name__ == "__main__":
    main()
