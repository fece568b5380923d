"""The disk of a running lab fills up: it says so, keeps on trying, and goes on by itself once there is room."""

import pytest

from lab_pipeline_tests.cli.small_disk import told_by

ON_A_DISK_THAT_FILLS = """
import signal, time, urllib.error, urllib.request
from lab_pipeline_tests.support.running_lab import FINAL
from lab_pipeline_tests.support.running_lab import RunningLab
from lab_pipeline_tests.support.markets import stock
from lab_pipeline_tests.support.processes import of_home

RUNS = "{ runsOrError { ... on Runs { results { runId status parentRunId pipelineName } } } }"
BACKTEST = {"strategyId": "ladder", "timeframe": "1m",
            "range": {"start": "2018-01-01T00:00:00Z", "end": "2018-02-01T00:00:00Z"}}
home = disk / "home"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def ask(path, body=None, key=None):
    headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
    request = urllib.request.Request(up.api + path, body and json.dumps(body).encode(), headers)
    try:
        with opener.open(request, timeout=30) as answer:
            return [answer.status, json.load(answer)]
    except urllib.error.HTTPError as error:
        return [error.code, json.load(error)]
    except OSError as error:
        return [0, str(error)]

def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(0.3)
    return answer

def backtests():
    try:
        runs = up.graphql(RUNS)["runsOrError"]["results"]
    except OSError:
        return []
    return [run for run in runs if run["pipelineName"] == "backtest"]

stock(home)
up = RunningLab(home)
try:
    told = {"healthy": until(lambda: ask("/api/health")[0] == 200, 30)}
    told["before"] = ask("/backtest", BACKTEST, "before")
    fill()
    told["full"] = []
    for key in ("full", None, "full"):
        fill()
        told["full"].append(ask("/backtest", BACKTEST, key))
    told["reads"] = [ask("/runs"), ask("/strategies"), ask("/api/health")]
    for pid, command in of_home(home).items():
        if any(words in command for words in ("lab_pipeline.dagster_ext.daemon run", "bin/lab api")):
            os.kill(pid, signal.SIGKILL)
    time.sleep(8)
    told["up"] = up.process.poll() is None
    make_room()
    began = time.monotonic()
    told["healthy again"] = until(lambda: ask("/api/health")[0] == 200, 110)
    told["after"] = [ask("/backtest", BACKTEST, key) for key in ("full", "full", "before")]
    until(lambda: (runs := backtests()) and all(run["status"] in FINAL for run in runs), 60)
    told["seconds"] = time.monotonic() - began
    told["runs"] = backtests()
finally:
    told["end"] = up.stop() if up.process.poll() is None else [up.process.returncode, up.process.stdout.read()]
print(json.dumps(told))
"""


@pytest.mark.long
def test_a_running_lab_says_that_its_disk_is_full_and_goes_on_once_there_is_room(tmp_path, files, clickhouse_url):
    told = told_by(ON_A_DISK_THAT_FILLS, tmp_path, files, clickhouse_url, megabytes=160, seconds=400)

    assert told["healthy"]
    assert told["before"][0] == 202, told["before"]
    refused = [answer for status, answer in told["full"] if status == 503]
    assert refused, told["full"]
    assert {status for status, _ in told["full"]} <= {202, 503}
    for answer in refused:
        assert "is full (" in answer["error"]["message"], answer
        assert "make room, then do it again" in answer["error"]["message"]
    runs, strategies, health = told["reads"]
    assert [runs[0], strategies[0], health[0]] == [200, 200, 503]
    assert "full" in health[1]["error"]["message"]

    assert told["up"], told["end"]
    assert told["healthy again"]
    assert told["seconds"] < 120
    first, again, before = told["after"]
    assert [first[0], again[0], before[0]] == [202, 202, 202], told["after"]
    assert again[1]["runId"] == first[1]["runId"]
    assert before[1]["runId"] == told["before"][1]["runId"]  # what was acknowledged has its one run
    status = {run["runId"]: run["status"] for run in told["runs"]}
    assert set(status.values()) <= {"SUCCESS", "FAILURE"}
    assert before[1]["runId"] in status
    assert status[first[1]["runId"]] == "SUCCESS"
    ended, said = told["end"]
    assert ended == 0, said
    assert "while the disk of" in said
