"""From asking for a backtest to its success, beside a stock Dagster's one-op job and beside plain function calls.

Run: python -m benchmarks.launch [--rounds 7] [--queued 100]

`lab up` and a stock Dagster (queued run coordinator, default launcher, multiprocess executor) run in these same
minutes, each in a home of its own; their launches alternate. Success is looked for every 20 ms, over GraphQL on both
sides. Then so many small backtests are queued at once, beside the same as calls of the plain function, one after the
other in a process that has done one before, and while they run others are posted, one every half second; and
`lab backtest` beside that function.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.running import BIN, Addresses, lab, stock
from lab_pipeline.domain.backtest import TimeRange
from lab_pipeline.lake import Lake, generate_market
from lab_pipeline.runs.backtest import full_range

LIMITS = {"p50": 0.3, "p95": 0.5}
THROUGHPUT_LIMIT = 0.5
FOREGROUND_LIMIT = 2.0
POST_LIMIT = 0.5
POST_PAUSE_SECONDS = 0.5
FINAL = {"SUCCESS", "FAILURE", "CANCELED"}
LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } }
}"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
SMALL = ["Chloe Martin"]
"""The callers of a small backtest."""
FUNCTION = """
import sys, time
from pathlib import Path
from lab_pipeline.domain.backtest import BacktestSpec, CallersUniverse
from lab_pipeline.lake import Lake
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import full_range, run_backtest
from lab_pipeline.runs.strategies import StrategyStore
home, count, callers = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
lake, artifacts = Lake(home / "lake"), ArtifactStore(home / "plain")
strategies = StrategyStore(home / "catalog.duckdb", examples=True)
universe = {"universe": CallersUniverse(type="callers", callers=tuple(callers))} if callers else {}
spec = BacktestSpec(strategy_id="ladder", timeframe="5m", range=full_range(lake), **universe)
for number in range(count + 1):
    if number == 1:
        began = time.perf_counter()
    run_backtest(f"plain-{time.time_ns()}", spec, lake=lake, strategies=strategies, artifacts=artifacts)
print((time.perf_counter() - began) / count)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--queued", type=int, default=100)
    asked = options.parse_args()
    with ExitStack() as stack:
        home, theirs = (Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="launch-"))) for _ in range(2))
        market = generate_market(seed=7)
        lake = Lake(home / "lake")
        lake.write_candles(market.candles, "5m")
        lake.write_calls(market.calls)
        os.environ["LAB_MAX_CONCURRENT_RUNS_PER_STRATEGY"] = "4"  # as many as of all: they are all of one strategy
        ours = stack.enter_context(lab(home))
        peer = stack.enter_context(stock(theirs))
        launches = {
            "stock Dagster, one op": partial(launched, peer.ui, "idle", {}),
            "lab, GraphQL": partial(launched, ours.ui, "backtest", backtest()),
            "lab, POST /backtest": partial(posted, ours.ui, ours.api, full_range(lake)),
        }
        seconds: dict[str, list[float]] = {name: [] for name in launches}
        for launch in launches.values():
            launch()
        for _ in range(asked.rounds):
            for name, launch in launches.items():
                seconds[name].append(launch())
        report(seconds)
        report_queue(home, ours.ui, asked.queued)
        report_posts(lake, ours, asked.queued)
        report_foreground(home)


def report(seconds: dict[str, list[float]]) -> None:
    peer, *labs = seconds
    at = {name: (statistics.median(taken), sorted(taken)[int(0.95 * len(taken))]) for name, taken in seconds.items()}
    print(
        f"{'launch to success, s':28}{'p50':>8}{'p95':>8}{'ratio p50':>11}{'p95':>8}"
        f"   wanted {LIMITS['p50']}, {LIMITS['p95']}"
    )
    print(f"{peer:28}{at[peer][0]:>8.2f}{at[peer][1]:>8.2f}")
    for name in labs:
        ratios = [mine / theirs for mine, theirs in zip(at[name], at[peer], strict=True)]
        print(f"{name:28}{at[name][0]:>8.2f}{at[name][1]:>8.2f}{ratios[0]:>11.2f}{ratios[1]:>8.2f}")


def report_queue(home: Path, ui: str, count: int) -> None:
    began = time.perf_counter()
    config = backtest(callers=SMALL)
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: launch(ui, "backtest", config), range(count)))
    for run_id in runs:
        wait(ui, run_id, 0.2)
    queued = count / (time.perf_counter() - began)
    plain = 1 / function(home, min(count, 20), SMALL)
    print(
        f"{count} small backtests queued at once: {60 * queued:.0f} a minute; plain calls {60 * plain:.0f}; "
        f"ratio {queued / plain:.2f}, wanted {THROUGHPUT_LIMIT}"
    )


def report_posts(lake: Lake, ours: Addresses, count: int) -> None:
    """Post backtests while so many others run, and print how long the answers take."""
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: launch(ours.ui, "backtest", backtest(callers=SMALL)), range(count)))
    taken: list[float] = []
    while graphql(ours.ui, STATUS, id=runs[count - 1])["runOrError"]["status"] not in FINAL:
        began = time.perf_counter()
        runs.append(post(ours.api, full_range(lake), callers=SMALL))
        taken.append(time.perf_counter() - began)
        time.sleep(POST_PAUSE_SECONDS)
    for run_id in runs:
        wait(ours.ui, run_id, 0.2)
    p50, p95 = statistics.median(taken), sorted(taken)[int(0.95 * len(taken))]
    print(f"`POST /backtest` while runs execute: p50 {p50:.2f} s, p95 {p95:.2f} s of {len(taken)}, wanted {POST_LIMIT}")


def report_foreground(home: Path) -> None:
    command = [BIN / "lab", "backtest", "--strategy", "ladder", "--timeframe", "5m", "--json"]
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "LAB_HOME": str(home)})
        taken.append(time.perf_counter() - began)
    ours, plain = statistics.median(taken), function(home, 5, [])
    print(
        f"`lab backtest` while `lab up` runs {ours:.2f} s; the function {plain:.2f} s; ratio {ours / plain:.2f}, "
        f"wanted {FOREGROUND_LIMIT}"
    )


def function(home: Path, count: int, callers: list[str]) -> float:
    """Return the seconds of a plain call."""
    command = [sys.executable, "-c", FUNCTION, home, str(count), *callers]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def backtest(**config: object) -> dict[str, object]:
    return {"ops": {"run": {"config": {"strategy": "ladder", "timeframe": "5m", **config}}}}


def launched(ui: str, job: str, config: dict[str, object]) -> float:
    return timed(lambda: launch(ui, job, config), ui)


def posted(ui: str, api: str, range_: TimeRange) -> float:
    return timed(lambda: post(api, range_, callers=[]), ui)


def post(api: str, range_: TimeRange, callers: list[str]) -> str:
    asked = {
        "strategyId": "ladder",
        "timeframe": "5m",
        "universe": {"type": "callers", "callers": callers} if callers else {"type": "all"},
        "range": {"start": range_.start.isoformat(), "end": range_.end.isoformat()},
    }
    return str(send(f"{api}/backtest", asked)["runId"])


def timed(start: Callable[[], str], ui: str) -> float:
    began = time.perf_counter()
    wait(ui, start(), 0.02)
    return time.perf_counter() - began


def launch(ui: str, job: str, config: dict[str, object]) -> str:
    location = graphql(
        ui, "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
    )
    (repository,) = location["repositoriesOrError"]["nodes"]
    selector = {
        "repositoryName": repository["name"],
        "repositoryLocationName": repository["location"]["name"],
        "jobName": job,
    }
    answer = graphql(ui, LAUNCH, params={"selector": selector, "runConfigData": json.dumps(config)})
    return str(answer["launchRun"]["run"]["runId"])


def wait(ui: str, run_id: str, pause: float) -> None:
    while (status := graphql(ui, STATUS, id=run_id)["runOrError"]["status"]) not in FINAL:
        time.sleep(pause)
    if status != "SUCCESS":
        raise RuntimeError(f"run {run_id}: {status}")


def graphql(ui: str, query: str, **variables: object) -> Any:  # noqa: ANN401 - JSON
    return send(f"{ui}/graphql", {"query": query, "variables": variables})["data"]


def send(url: str, body: object) -> Any:  # noqa: ANN401 - JSON
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - the same
        return json.load(answer)


if __name__ == "__main__":
    main()
