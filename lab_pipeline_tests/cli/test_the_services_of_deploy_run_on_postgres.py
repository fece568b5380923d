"""The services of `deploy/compose.yaml`, by its own commands but without containers, on a real Postgres."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lab_pipeline.client import Client
from lab_pipeline_tests.support.postgres import cluster

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
BIN = Path(sys.executable).parent
SECONDS = 120


@pytest.fixture
def postgres_url():
    with cluster() as database:
        yield database()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def await_(what, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.25)


@pytest.fixture
def start(stocked, postgres_url, tmp_path, monkeypatch):
    """Start services by name, each with the command that it has in the file, on ports of our own."""
    ports = {number: str(free_port()) for number in ("3000", "4000", "8000")}
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(
        (DEPLOY / "workspace.yaml").read_text().replace("code", "127.0.0.1").replace("4000", ports["4000"])
    )
    words = {**ports, "0.0.0.0": "127.0.0.1", "/etc/lab/workspace.yaml": str(workspace)}  # noqa: S104 - replaced
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "DAGSTER_HOME": str(stocked.home / "dagster"),
        "LAB_HOST": "127.0.0.1",
        "LAB_PORT": ports["3000"],
        "LAB_API_PORT": ports["8000"],
        "LAB_DAGSTER_URL": f"http://127.0.0.1:{ports['3000']}",
    }
    running = []

    def command(name):
        return [words.get(word, word).replace("/etc/lab", str(DEPLOY)) for word in SERVICES[name]["command"]]

    def start(name):
        process = subprocess.Popen(command(name), env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        running.append(process)
        for listener, number in (("code", "4000"), ("webserver", "3000"), ("api", "8000")):
            if name == listener:
                await_(lambda port=ports[number]: answers(port))
        return process

    start.run = lambda name: subprocess.run(command(name), env=environment, capture_output=True, text=True, check=False)
    start.api = f"http://127.0.0.1:{ports['8000']}"
    yield start
    for process in reversed(running):
        process.send_signal(signal.SIGTERM)
    for process in running:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.long
def test_a_backtest_runs_through_the_daemon_and_older_ones_are_there(stocked, start):
    older = stocked("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json").json
    done = start.run("setup")
    assert done.returncode == 0, done.stderr
    assert "all of it arrived" in done.stdout
    assert (stocked.home / "dagster" / "dagster.yaml").read_text() == (DEPLOY / "dagster.yaml").read_text()

    for name in ("code", "webserver", "daemon", "api"):
        start(name)
    run = Client(start.api).backtest("ladder", "1m", start="2018-01-10", end="2018-01-12").wait(SECONDS)
    assert run.status == "completed"
    listed = stocked("runs", "list", "--json").json["runs"]
    assert [one["runId"] for one in listed] == [run.run_id, older["runId"]]
    again = start.run("setup")  # as at every start, with everything running
    assert again.returncode == 0, again.stderr
    assert "already" in again.stdout
