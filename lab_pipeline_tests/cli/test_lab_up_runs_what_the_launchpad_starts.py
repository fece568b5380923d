"""The lab as a whole: started by one command, used over HTTP, stopped by a signal."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.logs import list_lines
from lab_pipeline.lake import Lake
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.markets import calls, candles
from lab_pipeline_tests.processes import of_home

LAB = Path(sys.executable).parent / "lab"
FINAL = {"SUCCESS", "FAILURE", "CANCELED"}
LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


class RunningLab:
    """A lab on a home with a small market, and its GraphQL."""

    def __init__(self, home):
        self.home = home
        environment = {**os.environ, "LAB_HOME": str(home), "LAB_PORT": "0", "LAB_API_PORT": "0"}
        self.process = subprocess.Popen([LAB, "up"], env=environment, stdout=subprocess.PIPE, text=True)
        self.url = self.api = None
        for line in self.process.stdout:
            if found := re.search(r"Dagster UI\s+(http://\S+)", line):
                self.url = found[1]
            if found := re.search(r"HTTP API\s+(http://\S+)/docs", line):
                self.api = found[1]
            if "Ctrl-C" in line:
                break
        assert self.url, "the lab did not start"

    def graphql(self, query, **variables):
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})  # noqa: S310
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def launch(self, executor=None, **config):
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "lab_pipeline",
            "jobName": "backtest",
        }
        execution = {} if executor is None else {"execution": {"config": executor}}
        params = {
            "selector": selector,
            "mode": "default",
            "runConfigData": json.dumps({"ops": {"run": {"config": config}}, **execution}),
        }
        return self.graphql(LAUNCH, params=params)["launchRun"]

    def wait(self, run_id, seconds=120):
        deadline = time.monotonic() + seconds
        while (status := self.graphql(STATUS, id=run_id)["runOrError"]["status"]) not in FINAL:
            assert time.monotonic() < deadline, f"run {run_id} is still {status}"
            time.sleep(0.3)
        return status

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, rest


def stock(home):
    lake = Lake(home / "lake")
    time_type = pl.Datetime("ms", "UTC")
    lake.write_candles(candles().with_columns(pl.col("timestamp").cast(time_type)), "1m")
    lake.write_calls(calls().with_columns(pl.col("called_at").cast(time_type)))


@pytest.fixture
def running(tmp_path, monkeypatch, clickhouse_url):
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    stock(tmp_path)
    lab = RunningLab(tmp_path)
    yield lab
    if lab.process.poll() is None:
        lab.stop()


def assert_log_arrives(home, run_id, seconds):
    """Wait for the whole event log of a run in ClickHouse, whither the lab's shipper brings it."""
    deadline = time.monotonic() + seconds
    settings = load_settings().model_copy(update={"home": home})
    log = sqlite3.connect(home / "dagster" / "history" / "runs" / f"{run_id}.db")
    with ClickHouse(clickhouse_config(settings)) as clickhouse:
        while True:
            stored = log.execute("SELECT id FROM event_logs ORDER BY id").fetchall()
            arrived = list_lines(clickhouse, run_id, limit=10_000).lines["seq"].to_list()
            if arrived and arrived == [number for (number,) in stored]:
                break
            assert time.monotonic() < deadline, f"{len(arrived)} of {len(stored)} lines arrived in {seconds} s"
            time.sleep(0.1)
    log.close()


@pytest.mark.long
def test_whichever_process_of_the_code_server_is_killed_runs_can_be_launched_again(running):
    def launches():
        try:
            return running.launch(strategy="ladder", timeframe="1m")["__typename"] == "LaunchRunSuccess"
        except urllib.error.HTTPError:  # how the webserver says that the code server broke off
            return False

    assert launches()
    victims = [pid for pid, command in of_home(running.home).items() if "grpc" in command or "code-server" in command]
    assert victims
    for victim in sorted(victims, reverse=True):  # children first
        os.kill(victim, signal.SIGKILL)
        time.sleep(3)  # else the webserver still goes by what it knows
        deadline = time.monotonic() + 60
        while not launches():
            assert time.monotonic() < deadline, "no run can be launched any more"
            time.sleep(0.5)


@pytest.mark.slow
def test_a_backtest_from_the_launchpad_succeeds_and_everything_stops(running):
    answer = running.launch(strategy="ladder", timeframe="1m")
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run_id = answer["run"]["runId"]
    assert running.wait(run_id) == "SUCCESS"
    manifest = json.loads((running.home / "artifacts" / run_id / "manifest.json").read_text())
    assert manifest["run_id"] == run_id
    assert manifest["summary"]["trades"] >= 3
    assert_log_arrives(running.home, run_id, seconds=5)

    wrong = running.launch(strategy="ladder", timeframe="1m", speed=9)
    assert wrong["__typename"] == "RunConfigValidationInvalid"
    assert 'unexpected config entry "speed"' in wrong["errors"][0]["message"]

    second = subprocess.run(
        [LAB, "up"], env={**os.environ, "LAB_HOME": str(running.home)}, capture_output=True, text=True, check=False
    )
    assert second.returncode == 2
    assert f"is already up (process {running.process.pid})" in second.stderr

    status, rest = running.stop()
    assert status == 0
    assert rest.endswith("the lab has stopped\n")
    deadline = time.monotonic() + 20
    while (left := of_home(running.home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == {}


RUNS_PAGE = "{ runsOrError(limit: 25) { ... on Runs { results { runId status tags { key value } } } } }"


@pytest.mark.long
def test_thirty_launches_at_once_all_succeed_while_the_runs_page_is_polled(running):
    polling = threading.Event()
    pages = []

    def poll():
        while not polling.wait(0.5):
            pages.append("runsOrError" in running.graphql(RUNS_PAGE))

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        with ThreadPoolExecutor(30) as pool:
            answers = list(
                pool.map(lambda seed: running.launch(strategy="ladder", timeframe="1m", seed=seed), range(30))
            )
        assert {answer["__typename"] for answer in answers} == {"LaunchRunSuccess"}
        run_ids = [answer["run"]["runId"] for answer in answers]
        assert [running.wait(run_id, seconds=600) for run_id in run_ids] == ["SUCCESS"] * 30
    finally:
        polling.set()
        poller.join()
    assert len(pages) > 10
    assert all(pages)
    assert {path.name for path in (running.home / "artifacts").glob("[!.]*")} == set(run_ids)
    for log in (running.home / "logs").glob("*.log"):
        assert "lock" not in log.read_text().lower(), log
