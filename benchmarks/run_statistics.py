"""Compare the statistics with SQL that somebody would write by hand over the same rows in merged files.

    python -m benchmarks.run_statistics [--runs 10000] [--trades 500] [--rounds 3] [--directory DIR]

First a history of runs is made up (minutes for ten thousand; `--directory` keeps it for the next time). Then, side by
side, round by round:

- hand-written: `statistics_by_hand.sql` over one file each of trades, paths and equity;
- recomputed: all tables from the kept columns, as after a deletion;
- rebuilt: all tables from the artifacts of every run, three small files and a manifest each;
- one run added; nothing new; answers as the API reads them; the same over HTTP, from one client.
"""

import argparse
import http.client
import os
import statistics as stats
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.api import LAB, serving
from benchmarks.statistics_world import World
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.statistics import Board, GroupBy, Method, RankBy, RunRecord, Statistics, leaderboard, refresh
from lab_pipeline.statistics import answers as ask
from lab_pipeline.statistics.catalog import Catalog
from lab_pipeline.statistics.segments import SegmentFiles

BY_HAND = Path(__file__).with_name("statistics_by_hand.sql")
READS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--trades", type=int, default=500, help="of a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    kept = options.directory
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    with nullcontext(kept) if kept is not None else tempfile.TemporaryDirectory() as name:
        measure(Path(name), options.runs, options.trades, options.rounds)


def measure(home: Path, count: int, trades: int, rounds: int) -> None:
    world = World(home / "artifacts", trades, seed=len(list((home / "artifacts").glob("*"))) + 1)
    runs = [RunRecord(path.name, "completed", "strategy-0") for path in sorted((home / "artifacts").glob("*"))]
    while len(runs) < count:
        runs.append(RunRecord(world.add_run()[0], "completed", "strategy-0"))
    runs = runs[:count]
    merge(home, [run.run_id for run in runs])
    times: dict[str, list[float]] = {}

    def timed(label: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        began = time.perf_counter()
        result = work()
        times.setdefault(label, []).append(time.perf_counter() - began)
        return result

    with tempfile.TemporaryDirectory(dir=home) as name:
        artifacts = ArtifactStore(home / "artifacts")
        lab = Statistics(Catalog(Path(name) / "catalog.duckdb"), SegmentFiles(Path(name)), artifacts)
        for _ in range(rounds):
            timed("hand-written over merged files", lambda: by_hand(home))
            timed("rebuilt from every artifact", lambda: refresh(lab, runs, rebuild=True))
            timed("one run deleted, all recomputed", lambda: refresh(lab, runs[:-1]))
            timed("one run added", lambda: refresh(lab, runs))
            timed("nothing new", lambda: refresh(lab, runs))
        print(f"{count:,} runs, {count * trades:,} trades; seconds, median of {rounds}, and ratio to the hand-written")
        peer = stats.median(times["hand-written over merged files"])
        for label, seconds in times.items():
            print(f"{label:34} {stats.median(seconds):8.2f} {stats.median(seconds) / peer:8.2f}")
        read(lab)
        read_over_http(Path(name))


def by_hand(home: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table in ("trades", "paths", "equity"):
            connection.execute(f"CREATE VIEW {table} AS FROM '{home / table}.parquet'")
        for statement in BY_HAND.read_text().split(";"):
            if statement.strip():
                connection.execute(statement)


def merge(home: Path, run_ids: list[str]) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE TABLE runs AS SELECT unnest($1) AS run_id, unnest(range(len($1))) AS number,"
            " 'strategy-' || number % 20 AS strategy_id",
            [run_ids],
        )
        for table in ("trades", "paths", "equity"):
            files = [str(home / "artifacts" / run_id / f"{table}.parquet") for run_id in run_ids]
            naive = "REPLACE (make_timestamp(epoch_us(called_at)) AS called_at)" if table == "trades" else ""
            connection.execute(
                f"COPY (SELECT run_id, strategy_id, rows.* {naive} FROM read_parquet($1) AS rows"  # noqa: S608 - ours
                " JOIN runs ON number = rows.file_index)"
                f" TO '{home / table}.parquet' (FORMAT parquet, COMPRESSION zstd)",
                [files],
            )


def read(lab: Statistics) -> None:
    reads: dict[str, Callable[[], object]] = {
        "overview": lambda: ask.overview(lab),
        **{f"pnl by {group}": lambda group=group: ask.pnl(lab, group, limit=50) for group in GroupBy},
        "distribution": lambda: ask.distribution(lab),
        **{f"correlation, {method}": lambda method=method: ask.correlation(lab, method) for method in Method},
        **{
            f"leaderboard of {board} by {rank}": lambda board=board, rank=rank: leaderboard(lab, board, rank, limit=50)
            for board in Board
            for rank in RankBy
        },
    }
    print(f"\nanswers, milliseconds, {READS} each, with pauses so that the catalog is attached again")
    print(f"{'':42} {'p50':>7} {'p95':>7}")
    for label, work in reads.items():
        latencies = []
        for _ in range(READS):
            time.sleep(0.05)
            began = time.perf_counter()
            work()
            latencies.append(1000 * (time.perf_counter() - began))
        latencies.sort()
        print(f"{label:42} {latencies[READS // 2]:7.1f} {latencies[int(0.95 * READS) - 1]:7.1f}")


def read_over_http(home: Path) -> None:
    """Ask `lab api` on the home that has the catalog; the first answer of a kind loads what it needs: not counted."""
    paths = [
        "/statistics/overview",
        *(f"/statistics/pnl?groupBy={group}" for group in GroupBy),
        "/statistics/distribution",
        *(f"/statistics/correlation?method={method}" for method in Method),
        *(f"/leaderboard{board}?metric={rank}" for board in ("", "/strategies", "/callers") for rank in RankBy),
    ]
    os.environ |= {"LAB_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    print(f"\nover HTTP, milliseconds, {READS} each\n{'':42} {'p50':>7} {'p95':>7}")
    with serving([LAB, "api"], "/strategies") as (port, _):
        for path in paths:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            latencies = []
            for _ in range(READS + 1):
                time.sleep(0.05)
                began = time.perf_counter()
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                if answer.status != http.client.OK:
                    raise RuntimeError(f"{answer.status} from {path}")
                latencies.append(1000 * (time.perf_counter() - began))
            found = sorted(latencies[1:])
            print(f"{path:42} {found[READS // 2]:7.1f} {found[int(0.95 * READS) - 1]:7.1f}")


if __name__ == "__main__":
    main()
