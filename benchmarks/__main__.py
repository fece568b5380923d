"""Every speed this project claims, one after the other: python -m benchmarks."""

import subprocess
import sys

BENCHMARKS = (
    "kernel_vs_vectorbt",
    "sweep",
    "fills",
    "lake_scan",
    "ingest",
    "pipeline",
    "tear_sheet",
    "certainty",
    "startup",
    "launch",
    "command_line",
    "run_storage",
    "clickhouse",
    "run_statistics",
    "selection",
    "api",
    "pages",
    "idle",
    "growth",
    "disk",
)

for name in BENCHMARKS:
    print(f"\n=== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
