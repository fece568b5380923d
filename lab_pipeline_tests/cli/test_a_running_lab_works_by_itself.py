"""A night, a delivery of files and a failure, in a lab that runs, with its daemon killed in between."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lab_pipeline.defs.operations.instance import open_instance
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.cli.test_lab_up_runs_what_the_launchpad_starts import FINAL, RunningLab, stock
from lab_pipeline_tests.defs.daemon import daemon
from lab_pipeline_tests.markets import MINUTE, START, candles
from lab_pipeline_tests.processes import of_home
from lab_pipeline_tests.receiver import SECRET, receiving

RUNS = "{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"
NIGHTLY = ["dip-scalper", "ladder"]
LOST_SECONDS = 180
"""On a busy machine; a run without a process when the daemon was killed is failed after 25 s, and is run again."""


def until(found, what, seconds=90):
    """Wait for something to be there, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)
    return value


def runs_of(lab, job):
    """Return tags and status of the runs of a job."""
    results = lab.graphql(RUNS)["runsOrError"]["results"]
    return [
        ({tag["key"]: tag["value"] for tag in run["tags"]}, run["status"], run["runId"])
        for run in results
        if run["jobName"] == job
    ]


def daemon_of(home):
    """Return the process id of the daemon of a home."""
    return next(pid for pid, command in of_home(home).items() if " lab_pipeline.daemon " in command)


def done(lab, job, count):
    """Return the runs of a job that succeeded when there are so many and all have ended."""
    runs = runs_of(lab, job)
    good = [run for run in runs if run[1] == "SUCCESS"]
    return good if len(good) >= count and all(status in FINAL for _, status, _ in runs) else []


def failures_told(receiver):
    return [told["data"]["runId"] for _, told in receiver.taken if told["type"] == "run.failed"]


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def lab(tmp_path, monkeypatch, clickhouse_url, receiver):
    """A lab that was down at two, when its nightly schedule was on."""
    for name, value in {
        "LAB_HOME": tmp_path,
        "DAGSTER_HOME": tmp_path / "dagster",
        "LAB_CLICKHOUSE_URL": clickhouse_url,
        "LAB_WEBHOOK_URL": receiver.url,
        "LAB_WEBHOOK_SECRET": SECRET,
        "LAB_NIGHTLY_WINDOW_DAYS": 9000,
    }.items():
        monkeypatch.setenv(name, str(value))
    stock(tmp_path)
    strategies = StrategyStore.of(load_settings())
    strategies.describe("trend-rider", is_active=False)
    strategies.describe("ladder", tags=["watched"])
    with open_instance(load_settings()) as instance, daemon(instance) as stopped:
        stopped.start_schedule("nightly_backtests", datetime.now(UTC) - timedelta(days=3))
    running = RunningLab(tmp_path)
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.mark.long
def test_nights_files_calls_and_failures_are_seen_once_though_the_daemon_is_killed(lab, receiver):
    until(lambda: runs_of(lab, "backtest"), "the night that was missed")
    os.kill(daemon_of(lab.home), signal.SIGKILL)
    inbox = until(lambda: (lab.home / "inbox").is_dir() and lab.home / "inbox", "the inbox")
    night = until(lambda: done(lab, "backtest", len(NIGHTLY)), "the backtests of the night", LOST_SECONDS)
    seen = lab.home / "dagster" / "seen_calls"
    until(lambda: seen.is_dir() and any(seen.glob("*.parquet")), "the first look at the calls")

    new = {"call_id": ["new"], "caller": ["dan"], "mint": ["AAA"], "called_at": [START + 50 * MINUTE]}
    pl.DataFrame(new).write_csv(inbox / "calls.csv")
    candles().with_columns(low=pl.lit(99.0)).write_csv(inbox / "bad-1m.csv")
    (inbox / "half.csv.part").write_text("mint,")
    error = inbox / "rejected" / "bad-1m.csv.error.txt"
    until(lambda: error.exists() and (inbox / "done" / "calls.csv").exists(), "the files of the inbox")
    os.kill(daemon_of(lab.home), signal.SIGKILL)
    every = until(lambda: done(lab, "backtest", len(NIGHTLY) + 1), "the backtest of the new call", LOST_SECONDS)
    failed = [run_id for job in ("inbox", "backtest") for _, status, run_id in runs_of(lab, job) if status == "FAILURE"]
    until(lambda: set(failed) <= set(failures_told(receiver)), "the notices")
    ingests = runs_of(lab, "inbox")
    status, _ = lab.stop()

    assert status == 0
    assert sorted(tags["lab/strategy"] for tags, _, _ in night) == NIGHTLY
    yesterday = {datetime.now(UTC).date() - timedelta(days=days) for days in (0, 1)}
    (window,) = {tags["lab/window"] for tags, _, _ in night}
    assert datetime.fromisoformat(window.partition("/")[2]).date() in yesterday
    by_key = {tags["dagster/run_key"]: tags for tags, _, _ in every}
    assert len(by_key) == len(every)
    first, *others = sorted(by_key)
    assert others == [f"nightly/{name}/{window}" for name in NIGHTLY]
    assert first.startswith("calls/ladder/")
    watched = by_key[first]
    assert watched["lab/window"] == "2018-01-10T00:50:00.000Z/2018-01-10T00:50:00.001Z"
    assert "bad-1m.csv, line 2, low: " in error.read_text()
    assert (inbox / "half.csv.part").exists()
    told = failures_told(receiver)
    assert len(told) == len(set(told))
    assert set(told) == set(failed)
    assert [status for _, status, _ in ingests].count("FAILURE") == 1
