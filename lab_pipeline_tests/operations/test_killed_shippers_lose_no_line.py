"""kill -9 of runs, shippers and the server at random moments, dozens of times; then every line is counted."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.gateway.files import StateFiles
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.clickhouse.logs import list_lines
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations.log_shipper import Shipper, backlog
from lab_pipeline.settings import load_settings

pytestmark = pytest.mark.long
KILLS = 24
RUN = """
import itertools, time
import dagster as dg
from dagster._core.test_utils import create_run_for_test
with dg.DagsterInstance.get() as instance:
    run = create_run_for_test(instance, job_name="backtest", status=dg.DagsterRunStatus.STARTED)
    for number in itertools.count():
        entry = dg.EventLogEntry(error_info=None, level=20, user_message=f"line {number}", run_id=run.run_id,
                                 timestamp=time.time())
        instance.event_log_storage.store_event(entry)
        if not number:
            print("going", flush=True)
        time.sleep(0.002)
"""


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.delenv("LAB_CLICKHOUSE_URL", raising=False)
    settings = load_settings()
    yield settings
    stop_server(clickhouse_config(settings))


class Kept:
    """A process that is started again whenever it is killed."""

    def __init__(self, command):
        self._command = command
        self.start()

    def start(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def wait_until_it_works(self):
        assert self._process.stdout.readline() == "going\n"

    def kill(self):
        self._process.kill()
        self._process.communicate()


def lines_there(clickhouse):
    return clickhouse.query("SELECT uniqExact(run_id, seq) AS lines FROM run_logs", wait=True)["lines"].item()


def wait_until_more_is_there(clickhouse):
    before, deadline = lines_there(clickhouse), time.monotonic() + 90
    while lines_there(clickhouse) <= before:
        assert time.monotonic() < deadline, "nothing was shipped"
        time.sleep(0.05)


def test_lines_arrive_once_whoever_is_killed(embedded):
    chance = random.Random(2_024)  # noqa: S311 - moments, not secrets
    files = StateFiles(embedded.clickhouse_dir)
    with open_instance(embedded) as instance, ClickHouse(clickhouse_config(embedded)) as clickhouse:
        assert clickhouse.client.ping()
        runs = [Kept([sys.executable, "-c", RUN]) for _ in range(2)]
        shipper = Kept([Path(sys.executable).parent / "lab", "clickhouse", "ship"])
        for number in range(KILLS):
            kind = ("run", "server", "shipper")[number % 3]
            run = chance.choice(runs)
            if kind == "run":
                run.wait_until_it_works()
            else:
                wait_until_more_is_there(clickhouse)
            time.sleep(chance.uniform(0.0, 1.0))
            if kind == "server":
                os.kill(files.server_pid(), signal.SIGKILL)
            else:
                process = run if kind == "run" else shipper
                process.kill()
                process.start()
        for process in (*runs, shipper):
            process.kill()
        tail = Shipper(clickhouse)
        while tail.behind:
            tail.ship(instance)
        assert backlog(instance, clickhouse).lines == 0
        run_ids = instance.get_run_ids()
        assert len(run_ids) > KILLS // 3
        for run_id in run_ids:
            stored = [record.storage_id for record in instance.get_records_for_run(run_id).records]
            assert stored
            assert list(list_lines(clickhouse, run_id, limit=1_000_000).lines["seq"]) == stored
