"""What a run leaves on the disk, beside the Parquet files in it.

Run: python -m benchmarks.disk [--runs 10]

`lab backtest` on the demo's market, one after the other, after two that make what is made once. Of ClickHouse counts
what it calls active, without parts that were merged into others and will be deleted within minutes.
"""

import argparse
import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.running import BIN
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.lake import Lake, generate_market
from lab_pipeline.settings import Settings

LIMIT = 2.0
BLOCK_BYTES = 512
"""In which the system counts what a file takes."""
ACTIVE = "SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database != 'system'"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=10)
    count = options.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="disk-") as directory:
        home = Path(directory)
        market = generate_market(seed=7)
        lake = Lake(home / "lake")
        lake.write_candles(market.candles, "5m")
        lake.write_calls(market.calls)
        run(home, 2)
        before = taken(home)
        run(home, count)
        after = taken(home)
    each = {place: (after[place] - before[place]) / count for place in after}
    files, parquet = each.pop("files"), each.pop("parquet")
    total = sum(each.values())
    print(
        f"a run leaves {total / 1e6:.2f} MB, in {files:.0f} files and ClickHouse; its Parquet {parquet / 1e6:.2f} MB; "
        f"ratio {total / parquet:.2f}, wanted {LIMIT}"
    )
    for place, size in sorted(each.items(), key=lambda item: -item[1]):
        if size:
            print(f"  {place:24}{size / 1e3:>10,.0f} kB")


def run(home: Path, count: int) -> None:
    environment = {**os.environ, "LAB_HOME": str(home)}
    environment.pop("DAGSTER_HOME", None)
    command = [BIN / "lab", "backtest", "--strategy", "ladder", "--timeframe", "5m"]
    for _ in range(count):
        subprocess.run(command, check=True, capture_output=True, env=environment)


def taken(home: Path) -> Counter[str]:
    """Return the bytes on the disk by directory, of Parquet among them, and the number of files but ClickHouse's."""
    config = clickhouse_config(Settings(home=home))
    with ClickHouse(config) as clickhouse:
        found = Counter({"clickhouse": int(clickhouse.query(ACTIVE)["bytes"][0])})
    stop_server(config)
    for path in home.rglob("*"):
        place, *inside = path.relative_to(home).parts
        if place in {"lake", "clickhouse"} or not path.is_file():
            continue
        size = BLOCK_BYTES * path.stat().st_blocks
        found["/".join([place, *inside[:1]]) if place == "dagster" else place] += size
        found["files"] += 1
        if place == "artifacts" and path.suffix == ".parquet":
            found["parquet"] += size
    return found


if __name__ == "__main__":
    main()
