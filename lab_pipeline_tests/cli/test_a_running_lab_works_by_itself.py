"""A night, a delivery of files and a failure, in a lab that runs, with its daemon killed in between."""

import os
import signal
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.runs.strategies import StrategyStore, example_strategies
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon
from lab_pipeline_tests.support.fake_webhook import SECRET, receiving
from lab_pipeline_tests.support.markets import MINUTE, START, candles, stock
from lab_pipeline_tests.support.processes import of_home
from lab_pipeline_tests.support.running_lab import FINAL, RunningLab, runs_of
from lab_pipeline_tests.support.waiting import until

NIGHTLY = ["dip-scalper", "ladder"]
LOST_SECONDS = 180
"""On a busy machine; a run without a process when the daemon was killed is failed after 25 s, and is run again."""


def daemon_of(home):
    """Return the process id of the daemon of a home."""
    return next(pid for pid, command in of_home(home).items() if " lab_pipeline.dagster_ext.daemon " in command)


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
    for name in {strategy.id for strategy in example_strategies()} - set(NIGHTLY):
        strategies.describe(name, is_active=False)
    strategies.describe("ladder", tags=["watched"])
    with open_instance(load_settings()) as instance, daemon(instance) as stopped:
        stopped.start_schedule("nightly_backtests", datetime.now(UTC) - timedelta(days=3))
    running = RunningLab(tmp_path)
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.mark.long
def test_nights_files_calls_and_failures_are_seen_once_though_the_daemon_is_killed(lab, receiver):
    until(lambda: runs_of(lab, "nightly"), 90, what="the night that was missed")
    os.kill(daemon_of(lab.home), signal.SIGKILL)
    inbox = until(lambda: (lab.home / "inbox").is_dir() and lab.home / "inbox", 90, what="the inbox")
    night = until(lambda: done(lab, "nightly", len(NIGHTLY)), LOST_SECONDS, what="the backtests of the night")
    seen = lab.home / "dagster" / "seen_calls"
    until(lambda: seen.is_dir() and any(seen.glob("*.parquet")), 90, what="the first look at the calls")

    new = {"call_id": ["new"], "caller": ["dan"], "mint": ["AAA"], "called_at": [START + 50 * MINUTE]}
    pl.DataFrame(new).write_csv(inbox / "calls.csv")
    candles().with_columns(low=pl.lit(99.0)).write_csv(inbox / "bad-1m.csv")
    (inbox / "half.csv.part").write_text("mint,")
    error = inbox / "rejected" / "bad-1m.csv.error.txt"
    until(lambda: error.exists() and (inbox / "done" / "calls.csv").exists(), 90, what="the files of the inbox")
    os.kill(daemon_of(lab.home), signal.SIGKILL)
    watching = until(lambda: done(lab, "backtest", 1), LOST_SECONDS, what="the backtest of the new call")
    every = [*watching, *runs_of(lab, "nightly")]
    failed = [
        run_id
        for job in ("inbox", "backtest", "nightly")
        for _, status, run_id in runs_of(lab, job)
        if status == "FAILURE"
    ]
    until(lambda: set(failed) <= set(failures_told(receiver)), 90, what="the notices")
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
