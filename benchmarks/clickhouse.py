"""What ClickHouse costs the lab: beside the engine called directly, and beside itself with little in it.

Run: python -m benchmarks.clickhouse [--metric-rows 50000000] [--log-rows 10000000] [--rounds 7] [--reads 60]

An embedded server in a temporary directory. Whatever is compared alternates, so that other work on the machine hits
both sides. By default the large store is ten times the small one; the figures of the documentation are those of 50M
metric rows and 10M log rows against 1M and 200k (the same sizes per run).
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import IO, Self, cast
from uuid import uuid4

import polars as pl

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.clickhouse.logs import LOG_LINES, Order, list_lines
from lab_pipeline.clickhouse.series import Bucket, metric_series
from lab_pipeline.clickhouse.writer import BATCH_ROWS, publish_run
from lab_pipeline.domain.frames import EQUITY, FILLS

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
POINTS = 10_000  # of a run
ROWS_A_RUN = 5 * POINTS
LINES_A_RUN = 10_000
SMALL_METRIC_ROWS = 1_000_000
WRITERS = 8
MIXED_SECONDS = 15.0
KINDS = "['cash', 'drawdown', 'equity', 'exposure', 'open_positions']"

DIRECT = """
import json, sys, time
from pathlib import Path
from lab_pipeline.clickhouse.gateway.engine import Engine
from lab_pipeline.clickhouse.schema import UploadTarget, migrate
directory, *batches = sys.argv[1:]
engine = Engine(Path(directory), memory_bytes=2 << 30)
migrate(engine.run, UploadTarget("lab"), None)
payloads = [Path(batch).read_bytes() for batch in batches]
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    for number, payload in enumerate(payloads):
        session = engine.session("x", database="lab", parameters={},
                                 settings={"insert_deduplication_token": f"{line}/{number}"})
        insert = session.insert("INSERT INTO run_metrics (%s)", "ArrowStream")
        insert.append(payload)
        insert.finish()
        session.close()
    print(time.perf_counter() - began, flush=True)
    engine.run("TRUNCATE TABLE lab.run_metrics")
"""
IMPORTING = """
import resource, time
import polars
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
before, began = resident(), time.perf_counter()
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.writer import publish_run
print(time.perf_counter() - began, resident() - before)
"""
SHIPPING = """
import resource, sys, threading, time
from uuid import uuid4
import dagster as dg
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import text
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.logs import last_lines
from lab_pipeline.operations.log_shipper import Shipper
from pathlib import Path
state_dir, count = sys.argv[1], int(sys.argv[2])

def say(run_id, message):
    entry = dg.EventLogEntry(error_info=None, level=20, user_message=message, run_id=run_id, timestamp=time.time(),
                             step_key="run.simulate")
    instance.event_log_storage.store_event(entry)
    return entry.to_json()

with (
    dg.DagsterInstance.get() as instance,
    ClickHouse(ClickHouseConfig(state_dir=Path(state_dir), database="shipped")) as clickhouse,
):
    clickhouse.migrate()
    long, short = (create_run_for_test(instance, run_id=str(uuid4()), status=dg.DagsterRunStatus.STARTED).run_id
                   for _ in range(2))
    row = {"run": long, "event": say(long, "simulated 1,000 of 5,000 calls (20%) on 12 candles of mint abcdef"),
           "at": "2026-01-15 00:00:00"}
    statement = text("INSERT INTO event_logs (run_id, event, timestamp) VALUES (:run, :event, :at)")
    for _ in range(0, count, 10_000):
        with instance.event_log_storage.run_connection(long) as connection:
            connection.execute(statement, [row] * 10_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    shipper, sent, delays = Shipper(clickhouse), 0, []
    began = time.perf_counter()
    while shipper.behind:
        said = time.perf_counter()
        say(short, "a line of another run")
        sent += shipper.ship(instance)
        delays.append(time.perf_counter() - said)
    seconds = time.perf_counter() - began
    assert last_lines(clickhouse, [long])[long] >= count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(sent / seconds, max(delays), before, peak)
"""
WRITER = """
import random, sys, time
from pathlib import Path
from benchmarks.clickhouse import equity_frame, fills_frame, log_lines
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.logs import append_lines
from lab_pipeline.clickhouse.writer import publish_run
state_dir, database, name = sys.argv[1:]
equity, fills = equity_frame(1_440), fills_frame(200)
with ClickHouse(ClickHouseConfig(state_dir=Path(state_dir), database=database)) as clickhouse:
    clickhouse.client.ping()
    print("ready", flush=True)
    sys.stdin.readline()
    time.sleep(random.uniform(0.0, 2.0))  # runs do not march in step
    for beat in range(10**6):
        began = time.monotonic()
        if name == "shipper":
            append_lines(clickhouse, log_lines(name, 1 + beat * 2_000, 2_000))
        else:
            publish_run(clickhouse, f"{name}-{beat}", equity, fills)
        time.sleep(max(0.0, (1.0 if name == "shipper" else 2.0) - (time.monotonic() - began)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metric-rows", type=int, default=10 * SMALL_METRIC_ROWS)
    parser.add_argument("--log-rows", type=int, default=2_000_000)
    parser.add_argument("--shipped-lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--reads", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        config = ClickHouseConfig(state_dir=Path(directory) / "server", memory_bytes=6 << 30)
        try:
            compare_imports(options.rounds)
            with ClickHouse(config) as clickhouse:
                compare_inserts(clickhouse, Path(directory), options.rounds)
                time_publication(config, clickhouse, options.rounds)
            time_shipping(config, options.shipped_lines)
            compare_reads(config, options.metric_rows, options.log_rows, options.reads)
        finally:
            stop_server(config)


def compare_imports(rounds: int) -> None:
    """Time and memory of what a run process imports, polars being there already."""
    found = [
        [float(number) for number in subprocess.check_output([sys.executable, "-c", IMPORTING], text=True).split()]
        for _ in range(rounds)
    ]
    seconds, megabytes = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"import: {seconds * 1e3:.0f} ms, {megabytes:.1f} MB (at most 300 ms, 30 MB)")


def compare_inserts(clickhouse: ClickHouse, directory: Path, rounds: int) -> None:
    """1M metric rows through the gateway and straight into the engine: the same bytes, the same table."""
    rows = metric_rows(str(uuid4()), 1_000_000)
    batches = list(rows.iter_slices(BATCH_ROWS))
    files = []
    for number, batch in enumerate(batches):
        buffer = io.BytesIO()
        batch.write_ipc_stream(buffer, compression="lz4", compat_level=pl.CompatLevel.oldest())
        files.append(directory / f"batch-{number}.arrow")
        files[-1].write_bytes(buffer.getvalue())
    command = [sys.executable, "-c", DIRECT % ", ".join(rows.columns), str(directory / "direct"), *map(str, files)]
    payloads = [file.read_bytes() for file in files]
    gateway, direct, whole = [], [], []
    with Partner(command) as child:
        for number in range(rounds + 1):
            for side in (0, 1, 2) if number % 2 else (1, 2, 0):
                if side == 0:
                    child.tell(number)
                    direct.append(float(child.hear()) * 1e3)
                elif side == 1:
                    gateway.append(timed(insert_bytes, clickhouse, rows.columns, payloads, number))
                else:
                    whole.append(timed(insert_frames, clickhouse, batches, number))
                clickhouse.command("TRUNCATE TABLE run_metrics")  # or merges of one round burden the next
    del gateway[0], direct[0], whole[0]  # the first round warms up
    for name, values in (("gateway", gateway), ("direct", direct), ("gateway, from frames", whole)):
        print(f"insert 1M metric rows, {name}: {statistics.median(values):.0f} ms (best {min(values):.0f})")
    medians, best = statistics.median(gateway) / statistics.median(direct), min(gateway) / min(direct)
    print(f"gateway / direct: {medians:.2f} by medians, {best:.2f} by best (at most 1.15)")


def insert_bytes(clickhouse: ClickHouse, columns: list[str], payloads: list[bytes], number: int) -> None:
    for part, payload in enumerate(payloads):
        settings = {"insert_deduplication_token": f"{number}/{part}", "async_insert": 0}
        clickhouse.client.raw_insert("run_metrics", columns, payload, settings=settings, fmt="ArrowStream")


def insert_frames(clickhouse: ClickHouse, batches: list[pl.DataFrame], number: int) -> None:
    for part, batch in enumerate(batches):
        clickhouse.insert("run_metrics", batch, f"frames/{number}/{part}")


def time_publication(config: ClickHouseConfig, clickhouse: ClickHouse, rounds: int) -> None:
    """What publishing adds to a run, the server being up: connected, and with connecting."""
    for points, fills in ((300, 50), (1_440, 200), (POINTS, 1_000)):
        equity, trades = equity_frame(points), fills_frame(fills)
        warm = [timed(publish_somewhere, clickhouse, equity, trades) for _ in range(5 * rounds)]
        fresh = [timed(connect_and_publish, config, equity, trades) for _ in range(5 * rounds)]
        print(
            f"publish {points} points, {fills} fills: p50 {percentile(warm, 50):.0f}, p95 {percentile(warm, 95):.0f}; "
            f"with connecting p50 {percentile(fresh, 50):.0f}, p95 {percentile(fresh, 95):.0f} (ms, at most 100)"
        )


def publish_somewhere(clickhouse: ClickHouse, equity: pl.DataFrame, fills: pl.DataFrame) -> None:
    publish_run(clickhouse, str(uuid4()), equity, fills)


def connect_and_publish(config: ClickHouseConfig, equity: pl.DataFrame, fills: pl.DataFrame) -> None:
    with ClickHouse(config) as clickhouse:
        publish_somewhere(clickhouse, equity, fills)


def time_shipping(config: ClickHouseConfig, lines: int) -> None:
    """Ship a run with so many log lines, and another run's lines beside it, from an event log of Dagster's."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-c", SHIPPING, str(config.state_dir), str(lines)]
        answer = subprocess.check_output(command, text=True, env={**os.environ, "DAGSTER_HOME": home})
    rate, delay, before, peak = (float(number) for number in answer.split())
    print(
        f"shipper, a run of {lines:,} lines: {rate:,.0f} rows/s (at least 5,000), peak {peak:.0f} MB, {before:.0f} of "
        f"it before the first line (at most 500); another run's line beside it arrives in {delay:.1f} s (at most 5)"
    )


def compare_reads(config: ClickHouseConfig, metric_rows: int, log_rows: int, reads: int) -> None:
    """The same reads of one run in a small and in a large store, alternately; then with writers beside them."""
    small, large = replace(config, database="small"), replace(config, database="large")
    fill_store(small, SMALL_METRIC_ROWS // ROWS_A_RUN, SMALL_METRIC_ROWS // 5 // LINES_A_RUN)
    fill_store(large, metric_rows // ROWS_A_RUN, log_rows // LINES_A_RUN)
    print(
        f"reads, p50/p95 in ms: 1M metric and 200k log rows | {metric_rows:,} and {log_rows:,} | p95 ratio (at most 3)"
    )
    with ClickHouse(small) as few, ClickHouse(large) as many:
        for name, read in READS.items():
            times: tuple[list[float], list[float]] = ([], [])
            for number in range(reads):
                for store, found in zip((few, many), times, strict=True):
                    found.append(timed(read, store, number))
            (a, b), (c, d) = ((percentile(found, 50), percentile(found, 95)) for found in times)
            print(f"  {name:<28} {a:6.1f} /{b:6.1f} | {c:6.1f} /{d:6.1f} | {d / b:.2f}")
    read_beside_writers(large)
    with ClickHouse(large) as many:
        sizes = many.query(
            "SELECT table, sum(rows) AS total, sum(bytes_on_disk) / total AS each FROM system.parts "
            "WHERE active AND database = 'large' GROUP BY table HAVING total > 0 ORDER BY table"
        )
        print(", ".join(f"{table}: {rows:,} rows of {each:.1f} bytes" for table, rows, each in sizes.iter_rows()))


def read_beside_writers(config: ClickHouseConfig) -> None:
    """Reads of the large store while 8 processes publish a small run every two seconds, and one ships their logs."""
    command = [sys.executable, "-c", WRITER, str(config.state_dir), config.database]
    with ExitStack() as stack:
        names = ["shipper", *(f"writer-{number}" for number in range(WRITERS))]
        writers = [stack.enter_context(Partner([*command, name])) for name in names]
        quiet = read_for(config, MIXED_SECONDS / 3)
        for writer in writers:
            writer.tell("go")
        busy = read_for(config, MIXED_SECONDS)
    for name in READS:
        print(
            f"  {name:<28} alone p95 {percentile(quiet[name], 95):6.1f} ms, beside {WRITERS} writers p50 "
            f"{percentile(busy[name], 50):6.1f}, p95 {percentile(busy[name], 95):6.1f} (at most 100; {len(busy[name])})"
        )


def read_for(config: ClickHouseConfig, seconds: float) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in READS}
    end = time.monotonic() + seconds

    def work(offset: int) -> None:
        with ClickHouse(config) as clickhouse:
            for number, (name, read) in enumerate(cycle(READS.items())):
                if time.monotonic() > end:
                    return
                times[name].append(timed(read, clickhouse, number + offset))
                time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in (0, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def some_run(number: int) -> str:
    return f"run-{number * 7 % 20}"


READS: dict[str, Callable[[ClickHouse, int], object]] = {
    "one run's 1m series": lambda store, n: metric_series(store, some_run(n), Bucket.ONE_MINUTE),
    "one run's 1h series": lambda store, n: metric_series(store, some_run(n), Bucket.ONE_HOUR),
    "first log page": lambda store, n: list_lines(store, some_run(n)),
    "log page by cursor": lambda store, n: list_lines(store, some_run(n), cursor=n * 131 % LINES_A_RUN),
    "newest errors with a text": lambda store, n: list_lines(
        store, some_run(n), order=Order.NEWEST_FIRST, level="ERROR", text="candle 7"
    ),
}


def fill_store(config: ClickHouseConfig, runs: int, logged: int) -> None:
    """Make a store of so many runs with metrics, and so many with log lines, in the engine itself."""
    with ClickHouse(config) as clickhouse:
        clickhouse.migrate()
        written = "toDateTime64('2026-01-15 00:00:00', 3, 'UTC')"
        for first in range(0, runs, 100):
            count = min(100, runs - first)
            clickhouse.command(
                f"""INSERT INTO run_metrics
                SELECT concat('run-', toString({first} + intDiv(number, {ROWS_A_RUN}))) AS run_id, 1 AS attempt,
                    {KINDS}[intDiv(number % {ROWS_A_RUN}, {POINTS}) + 1],
                    toDateTime64('2024-01-01 00:00:00', 3, 'UTC') + number % {POINTS} * 60, number % {POINTS},
                    10000 + sin(number / 500) * 1000 + rand(number) % 1000 / 100, {written}
                FROM numbers({count * ROWS_A_RUN})"""  # noqa: S608 - numbers
            )
        clickhouse.command(
            f"""INSERT INTO run_commits SELECT concat('run-', toString(number)), 1, 'metrics', {ROWS_A_RUN}, now64(3)
            FROM numbers({runs})"""  # noqa: S608 - numbers
        )
        for first in range(0, logged, 100):
            count = min(100, logged - first)
            clickhouse.command(
                f"""INSERT INTO run_logs
                SELECT concat('run-', toString({first} + intDiv(number, {LINES_A_RUN}))), number % {LINES_A_RUN} + 1,
                    toDateTime64('2026-01-15 00:00:00', 6, 'UTC') + number % {LINES_A_RUN} / 50,
                    ['DEBUG', 'INFO', 'INFO', 'INFO', 'ERROR'][number % 5 + 1], 'simulate', '', 'dagster',
                    concat('read candle ', toString(number % {LINES_A_RUN}), ' of mint ', hex(rand(number))), '', '{{}}'
                FROM numbers({count * LINES_A_RUN})"""  # noqa: S608 - numbers
            )


def metric_rows(run_id: str, count: int) -> pl.DataFrame:
    numbers = pl.int_range(count, eager=True, dtype=pl.UInt64)
    return pl.DataFrame({"seq": numbers}).select(
        pl.lit("equity", pl.Categorical()).alias("kind"),
        (pl.lit(BEGIN) + pl.duration(minutes=pl.col("seq").cast(pl.Int64)))
        .cast(pl.Datetime("ms", "UTC"))
        .alias("timestamp"),
        "seq",
        (pl.col("seq").cast(pl.Float64) / 500).sin().alias("value"),
        pl.lit(run_id, pl.Categorical()).alias("run_id"),
        pl.lit(1, pl.UInt64).alias("attempt"),
        pl.lit(BEGIN, pl.Datetime("ms", "UTC")).alias("written_at"),
    )


def equity_frame(points: int) -> pl.DataFrame:
    moments = pl.datetime_range(
        BEGIN, BEGIN + timedelta(minutes=points - 1), "1m", time_unit="ms", time_zone="UTC", eager=True
    )
    wave = pl.int_range(pl.len()).cast(pl.Float64).sin()
    frame = pl.DataFrame({"timestamp": moments}).with_columns(
        equity=10_000 + wave, cash=5_000 + wave, exposure=wave.abs(), drawdown=-wave.abs(), open_positions=pl.lit(3)
    )
    return frame.cast(EQUITY).select(EQUITY.names())


def fills_frame(fills: int) -> pl.DataFrame:
    one = {"mint": "mint", "trade_no": 1, "fill_no": 1, "side": "buy", "price": 1.5, "fraction": 1.0}
    two = {"quantity": 2.0, "fee": 0.1, "reason": "entry"}
    rows = [{"call_id": f"call-{n}", "timestamp": BEGIN + timedelta(minutes=n), **one, **two} for n in range(fills)]
    return pl.DataFrame(rows, schema=FILLS)


def log_lines(run_id: str, first: int, count: int) -> pl.DataFrame:
    numbers = list(range(first, first + count))
    texts = dict.fromkeys(("step_key", "event_type", "logger", "stack"), "")
    columns = {
        "run_id": run_id,
        "seq": numbers,
        "timestamp": datetime.now(UTC),
        "level": "INFO",
        "message": [f"read candle {number}" for number in numbers],
        "data": json.dumps({"rows": count}),
        **texts,
    }
    return pl.DataFrame(columns, schema_overrides=LOG_LINES).select(LOG_LINES.names())


class Partner:
    """A process that says a line when it is ready and then answers lines; killed at the end."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=Path(__file__).parents[1]
        )
        self.hear()

    def tell(self, text: object) -> None:
        """Send it a line."""
        cast("IO[str]", self._process.stdin).write(f"{text}\n")

    def hear(self) -> str:
        """Wait for its line."""
        line = cast("IO[str]", self._process.stdout).readline()
        if not line:
            raise RuntimeError("the other process ended")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def timed(work: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    work(*arguments)
    return (time.perf_counter() - began) * 1e3


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    main()
