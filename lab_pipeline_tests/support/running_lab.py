"""The lab as a whole: started by `lab up` in processes of its own, used over GraphQL, stopped by a signal."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.logs import list_lines
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.processes import cpu_seconds, processes
from lab_pipeline_tests.support.waiting import until

LAB = Path(sys.executable).parent / "lab"
FINAL = {"SUCCESS", "FAILURE", "CANCELED"}
EVERYWHERE = "0.0.0.0"  # noqa: S104 - only a lab that listens there needs a token for everything
TOKEN = "s3cret"  # noqa: S105 - of a lab that lives for minutes
BEARER = {"Authorization": f"Bearer {TOKEN}"}
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
RUNS = "{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
BACKTESTS = """{
  runsOrError(filter: {pipelineName: "backtest"}) {
    ... on Runs { results { runId status parentRunId tags { key value } } }
  }
}"""


class RunningLab:
    """A lab on a home, with variables of its own, and its GraphQL."""

    def __init__(self, home, **variables):
        self.home = home
        environment = {**os.environ, "LAB_HOME": str(home), "LAB_PORT": "0", "LAB_API_PORT": "0", **variables}
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


def runs_of(lab, job):
    """Return tags and status of the runs of a job."""
    results = lab.graphql(RUNS)["runsOrError"]["results"]
    return [
        ({tag["key"]: tag["value"] for tag in run["tags"]}, run["status"], run["runId"])
        for run in results
        if run["jobName"] == job
    ]


def backtests(lab):
    """Return the backtests of a lab by their ids; it runs others, such as for statistics, at moments of its own."""
    return {run["runId"]: run for run in lab.graphql(BACKTESTS)["runsOrError"]["results"]}


def cancel(lab, run_id):
    """Cancel a run; Dagster refuses for the moments in which it is not in the queue yet, or is starting."""
    until(lambda: lab.graphql(TERMINATE, id=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess", 30)


def in_the_kernel(lab, run_id):
    """Wait until a run's process has used so much time that it can only be simulating."""

    def busy():
        for pid in processes(lab.home, "dagster_ext.run_worker", run_id):
            if backtests(lab)[run_id]["status"] == "STARTED":
                return cpu_seconds(pid) > 6 and pid
        return None

    return until(busy, 120)


def left_over(home):
    """Return what is there of runs: the names of their artifacts, published or being written."""
    artifacts = home / "artifacts"
    return [path.name for path in artifacts.glob("[!.]*")] + [path.name for path in artifacts.glob(".staging/*-*")]


def assert_log_arrives(home, run_id, seconds):
    """Wait for the whole event log of a run in ClickHouse, where the lab's shipper puts it."""
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
