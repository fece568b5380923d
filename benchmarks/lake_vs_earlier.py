"""The lake beside that of another checkout: python -m benchmarks.lake_vs_earlier DIRECTORY.

Each measures on files and a lake of its own, in processes that take turns: the scan of everything with its hash, one
token of a thousand, an ingest into an empty lake, a restatement of forty tokens, three ingests at once, and the first
questions of a process about a lake of many commits. By the clock; the best of the rounds counts, and the median of the
rounds' ratios is shown beside it. `git worktree add DIRECTORY COMMIT` makes the other checkout. Exit status 1 if any is
less than 0.8 times as fast.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

LIMIT = 0.8
MINTS, CANDLES = 1_000, 1_000
START_MS = 1_735_689_600_000
COMMITS = 40
ONES = 20


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("directory", type=Path, nargs="?", help="the other checkout")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--ingest", nargs=2, type=Path, help=argparse.SUPPRESS)
    options.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.worker)))
    elif arguments.ingest:
        lake_at(arguments.ingest[0]).ingest_candles([arguments.ingest[1]], "1m")
    elif arguments.open:
        loaded = seconds(lambda: lake_at(arguments.open))
        print(json.dumps([loaded, seconds(lambda: ask(arguments.open))]))
    else:
        sys.exit(compare(arguments.directory, arguments.rounds))


def compare(other: Path, rounds: int) -> int:
    checkouts = {"earlier": other.resolve(), "now": Path(__file__).parents[1]}
    with tempfile.TemporaryDirectory(prefix="lake-vs-earlier-") as place:
        make_files(Path(place))
        found: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
        for number in range(rounds):
            order = list(checkouts) if number % 2 else list(checkouts)[::-1]
            for name in order:
                found[name].append(json.loads(run(checkouts[name], "--worker", place)))
    failed = False
    print(f"{'':24}{'earlier, ms':>14}{'now, ms':>12}{'speed':>9}{'of rounds':>11}")
    for what in found["now"][0]:
        before, after = ([one[what] for one in found[name]] for name in checkouts)
        ratio = min(before) / min(after)
        median = statistics.median(b / a for b, a in zip(before, after, strict=True))
        failed |= ratio < LIMIT
        print(f"{what:24}{min(before) * 1e3:>14,.1f}{min(after) * 1e3:>12,.1f}{ratio:>9.2f}{median:>11.2f}")
    return int(failed)


def measure(place: Path) -> dict[str, float]:
    """Measure the lake of this process's checkout."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        root = Path(scratch) / "lake"
        lake = lake_at(root)
        found["ingest"] = seconds(lambda: lake.ingest_candles([place / "all.parquet"], "1m"))
        every = [f"mint-{number:04d}" for number in range(MINTS)]
        scan(root, every)
        found["scan"] = seconds(lambda: scan(root, every))
        found["one token of 1,000"] = min(seconds(lambda: scan(root, every[500:501])) for _ in range(ONES))
        found["restatement"] = seconds(lambda: lake.ingest_candles([place / "changed.parquet"], "1m"))
        found["three ingests at once"] = seconds(lambda: at_once(Path(scratch) / "other", place))
        for number in range(COMMITS):
            lake.write_candles(pl.read_parquet(place / "few.parquet").with_columns(volume=pl.lit(float(number))), "1m")
        opened = [json.loads(run(None, "--open", str(root))) for _ in range(5)]
        found["modules loaded"], found["opened anew"] = (min(some) for some in zip(*opened, strict=True))
        found["opened again"] = min(seconds(lambda: ask(root)) for _ in range(ONES))
    return found


def make_files(place: Path) -> None:
    random = np.random.default_rng(1)
    prices = random.random(MINTS * CANDLES) + 0.5
    rows = pl.DataFrame(
        {
            "mint": np.repeat([f"mint-{number:04d}" for number in range(MINTS)], CANDLES),
            "timestamp": pl.Series(np.tile(np.arange(CANDLES) * 60_000 + START_MS, MINTS)).cast(
                pl.Datetime("ms", "UTC")
            ),
            "open": prices,
            "high": prices * 1.1,
            "low": prices * 0.9,
            "close": prices * 1.05,
            "volume": random.random(MINTS * CANDLES) * 1000,
        }
    )
    rows.write_parquet(place / "all.parquet")
    rows.filter(pl.col("mint") < "mint-0040").with_columns(volume=pl.lit(7.0)).write_parquet(place / "changed.parquet")
    rows.filter(pl.col("mint") < "mint-0003").head(10).write_parquet(place / "few.parquet")
    for number in range(3):
        rows[number * 300_000 : number * 300_000 + 400_000].write_parquet(place / f"part-{number}.parquet")


def lake_at(root: Path) -> "Lake":  # type: ignore[name-defined] # noqa: F821 - of whichever checkout this process has
    from lab_pipeline.lake import Lake  # noqa: PLC0415 - as above

    return Lake(root)


def scan(root: Path, mints: list[str]) -> None:
    with lake_at(root).slice("1m", mints, 0, 1 << 60) as candles:
        for _ in candles:
            pass


def ask(root: Path) -> None:
    lake = lake_at(root)
    lake.timeframes()
    lake.candles_extent("1m")
    lake.candles_count("1m")


def at_once(root: Path, place: Path) -> None:
    program = [sys.executable, "-m", "benchmarks.lake_vs_earlier", "--ingest", str(root)]
    running = [subprocess.Popen([*program, str(place / f"part-{number}.parquet")]) for number in range(3)]
    if any(process.wait() for process in running):
        raise RuntimeError("an ingest failed")


def run(checkout: Path | None, *arguments: str) -> str:
    """Run this program on a checkout, or on that of this process, and return what it prints."""
    environment = dict(os.environ)
    if checkout is not None:
        environment["PYTHONPATH"] = f"{checkout}{os.pathsep}{Path(__file__).parents[1]}"
    command = [sys.executable, "-m", "benchmarks.lake_vs_earlier", *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd="/").stdout


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
