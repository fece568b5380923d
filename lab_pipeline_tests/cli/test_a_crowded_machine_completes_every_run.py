"""Runs whose processes take long to come up, on a machine that is busy with something else."""

import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
import yaml

from lab_pipeline.dagster_ext import worker_locks
from lab_pipeline.dagster_ext.instance import instance_config
from lab_pipeline.settings import Settings
from lab_pipeline_tests.support.markets import stock
from lab_pipeline_tests.support.processes import of_home
from lab_pipeline_tests.support.running_lab import FINAL, RunningLab

RUNS = int(os.environ.get("LAB_TEST_RUNS", "6"))
LIMIT = 2
STRATEGIES = ["ladder", "dip-scalper", "trend-rider"]
WORKER = re.compile(r"dagster_ext\.run_worker (\S+)")
STATUSES = "{ runsOrError { ... on Runs { results { runId jobName status } } } }"
SLOW_START = """\
import sys, time
if "lab_pipeline.dagster_ext.run_worker" in " ".join(sys.orig_argv):
    time.sleep({seconds})
if "lab_pipeline.cli.fork_server" in " ".join(sys.orig_argv):
    time.sleep(1_000_000)  # so long does the fork server load: every run loads by itself
"""


@contextmanager
def busy_machine():
    """Keep every core busy, as what else runs on a machine does."""
    spin = "import os\nos.nice(5)\nwhile True: pass"
    spinners = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


@contextmanager
def counted(home):
    """Count the runs that have processes, again and again; yields the counts.

    Not the processes: one that a run is just starting for something else has the command of the run for a moment.
    """
    counts, over = [0], threading.Event()

    def count():
        while not over.wait(0.2):
            counts.append(len({found[1] for command in of_home(home).values() if (found := WORKER.search(command))}))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


@pytest.fixture
def start(tmp_path, monkeypatch, clickhouse_url):
    """Start a lab on a small market, in which the processes of runs take so many seconds longer to come up."""
    slow, home = tmp_path / "slow", tmp_path / "home"
    slow.mkdir()
    for name, value in {
        "LAB_CLICKHOUSE_URL": clickhouse_url,
        "LAB_MAX_CONCURRENT_RUNS": LIMIT,
        "LAB_MAX_CONCURRENT_RUNS_PER_STRATEGY": LIMIT,
        "LAB_RUN_RETRIES": 0,
        "PYTHONPATH": slow,
    }.items():
        monkeypatch.setenv(name, str(value))
    stock(home)
    started = []

    def start(seconds, **monitoring):
        (slow / "sitecustomize.py").write_text(SLOW_START.format(seconds=seconds))
        if monitoring:  # in a dagster.yaml of the user's own
            settings = Settings(home=home, max_concurrent_runs=LIMIT, run_retries=0)
            config = yaml.safe_load(instance_config(settings))
            config["run_monitoring"] |= monitoring
            settings.dagster_home.mkdir(parents=True)
            (settings.dagster_home / "dagster.yaml").write_text(yaml.safe_dump(config))
        started.append(RunningLab(home))
        return started[-1]

    yield start
    for lab in started:
        if lab.process.poll() is None:
            lab.stop()


def ended(lab, run_ids, seconds):
    """Wait until runs have ended, and return their statuses."""
    deadline = time.monotonic() + seconds
    while True:
        results = lab.graphql(STATUSES)["runsOrError"]["results"]
        found = {run["runId"]: run["status"] for run in results if run["runId"] in run_ids}
        if all(status in FINAL for status in found.values()):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


@pytest.mark.long
def test_every_run_completes_beside_what_else_keeps_the_machine_busy(start):
    lab = start(5)
    with busy_machine(), counted(lab.home) as counts:
        run_ids = [
            lab.launch(strategy=STRATEGIES[number % len(STRATEGIES)], timeframe="1m")["run"]["runId"]
            for number in range(RUNS)
        ]
        statuses = ended(lab, run_ids, 90 * RUNS)
    assert list(statuses.values()) == ["SUCCESS"] * RUNS
    assert max(counts) == LIMIT


@pytest.mark.long
def test_what_a_monitor_of_the_users_own_fails_has_its_place_until_its_process_is_gone(start):
    lab = start(30, start_timeout_seconds=1)
    with counted(lab.home) as counts:
        run_ids = [lab.launch(strategy=name, timeframe="1m")["run"]["runId"] for name in STRATEGIES]
        statuses = ended(lab, run_ids, 300)
        deadline = time.monotonic() + 60
        while worker_locks.living(worker_locks.workers_dir(Settings(home=lab.home).dagster_home)):  # slept for no 30 s
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert list(statuses.values()) == ["FAILURE"] * len(STRATEGIES)
    assert 1 <= max(counts) <= LIMIT
