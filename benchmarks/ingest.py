"""What it costs to bring a file into the lake, next to polars reading the same file and writing it as Parquet.

Run: python -m benchmarks.ingest [--rows 10000000] [--rounds 3] [--kinds csv parquet]

Both work in processes of their own, in turn. What a process imports at its start counts as memory, not as time; the
lake imports its rules only when it ingests. Of several rounds the best of each figure counts. polars infers the types;
it checks, sorts and syncs nothing.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from benchmarks.lake_scan import CANDLES_PER_MINT, make_source, own_peak_memory
from lab_pipeline.lake import Lake

LIMITS = {"csv": 2.0, "parquet": 2.5}
PEAK_LIMIT = 1.0
PEER = """
import json, sys, time
from pathlib import Path
import polars as pl

source, target = map(Path, sys.argv[1:])
wall, processor = time.perf_counter(), time.process_time()
target.mkdir()
frame = pl.read_csv(source) if source.suffix == ".csv" else pl.read_parquet(source)
frame.write_parquet(target / "candles.parquet")
wall, processor = time.perf_counter() - wall, time.process_time() - processor
(peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({"rows": frame.height, "wall": wall, "processor": processor, "peak": int(peak) // 1024}))
"""
"""In a process that imports nothing else: this module's imports would be a part of its memory."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--kinds", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    options.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    with tempfile.TemporaryDirectory(prefix="ingest-") as directory:
        home = Path(directory)
        make_files(home, max(1, arguments.rows // CANDLES_PER_MINT), csv="csv" in arguments.kinds)
        print(f"{'':40}{'polars':>10}{'lake':>10}{'ratio':>8}{'limit':>8}")
        for kind in arguments.kinds:
            report(kind, run(home, kind, arguments.rounds))


def make_files(home: Path, mints: int, *, csv: bool) -> None:
    """Write the same candles as Parquet and as CSV with times in ISO 8601."""
    make_source(home / "source.parquet", mints)
    if csv:
        candles = pl.scan_parquet(home / "source.parquet")
        text = candles.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        text.sink_csv(home / "source.csv")


def run(home: Path, kind: str, rounds: int) -> dict[str, dict[str, float]]:
    """Let both work in turn; of each the least of every figure."""
    commands = {"polars": ["-c", PEER], "lake": ["-m", "benchmarks.ingest", "--measure"]}
    seen: dict[str, list[dict[str, float]]] = {work: [] for work in commands}
    for _ in range(rounds):
        for work, command in commands.items():
            arguments = [sys.executable, *command, home / f"source.{kind}", home / work]
            done = subprocess.run(arguments, check=True, capture_output=True, text=True)
            seen[work].append(json.loads(done.stdout))
            shutil.rmtree(home / work)
    return {work: {name: min(one[name] for one in figures) for name in figures[0]} for work, figures in seen.items()}


def measure(source: Path, target: Path) -> dict[str, float]:
    """Ingest a file into a new lake."""
    wall, processor = time.perf_counter(), time.process_time()
    rows = Lake(target).ingest_candles([source], "1m").rows
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"rows": rows, "wall": wall, "processor": processor, "peak": own_peak_memory()}


def report(kind: str, seen: dict[str, dict[str, float]]) -> None:
    peer, ours = seen["polars"], seen["lake"]
    lines = [
        ("wall, s", "wall", LIMITS[kind], ".2f"),
        ("processor, s", "processor", LIMITS[kind], ".2f"),
        ("peak memory, MB", "peak", PEAK_LIMIT, ",.0f"),
    ]
    for what, name, limit, form in lines:
        title = f"{kind}, {ours['rows']:,.0f} rows, {what}"
        print(
            f"{title:40}{peer[name]:>10{form}}{ours[name]:>10{form}}{ours[name] / peer[name]:>8.2f}{limit:>8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
