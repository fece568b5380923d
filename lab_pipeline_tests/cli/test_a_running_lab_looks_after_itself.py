"""Retention, statistics, notices of failures and of data quality and lost runs, each by a tick of the real daemon."""

import uuid
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.definitions import defs
from lab_pipeline.operations.recovery import QUEUED_WITHIN
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon
from lab_pipeline_tests.support.fake_webhook import SECRET, receiving
from lab_pipeline_tests.support.markets import candles, stock
from lab_pipeline_tests.support.running_lab import RunningLab, runs_of
from lab_pipeline_tests.support.waiting import until

PINNED = {"lab/pinned": ""}
"""Retention leaves it alone, though only one run a strategy is kept here."""


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def home(tmp_path, monkeypatch, clickhouse_url, receiver):
    """A home on which everything is switched on and due each minute."""
    defs()  # as they are for the other tests of this process, before the settings change
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {
        "LAB_HOME": home,
        "DAGSTER_HOME": home / "dagster",
        "LAB_CLICKHOUSE_URL": clickhouse_url,
        "LAB_WEBHOOK_URL": receiver.url,
        "LAB_WEBHOOK_SECRET": SECRET,
        "LAB_RETENTION_CRON": "* * * * *",
        "LAB_STATISTICS_CRON": "* * * * *",
        "LAB_KEEP_RUNS_PER_STRATEGY": 1,
        "LAB_MIN_COVERAGE": 1,
    }.items():
        monkeypatch.setenv(name, str(value))
    stock(home)
    return home


@pytest.fixture
def instance(home):  # noqa: ARG001 - where it is
    with open_instance(load_settings()) as instance:
        with daemon(instance) as stopped:
            stopped.start_schedule("retention_schedule", datetime.now(UTC))
        yield instance


@pytest.fixture
def lab(home, instance):  # noqa: ARG001 - the schedule is on before
    lab = RunningLab(home)
    yield lab
    if lab.process.poll() is None:
        lab.stop()


def finished(instance, age):
    run = dg.DagsterRun(
        job_name="backtest",
        run_id=str(uuid.uuid4()),
        status=dg.DagsterRunStatus.SUCCESS,
        tags={"lab/strategy": "plain"},
    )
    instance.run_storage.add_historical_run(run, datetime.now(UTC) - age)
    return run.run_id


def forgotten(instance, like):
    """Record a run like another, as a launcher leaves it that died before it queued it, one minute ago.

    Not earlier: what is older than a minute and a half Dagster's monitor fails and repeats, whichever comes first.
    """
    run = instance.get_run_by_id(like)
    tags = {key: value for key, value in run.tags.items() if not key.startswith((".dagster/lab_", "dagster/"))}
    lost = run._replace(run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.NOT_STARTED, tags=tags | PINNED)
    instance.run_storage.add_historical_run(lost, datetime.now(UTC) - QUEUED_WITHIN)
    return lost.run_id


def watches(instance, sensor):
    """Return whether the daemon has looked from where on a sensor is to watch."""
    return any(
        state.instigator_name == sensor and state.instigator_data and state.instigator_data.cursor
        for state in instance.all_instigator_state()
    )


def by_schedule(lab, job):
    return [status for tags, status, _ in runs_of(lab, job) if tags.get("dagster/schedule_name") == f"{job}_schedule"]


@pytest.mark.long
def test_every_schedule_and_sensor_does_its_work(lab, instance, receiver):
    older, newer = (finished(instance, timedelta(minutes=age)) for age in (10, 5))
    thin = candles(mints=("AAA",))
    kept = [10 * row + row % 7 for row in range(thin.height // 10 - 1)]  # a tenth, on no grid of longer candles
    thin = thin[kept].with_columns(mint=pl.lit("THIN"))
    inbox = until(lambda: (lab.home / "inbox").is_dir() and lab.home / "inbox", 90, what="the inbox")
    thin.write_csv(inbox / "thin-1m.csv")
    like = lab.launch(strategy="ladder", timeframe="1m")["run"]["runId"]
    lost = forgotten(instance, like)
    until(lambda: watches(instance, "notify_failures"), 90, what="the first look at failures")
    failing = lab.launch(strategy="nothing", timeframe="1m")["run"]["runId"]

    until(lambda: "SUCCESS" in by_schedule(lab, "statistics"), 90, what="the statistics of a minute")
    until(lambda: "SUCCESS" in by_schedule(lab, "retention"), 90, what="the retention of a minute")
    until(lambda: not instance.has_run(older), 90, what="the end of the older run")
    assert instance.has_run(newer)
    assert lab.wait(lost) == "SUCCESS"
    assert lab.wait(failing) == "FAILURE"
    until(lambda: [told for _, told in receiver.taken if told["data"].get("runId") == failing], 90, what="its notice")
    until(lambda: [told for _, told in receiver.taken if told["type"] == "data_quality.failed"], 90, what="the notice")
    assert lab.stop()[0] == 0

    assert [told["type"] for _, told in receiver.taken if told["data"].get("runId") == failing] == ["run.failed"]
    checks = [
        (told["data"]["asset"], told["data"]["check"])
        for _, told in receiver.taken
        if told["type"] == "data_quality.failed"
    ]
    assert checks.count(("lake/candles", "coverage")) == 1
    assert {asset for asset, _ in checks} <= {"lake/candles", "lake/calls", "backtest/summary"}
