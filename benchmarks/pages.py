"""The pages under /lab on a lab with 10,000 runs, 100,000 trades and a million candles.

Run: python -m benchmarks.pages [--runs 10000] [--calls 100000] [--tokens 830] [--rounds 7]

For each page: how long the server takes for it when nobody has looked at it yet, and the median from then on; how long
after the address was entered a browser shows the first of it (first contentful paint, median, where there is a
Chromium); the bytes of the page with all that it loads. The peer is the page that says that there is nothing at an
address: the same frame around a sentence. Beside it, the memory of the server before and after.

The small runs are made, not run, as for `growth`; the two large ones are simulated.
"""

import argparse
import http.client
import json
import os
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import polars as pl

from benchmarks.api import LAB, resident, serving
from benchmarks.growth import PATTERNS, TRADES, publish, record, settings_of
from benchmarks.statistics_world import World
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.lake import Lake, generate_market
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import full_range, run_backtest
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import Settings

LIMIT_MS = 200
TIMEFRAME = "5m"
LARGE = (("ladder", str(uuid.UUID(int=1))), ("trend-rider", str(uuid.UUID(int=2))))
PAINTED = """() => new Promise(done => new PerformanceObserver(seen => {
  const paint = seen.getEntriesByName("first-contentful-paint")[0];
  if (paint) done(paint.startTime);
}).observe({type: "paint", buffered: true}))"""
BYTES = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .reduce((sum, one) => sum + one.decodedBodySize, 0)"""
Paint = Callable[[str], tuple[float, int]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=10_000)
    options.add_argument("--calls", type=int, default=100_000)
    options.add_argument("--tokens", type=int, default=830)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--directory", type=Path, help="keeps the lab for the next time")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="pages-", ignore_cleanup_errors=True) as made:
        home = asked.directory or Path(made)
        settings = settings_of(home)
        if not settings.artifacts_dir.exists():
            fill(settings, asked)
        try:
            with serving([LAB, "api"], "/strategies") as (port, process), painting(port) as paint:
                measure(settings, port, process, paint, asked.rounds)
        finally:
            stop_server(clickhouse_config(settings))


def fill(settings: Settings, asked: argparse.Namespace) -> None:
    """Simulate the large runs, and record the small ones before them."""
    began = time.perf_counter()
    market = generate_market(tokens=asked.tokens, calls=asked.calls, timeframe=TIMEFRAME)
    lake, artifacts = Lake(settings.lake_dir), ArtifactStore.of(settings)
    lake.write_candles(market.candles, TIMEFRAME)
    lake.write_calls(market.calls)
    world = World(settings.artifacts_dir, TRADES)
    patterns = [world.add_run()[0] for _ in range(min(PATTERNS, asked.runs))]
    others = [str(uuid.uuid4()) for _ in range(asked.runs - len(patterns) - len(LARGE))]
    publish(settings, patterns, others)
    trades = []
    for strategy, run_id in LARGE:
        spec = BacktestSpec(strategy_id=strategy, timeframe=TIMEFRAME, range=full_range(lake))
        manifest = run_backtest(run_id, spec, lake=lake, strategies=StrategyStore.of(settings), artifacts=artifacts)
        trades.append(f"{manifest.summary.trades:,}")
    record(settings, [*patterns, *others, *(run_id for _, run_id in LARGE)])
    print(
        f"{asked.runs:,} runs, two of them with {' and '.join(trades)} trades; {market.candles.height:,} candles of "
        f"{asked.tokens:,} tokens; made in {time.perf_counter() - began:.0f} s"
    )


def pages(settings: Settings) -> dict[str, tuple[str, str | None]]:
    """Return by its name the address of each page, and that of what its scripts ask for before they show something."""
    (_, run), (_, other) = LARGE
    trade = pl.read_parquet(settings.artifacts_dir / run / "trades.parquet").row(0, named=True)
    call, token = urlencode({"call": trade["call_id"]}), urlencode({"mint": trade["mint"]})
    return {
        "nothing (the peer)": ("/lab/nothing", None),
        "answer": ("/lab/answer", None),
        "runs": ("/lab/runs", None),
        "runs of a strategy": ("/lab/runs?strategy=strategy-7", None),
        "run": (f"/lab/runs/{run}", None),
        "trades": (f"/lab/runs/{run}/trades", f"/lab/runs/{run}/trades.json?sort=net_return&order=desc"),
        "call": (f"/lab/runs/{run}/calls?{call}", f"/lab/runs/{run}/calls.json?{call}"),
        "compare": (f"/lab/compare?run={run}&run={other}", None),
        "lake": ("/lab/lake", None),
        "token": (f"/lab/lake/token?{token}", f"/lab/lake/token.json?{token}"),
        "launch": ("/lab/launch", None),
    }


def measure(settings: Settings, port: int, process: int, paint: Paint | None, rounds: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    before = resident(process)
    found = pages(settings)
    first = {name: ask(connection, address) + ask(connection, rows) for name, (address, rows) in found.items()}
    later: dict[str, list[float]] = {name: [] for name in found}
    painted: dict[str, list[tuple[float, int]]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, (address, rows) in found.items():
            later[name].append(ask(connection, address) + ask(connection, rows))
            if paint is not None:
                painted[name].append(paint(address))
    print(f"\n{'':22}{'first ms':>10}{'then ms':>10}{'seen after ms':>15}{'kB':>8}{'limit ms':>10}")
    for name in found:
        shown, size = "", ""
        if painted[name]:
            shown = f"{statistics.median(moment for moment, _ in painted[name]):.0f}"
            size = f"{painted[name][-1][1] / 1000:.0f}"
        row = f"{name:22}{first[name]:>10.0f}{statistics.median(later[name]):>10.0f}{shown:>15}{size:>8}"
        print(f"{row}{LIMIT_MS:>10}", flush=True)
    print(f"\nmemory of the server: {before:,.0f} MB before, {resident(process):,.0f} MB after")


def ask(connection: http.client.HTTPConnection, address: str | None) -> float:
    """Ask for a page, or for nothing, and return how long its answer took, in milliseconds."""
    if address is None:
        return 0.0
    began = time.perf_counter()
    connection.request("GET", address, headers={"accept": "text/html" if ".json" not in address else "*/*"})
    answer = connection.getresponse()
    body = answer.read()
    taken = 1000 * (time.perf_counter() - began)
    if answer.status != http.client.OK and address != "/lab/nothing":
        raise RuntimeError(f"{answer.status} from {address}: {body.decode()[:200]}")
    if ".json" in address:
        json.loads(body)
    return taken


@contextmanager
def painting(port: int) -> Iterator[Paint | None]:
    """Yield a function that opens an address in a browser and returns when something was seen, and all bytes."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("no Chromium: what a browser shows is left out")
        yield None
        return
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where there is a browser for it

    flags = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)

        def paint(address: str) -> tuple[float, int]:
            page = browser.new_page()  # with a cache of its own, that is, none
            page.goto(f"http://127.0.0.1:{port}{address}")
            moment = page.evaluate(PAINTED)
            page.wait_for_load_state("networkidle")
            size = page.evaluate(BYTES)
            page.close()
            return moment, size

        paint("/lab/nothing")
        yield paint
        browser.close()


if __name__ == "__main__":
    main()
