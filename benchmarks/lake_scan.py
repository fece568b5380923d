"""What the lake costs next to plain polars on the same files: ingest, a full scan with its hash, a narrow scan.

Run: python benchmarks/lake_scan.py [--mints 10000] [--rounds 5]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.lake import Lake

CANDLES_PER_MINT = 1440
START_MS = 1_735_689_600_000
FOREVER = (0, 1 << 60)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mints", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--peak", type=Path, help=argparse.SUPPRESS)  # a process of its own measures its memory
    arguments = options.parse_args()
    if arguments.peak:
        lake = Lake(arguments.peak)
        scan(lake, lake.mints("1m"))
        print(own_peak_memory())
        return
    with tempfile.TemporaryDirectory(prefix="lake-scan-") as directory:
        compare(Path(directory), arguments.mints, arguments.rounds)


def compare(directory: Path, mints: int, rounds: int) -> None:
    source, lake = directory / "source.parquet", Lake(directory / "lake")
    make_source(source, mints)
    ingest = seconds(lambda: lake.ingest_candles([source], "1m"))
    again = seconds(lambda: lake.ingest_candles([source], "1m"))
    files = sorted(lake.root.rglob("part-*.parquet"))
    size = sum(path.stat().st_size for path in files)
    rows = mints * CANDLES_PER_MINT
    every = lake.mints("1m")
    peer, ours = [], []
    for _ in range(rounds):
        peer.append(seconds(lambda: pl.scan_parquet(files).collect()))
        ours.append(seconds(lambda: scan(lake, every)))
    one = f"mint-{mints // 2:06d}"
    peer_one = [seconds(lambda: read_one_with_polars(files, one)) for _ in range(rounds)]
    ours_one = [seconds(lambda: scan(lake, [one])) for _ in range(rounds)]

    print(
        f"{rows:,} candles of {mints:,} mints, {size / 1e6:,.0f} MB in {len(files)} files; median of {rounds} rounds\n"
    )
    print(f"{'':44}{'polars':>10}{'lake':>10}{'ratio':>8}")
    report("every candle (lake: in shards, hashed), s", peer, ours)
    report("one mint, s", peer_one, ours_one)
    print(f"{'ingest from one Parquet file, s':44}{'':>10}{ingest:>10.1f}")
    print(f"{'ingest the same again, s':44}{'':>10}{again:>10.1f}")
    print(f"{'peak memory of a process that scans all, MB':44}{'':>10}{peak_memory(lake.root):>10}")
    for wanted in sorted({1, max(1, mints // 1000), max(1, mints // 100)}):
        report_bytes(lake, wanted, size)


def make_source(path: Path, mints: int) -> None:
    """Write random walks, whose prices compress as badly as real ones."""
    random = np.random.default_rng(1)
    rows = mints * CANDLES_PER_MINT
    opens = 1e-4 * np.exp(np.cumsum(random.normal(0, 0.01, (mints, CANDLES_PER_MINT)), axis=1)).ravel()
    closes = opens * (1 + random.normal(0, 0.003, rows))
    minutes = np.tile(np.arange(CANDLES_PER_MINT) * 60_000 + START_MS, mints)
    names = pl.Series([f"mint-{number:06d}" for number in range(mints)])
    pl.DataFrame(
        {
            "mint": names.gather(np.repeat(np.arange(mints), CANDLES_PER_MINT)),
            "timestamp": pl.Series(minutes).cast(frames.TIMESTAMP),
            "open": opens,
            "high": np.maximum(opens, closes) * (1 + 0.003 * random.random(rows)),
            "low": np.minimum(opens, closes) * (1 - 0.003 * random.random(rows)),
            "close": closes,
            "volume": random.exponential(1000, rows),
        }
    ).write_parquet(path)


def scan(lake: Lake, mints: list[str]) -> str:
    with lake.slice("1m", mints, *FOREVER) as part:
        for _ in part:
            pass
        return part.snapshot


def read_one_with_polars(files: list[Path], mint: str) -> pl.DataFrame:
    return pl.scan_parquet(files).filter(pl.col("mint") == mint).collect()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(what: str, peer: list[float], ours: list[float]) -> None:
    theirs, mine = statistics.median(peer), statistics.median(ours)
    print(f"{what:44}{theirs:>10.3f}{mine:>10.3f}{mine / theirs:>8.2f}")


def report_bytes(lake: Lake, wanted: int, size: int) -> None:
    mints = [f"mint-{number * 7:06d}" for number in range(wanted)]
    before = bytes_read()
    scan(lake, mints)
    moved = bytes_read() - before
    what = f"bytes read for {wanted:,} mint{'s' if wanted > 1 else ''}, MB and part of the lake"
    print(f"{what:44}{'':>10}{moved / 1e6:>10.2f}{moved / size:>8.2%}")


def bytes_read() -> int:
    """Return what this process asked the kernel to read so far (Linux)."""
    return int(Path("/proc/self/io").read_text().split()[1])


def own_peak_memory() -> int:
    """Return this program's peak in MB (Linux); getrusage would count what the parent held before the exec."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def peak_memory(root: Path) -> int:
    command = [sys.executable, __file__, "--peak", root]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
