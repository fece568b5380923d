"""The API's own process beside clients that want much at once: whoever wants little is answered as if they were not."""

import os
import re
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.clickhouse.logs import append_lines
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.settings import Settings
from lab_pipeline_tests.api.labs import finished
from lab_pipeline_tests.api.servers import connect, get
from lab_pipeline_tests.support.embedded import skip_without_chdb
from lab_pipeline_tests.support.logbook import lines_of
from lab_pipeline_tests.support.markets import stock

LAB = Path(sys.executable).parent / "lab"
LINES = 20_000
FEWEST = 10

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A port, and the id of a run with a long log."""
    skip_without_chdb()
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as ends:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        patch.setenv("LAB_API_PORT", "0")
        stock(home)
        lab = Settings(home=home)
        ends.callback(stop_server, clickhouse_config(lab))
        with open_instance(lab) as instance:
            run_id = finished(instance, seed=1)
        with ClickHouse(clickhouse_config(lab)) as clickhouse:
            append_lines(clickhouse, lines_of(run_id, range(1, LINES + 1)))
        log = ends.enter_context((home / "api.log").open("w"))
        process = subprocess.Popen([LAB, "api"], env={**os.environ}, stderr=log)
        ends.callback(process.wait)
        ends.callback(process.terminate)
        yield listening_port(home / "api.log", process), run_id


def listening_port(log, process):
    while not (found := re.search(r"listening on http://127.0.0.1:(\d+)", log.read_text())):
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    return int(found[1])


def usual_answer(port):
    """Ask for the health and for lists; how long the one in the middle took, as others may keep the machine busy."""
    took = []
    for path in ("/api/health", "/runs", "/strategies") * FEWEST:
        began = time.perf_counter()
        assert httpx.get(f"http://127.0.0.1:{port}{path}", timeout=60).status_code in {200, 503}
        took.append(time.perf_counter() - began)
    return statistics.median(took)


@pytest.mark.parametrize(
    ("number", "path", "headers"),
    [
        pytest.param(200, "/runs/{}/logs", ["Accept: text/event-stream"], id="streams"),
        pytest.param(100, "/runs/{}/logs", ["Accept: text/plain"], id="text", marks=pytest.mark.long),
        pytest.param(100, "/runs/{}/artifacts/equity?format=json", [], id="converted"),
        pytest.param(100, "/runs/{}/artifacts/report", [], id="files", marks=pytest.mark.long),
        pytest.param(200, "/runs/{}/logs?limit=1000", [], id="pages", marks=pytest.mark.long),
        pytest.param(100, "/runs/{}/metrics", [], id="series", marks=pytest.mark.long),
    ],
)
def test_health_and_lists_are_answered_beside_many_that_read_nothing(served, number, path, headers):
    port, run_id = served
    usual_answer(port)  # whatever is slow only once
    many = [connect(port, get(path.format(run_id), *headers)) for _ in range(number)]
    try:
        assert usual_answer(port) < 1
    finally:
        for one in many:
            one.close()


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(b"GET /runs HTTP/1.1\r\nHost: 127", id="head", marks=pytest.mark.long),
        pytest.param(get("/backtest", "Content-Length: 1000").replace(b"GET", b"POST") + b"{", id="body"),
    ],
)
def test_health_and_lists_are_answered_beside_thousands_of_half_requests(served, half):
    port, _ = served
    usual_answer(port)
    many = [connect(port, half) for _ in range(3000)]
    try:
        assert usual_answer(port) < 1
    finally:
        for one in many:
            one.close()
