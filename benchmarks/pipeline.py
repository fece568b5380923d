"""From lake to published artifacts, next to what polars takes only to read the same rows.

Run: python -m benchmarks.pipeline [--calls 1000 10000 100000] [--rounds 3]

Each call is on a token of its own with 1,440 one-minute candles. Every figure is of a process of its own, after one
untimed backtest on a small lake has loaded the libraries; polars reads in the same process, in turn with the backtest:
the same rows in one file as polars itself writes it, which is the peer, and the lake's own files. The best of several
rounds counts, in seconds of the clock and of the processor.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from benchmarks.lake_scan import CANDLES_PER_MINT, START_MS, make_source
from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.lake import Lake
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import full_range, run_backtest
from lab_pipeline.runs.strategies import StrategyStore

MINTS_AT_ONCE = 10_000
WARM_UP = 64
LIMITS = {1_000: 3.0, 10_000: 2.0}
"""Wanted ratios, by calls."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, nargs="+", default=[1_000, 10_000])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--warm-up", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.warm_up, arguments.rounds)))
        return
    print(
        f"{'calls':>8}{'candles':>14}{'':>11}{'polars, s':>11}{'of lake, s':>12}{'backtest, s':>13}{'ratio':>8}"
        f"{'limit':>7}{'us/call':>9}{'peak MB':>9}"
    )
    with tempfile.TemporaryDirectory(prefix="pipeline-") as directory:
        small = make_lake(Path(directory) / "small", WARM_UP)
        for calls in arguments.calls:
            home = make_lake(Path(directory) / str(calls), calls)
            command = [sys.executable, "-m", "benchmarks.pipeline", "--rounds", str(arguments.rounds)]
            done = subprocess.run(
                [*command, "--measure", home, "--warm-up", small], check=True, capture_output=True, text=True
            )
            seen = json.loads(done.stdout)
            for clock in ("wall", "processor"):
                read, of_lake, backtest = (seen[f"{what}_{clock}"] for what in ("read", "of_lake", "backtest"))
                print(
                    f"{calls:>8,}{calls * CANDLES_PER_MINT:>14,}{clock:>11}{read:>11.2f}{of_lake:>12.2f}"
                    f"{backtest:>13.2f}"
                    f"{backtest / read:>8.2f}{LIMITS.get(calls, math.nan):>7.1f}{backtest / calls * 1e6:>9.0f}"
                    f"{seen['peak_mb']:>9,.0f}",
                    flush=True,
                )


def make_lake(home: Path, mints: int) -> Path:
    """Fill a lake with tokens of random prices, one call on each in its first minutes."""
    lake = Lake(home / "lake")
    for number, start in enumerate(range(0, mints, MINTS_AT_ONCE)):
        count = min(MINTS_AT_ONCE, mints - start)
        source = home / "source.parquet"
        home.mkdir(exist_ok=True)
        make_source(source, count)
        frame = pl.read_parquet(source).with_columns(mint=pl.format("{}-{}", pl.lit(number), pl.col("mint")))
        source.unlink()
        lake.write_candles(frame, "1m")
    calls = pl.DataFrame({"mint": lake.mints("1m")}).with_row_index("row")
    lake.write_calls(
        calls.select(
            call_id=pl.format("call-{}", pl.col("row")),
            caller=pl.format("caller-{}", pl.col("row") % 20),
            mint="mint",
            called_at=pl.lit(START_MS) + (pl.col("row").cast(pl.Int64) % 300) * 1_000,
        ).with_columns(pl.col("called_at").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC"))
    )
    return home


def measure(home: Path, warm_up: Path, rounds: int) -> dict[str, float]:
    """Time backtests and plain reads in turn; the peak memory is that of the backtests alone, taken first."""
    backtest(warm_up, "warm-up")
    backtest(home, "first")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    files = sorted((home / "lake" / "candles").rglob("*.parquet"))
    pl.scan_parquet(files).sink_parquet(home / "polars.parquet")
    best: dict[str, float] = {}
    for number in range(rounds):
        for what, seen in (
            ("read", timed(lambda: pl.read_parquet(home / "polars.parquet"))),
            ("of_lake", timed(lambda: pl.scan_parquet(files).collect())),
            ("backtest", backtest(home, f"run-{number}")),
        ):
            for clock, seconds in zip(("wall", "processor"), seen, strict=True):
                best[f"{what}_{clock}"] = min(seconds, best.get(f"{what}_{clock}", math.inf))
    return {**best, "peak_mb": peak}


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that work takes, of the clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def backtest(home: Path, run_id: str) -> tuple[float, float]:
    lake = Lake(home / "lake")
    strategies = StrategyStore(home / "catalog.duckdb", examples=True)
    spec = BacktestSpec(
        strategy_id="ladder",
        timeframe="1m",
        range=full_range(lake),
        params={"portfolio.maxOpenPositions": None, "portfolio.sizing.amount": 1.0},
    )
    artifacts = ArtifactStore(home / "artifacts")
    named = f"{run_id}-{time.time_ns()}"
    return timed(lambda: run_backtest(named, spec, lake=lake, strategies=strategies, artifacts=artifacts))


if __name__ == "__main__":
    main()
