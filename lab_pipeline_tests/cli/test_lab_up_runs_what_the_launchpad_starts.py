"""The lab as a whole: started by one command, used over HTTP, stopped by a signal."""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab_pipeline_tests.support.markets import stock
from lab_pipeline_tests.support.processes import of_home
from lab_pipeline_tests.support.running_lab import LAB, RunningLab, assert_log_arrives


@pytest.fixture
def running(tmp_path, monkeypatch, clickhouse_url):
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    stock(tmp_path)
    lab = RunningLab(tmp_path)
    yield lab
    if lab.process.poll() is None:
        lab.stop()


@pytest.mark.long
def test_whichever_process_of_the_code_server_is_killed_runs_can_be_launched_again(running):
    def launches():
        try:
            return running.launch(strategy="ladder", timeframe="1m")["__typename"] == "LaunchRunSuccess"
        except urllib.error.HTTPError:  # how the webserver says that the code server broke off
            return False

    assert launches()
    victims = [pid for pid, command in of_home(running.home).items() if "code_server" in command]
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
