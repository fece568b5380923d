"""The HTTP API under eight clients, beside a bare FastAPI route and a static server that only sends files.

Run: python -m benchmarks.api [--runs 10000] [--metric-rows 50000000] [--log-rows 10000000] [--seconds 5]

By default a tenth of the runs and a twentieth of the rows. Whatever is compared alternates. The clients are threads of
one process that speak plain `http.client` over connections that stay open; on two processors they take about as much of
the machine as the server does.
"""

import argparse
import hashlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import dagster as dg
import polars as pl

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import AllUniverse, ResolvedSpec, TimeRange
from lab_pipeline.domain.strategy import Exit, StrategyConfig
from lab_pipeline.domain.summary import Summary
from lab_pipeline.lake import Lake, generate_market
from lab_pipeline.runs.artifact_storage import MANIFEST
from lab_pipeline.runs.artifacts import ArtifactStore, Provenance, read_manifest
from lab_pipeline.settings import Settings

CLIENTS = 8
POST_LIMIT_MS = 500
BETWEEN_POSTS_SECONDS = 0.5
"""So that they last as long as some runs do."""
KINDS = ("cash", "drawdown", "equity", "exposure", "open_positions")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LAB = Path(sys.executable).parent / "lab"
CHUNK = 1 << 20
BARE = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/bare")
def bare() -> dict[str, str]:
    return {"status": "ok"}
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="warning")
"""
STATIC = """
import contextlib, os, socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def answer(connection):
    with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while connection.recv(65536):
            with open(sys.argv[2], "rb") as file:
                size = os.fstat(file.fileno()).st_size
                connection.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n" % size)
                connection.sendfile(file)
while True:
    threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
"""
SUMMARY = Summary(
    calls=100, entered=90, trades=120, wins=50, win_rate=0.42, total_return=0.1, max_drawdown=0.2, profit_factor=1.1,
    expectancy=0.01, expectancy_low=-0.01, expectancy_high=0.03, sharpe=1.0, sortino=1.5, avg_hold_minutes=60.0,
    avg_exposure=0.2, fees_paid=10.0, ambiguous_candles=3, skipped_no_cash=2, skipped_no_slot=1,
)  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=1_000)
    options.add_argument("--metric-rows", type=int, default=2_500_000)
    options.add_argument("--log-rows", type=int, default=500_000)
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--gigabytes", type=float, default=1.0)
    options.add_argument("--posts", type=int, default=40)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="api-", ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        os.environ |= {"LAB_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
        settings = Settings(home=home)
        try:
            fill(settings, asked)
            with serving([LAB, "api"], "/strategies") as api, serving([sys.executable, "-c", BARE], "/bare") as bare:
                measure_reads(api, bare, asked)
                measure_downloads(settings, api, asked.gigabytes)
            measure_posts(settings, asked.posts)
        finally:
            stop_server(clickhouse_config(settings))


def fill(settings: Settings, asked: argparse.Namespace) -> None:
    """Record runs with manifests, metrics and log lines."""
    began = time.perf_counter()
    artifacts = ArtifactStore.of(settings)
    names = ("fills", "trades", "paths", "outcomes", "equity")
    empty = {name: pl.DataFrame(schema=getattr(frames, name.upper())) for name in names}
    spec = ResolvedSpec(
        strategy_id="ladder", strategy_version="1", strategy=StrategyConfig(exit=Exit(stop_loss=0.2)),
        universe=AllUniverse(), timeframe="1m", range=TimeRange(start=BEGIN, end=BEGIN + timedelta(days=9)), seed=0,
        params={},
    )  # fmt: skip
    artifacts.publish("run-0", Provenance(spec, "ab" * 32, "1"), empty, SUMMARY, "<html></html>")
    config = {"ops": {"run": {"config": {"strategy": "ladder", "timeframe": "1m"}}}}
    tags = {"lab/strategy": "ladder", "lab/strategy_version": "1", "lab/timeframe": "1m", "lab/fingerprint": "f" * 64}
    done = dg.DagsterRunStatus.SUCCESS
    with open_instance(settings) as instance, instance.run_storage.connect():
        for number in range(asked.runs):
            run = dg.DagsterRun(job_name="backtest", run_id=f"run-{number}", run_config=config, tags=tags, status=done)
            instance.run_storage.add_historical_run(run, BEGIN + timedelta(minutes=number))
            if number:
                artifacts.adopt(run.run_id, "run-0")
    points = max(1, asked.metric_rows // asked.runs // len(KINDS))
    lines = max(1, asked.log_rows // asked.runs)
    with ClickHouse(clickhouse_config(settings)) as clickhouse:
        for first in range(0, asked.runs, 100):
            count = min(100, asked.runs - first)
            clickhouse.command(f"""INSERT INTO run_metrics SELECT
                concat('run-', toString({first} + intDiv(number, {points * len(KINDS)}))), 1,
                {list(KINDS)}[intDiv(number % {points * len(KINDS)}, {points}) + 1],
                toDateTime64('2024-01-01 00:00:00', 3, 'UTC') + number % {points} * 60, number % {points},
                10000 + sin(number / 500) * 1000, now64(3) FROM numbers({count * points * len(KINDS)})""")  # noqa: S608
            clickhouse.command(f"""INSERT INTO run_logs SELECT
                concat('run-', toString({first} + intDiv(number, {lines}))), number % {lines} + 1,
                toDateTime64('2026-01-15 00:00:00', 6, 'UTC') + number % {lines} / 50, 'INFO', 'simulate', '',
                'dagster', concat('read candle ', toString(number)), '', '{{}}' FROM numbers({count * lines})""")  # noqa: S608
        for dataset in ("metrics", "fills"):
            clickhouse.command(f"""INSERT INTO run_commits SELECT concat('run-', toString(number)), 1, '{dataset}', 0,
                now64(3) FROM numbers({asked.runs})""")  # noqa: S608
    print(
        f"{asked.runs:,} runs, {asked.runs * points * len(KINDS):,} metric rows, {asked.runs * lines:,} log rows, "
        f"made in {time.perf_counter() - began:.0f} s"
    )


@contextmanager
def serving(command: list[object], path: str) -> Iterator[tuple[int, int]]:
    """Run a server on a free port; yields the port and the process id once it answers."""
    port = free_port()
    environment = {**os.environ, "LAB_API_PORT": str(port)}
    words = [*map(str, command), *([] if command[0] == LAB else [str(port)])]
    with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 240
            while not answers(port, path):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{words} does not answer")
                time.sleep(0.1)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)


def measure_reads(api: tuple[int, int], bare: tuple[int, int], asked: argparse.Namespace) -> None:
    def some(form: str) -> Callable[[Random], str]:
        return lambda random: form.format(random.randrange(asked.runs))

    kinds: list[tuple[str, tuple[int, int], Callable[[Random], str]]] = [
        ("bare FastAPI", bare, lambda _: "/bare"),
        ("run detail", api, some("/runs/run-{}")),
        ("run list, 50", api, lambda _: "/runs"),
        ("run list, filtered", api, lambda _: "/runs?strategyId=ladder&timeframe=1m&status=completed"),
        ("log page, 100", api, some("/runs/run-{}/logs")),
        ("metrics, 1m", api, some("/runs/run-{}/metrics?interval=1m&type=equity")),
    ]
    times: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
    for _ in range(asked.rounds):
        for name, (port, _), path in kinds:
            times[name] += crowd(port, path, asked.seconds / asked.rounds)
    print(f"\n{f'{CLIENTS} clients':22}{'requests/s':>13}{'p50 ms':>9}{'p95 ms':>9}{'x bare p95':>12}")
    floor = percentile(times["bare FastAPI"], 95)
    for name, taken in times.items():
        p95 = percentile(taken, 95)
        rate = len(taken) / asked.seconds
        print(f"{name:22}{rate:>13,.0f}{percentile(taken, 50):>9.1f}{p95:>9.1f}{p95 / floor:>12.1f}")


def measure_downloads(settings: Settings, api: tuple[int, int], gigabytes: float) -> None:
    """Download one large artifact from the API and from a server that calls sendfile, in turn."""
    directory = settings.artifacts_dir / "run-0"
    manifest = read_manifest((directory / MANIFEST).read_bytes(), str(directory))
    size = int(gigabytes * 2**30)
    large = directory / "large.parquet"
    with large.open("wb") as file:
        block = os.urandom(CHUNK)
        for _ in range(size // CHUNK):
            file.write(block)
    entry = manifest.files[0].model_copy(
        update={"name": large.name, "bytes": size, "sha256": hashlib.sha256(b"").hexdigest()}
    )
    changed = manifest.model_copy(update={"files": (*manifest.files, entry)})
    part = directory / "new"
    part.write_text(changed.model_dump_json(by_alias=True))
    part.rename(directory / MANIFEST)
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", STATIC, str(port), str(large)]) as plain:
        while not answers(port, "/"):
            time.sleep(0.1)
        seconds: dict[str, list[float]] = {"sendfile": [], "the API": []}
        before, peak = resident(api[1]), [0.0]
        done = threading.Event()
        watcher = threading.Thread(target=watch, args=(api[1], peak, done))
        watcher.start()
        for _ in range(5):
            seconds["sendfile"].append(download(port, "/"))
            seconds["the API"].append(download(api[0], "/runs/run-0/artifacts/large"))
        done.set()
        watcher.join()
        plain.kill()
    rate = {name: size / 2**30 / statistics.median(taken) for name, taken in seconds.items()}
    print(
        f"\ndownload of {gigabytes:g} GiB: sendfile {rate['sendfile']:.2f} GiB/s, the API {rate['the API']:.2f} GiB/s "
        f"({rate['the API'] / rate['sendfile']:.0%}); memory {before:,.0f} MB before, {peak[0]:,.0f} MB at most"
    )


def measure_posts(settings: Settings, posts: int) -> None:
    """Queue runs in a whole lab whose daemon rests, so that no run takes the processors; then while runs execute."""
    lake = Lake(settings.lake_dir)
    market = generate_market(seed=1, tokens=50, calls=300, timeframe="5m")
    lake.write_candles(market.candles, "5m")
    lake.write_calls(market.calls)
    port = free_port()
    environment = {**os.environ, "LAB_PORT": "0", "LAB_API_PORT": str(port)}
    with subprocess.Popen([LAB, "up"], env=environment, stdout=subprocess.PIPE, text=True) as lab:
        for line in lab.stdout or ():
            if "Ctrl-C" in line:
                break
        daemon = process_of(settings.home, "lab_pipeline.dagster_ext.daemon")
        os.kill(daemon, signal.SIGSTOP)
        try:
            quiet = [post(port) for _ in range(posts)][2:]  # the first ones load what is loaded once
            os.kill(daemon, signal.SIGCONT)
            while running(port) == 0:
                time.sleep(0.5)
            busy = []
            for _ in range(posts):
                busy.append(post(port))
                time.sleep(BETWEEN_POSTS_SECONDS)
            executing = running(port)
        finally:
            os.kill(daemon, signal.SIGCONT)
            lab.send_signal(signal.SIGINT)
    if executing == 0:
        raise RuntimeError("no run executes any more")
    print(f"\n{'POST /backtest to queued':40}{'p50 ms':>8}{'p95 ms':>8}{'limit':>7}")
    for title, taken, limit in (("nothing runs", quiet, ""), ("runs execute", busy, str(POST_LIMIT_MS))):
        print(f"{title:40}{percentile(taken, 50):>8.0f}{percentile(taken, 95):>8.0f}{limit:>7}")
    print(f"{'ratio':40}{percentile(busy, 50) / percentile(quiet, 50):>8.1f}")


def running(port: int) -> int:
    """Count the runs that execute."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/runs?status=running")
    return len(json.loads(connection.getresponse().read())["runs"])


def post(port: int) -> float:
    """Queue a run and return how long that took, in milliseconds."""
    span = {"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}
    body = json.dumps({"strategyId": "ladder", "timeframe": "5m", "range": span})
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"content-type": "application/json", "idempotency-key": uuid.uuid4().hex}
    began = time.perf_counter()
    connection.request("POST", "/backtest", body, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.client.ACCEPTED:
        raise RuntimeError(f"{answer.status} instead of 202")
    return 1000 * (time.perf_counter() - began)


def crowd(port: int, path: Callable[[Random], str], seconds: float) -> list[float]:
    """Ask as eight clients do, and return how long each answer took, in milliseconds."""
    found: list[list[float]] = [[] for _ in range(CLIENTS)]

    def ask(number: int) -> None:
        random, connection = Random(number), http.client.HTTPConnection("127.0.0.1", port)  # noqa: S311 - no secret
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.perf_counter()
            connection.request("GET", path(random))
            answer = connection.getresponse()
            answer.read()
            found[number].append(1000 * (time.perf_counter() - began))
            if answer.status != http.client.OK:
                raise RuntimeError(f"{answer.status} from {path(random)}")
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for taken in found for one in taken]


def download(port: int, path: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    buffer = memoryview(bytearray(CHUNK))
    while answer.readinto(buffer):
        continue
    connection.close()
    return time.perf_counter() - began


def watch(pid: int, peak: list[float], done: threading.Event) -> None:
    while not done.wait(0.02):
        peak[0] = max(peak[0], resident(pid))


def resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def process_of(home: Path, program: str) -> int:
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"LAB_HOME={home}\0".encode() in (directory / "environ").read_bytes()
            if mine and program.encode() in (directory / "cmdline").read_bytes():
                return int(directory.name)
        except OSError:
            continue
    raise LookupError(program)


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def answers(port: int, path: str) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("HEAD" if path == "/" else "GET", path)
        connection.getresponse()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
