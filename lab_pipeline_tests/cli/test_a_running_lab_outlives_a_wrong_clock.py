"""The clock of a running lab is put more than a year ahead, and back: nothing waits for that year, nothing is lost."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.storage.tags import SCHEDULED_EXECUTION_TIME_TAG

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon
from lab_pipeline_tests.support.fake_clock import Clock
from lab_pipeline_tests.support.markets import stock
from lab_pipeline_tests.support.running_lab import RunningLab, assert_log_arrives
from lab_pipeline_tests.support.waiting import until

AHEAD = timedelta(days=400)
HOUR = timedelta(hours=1)
SHORTLY = timedelta(seconds=5)
PATIENCE_SECONDS = 180


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path)


@pytest.fixture
def instance(tmp_path, monkeypatch, clickhouse_url):
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {
        "LAB_HOME": home,
        "DAGSTER_HOME": home / "dagster",
        "LAB_CLICKHOUSE_URL": clickhouse_url,
        "LAB_STATISTICS_CRON": "0 * * * *",
    }.items():
        monkeypatch.setenv(name, str(value))
    stock(home)
    with open_instance(load_settings()) as instance:
        with daemon(instance) as stopped:
            stopped.start_schedule("statistics_schedule", datetime.now(UTC) - 2 * HOUR)
        yield instance


@pytest.fixture
def lab(instance, tmp_path, clock, monkeypatch):  # noqa: ARG001 - the schedule is on before
    with monkeypatch.context() as started:
        for name, value in clock.environment.items():
            started.setenv(name, value)
        lab = RunningLab(tmp_path / "home")
    yield lab
    if lab.process.poll() is None:
        lab.stop()


def scheduled(instance):
    """Return for each scheduled time of the statistics the states of its runs."""
    found = {}
    for run in instance.get_runs(dg.RunsFilter(job_name="statistics")):
        if at := run.tags.get(SCHEDULED_EXECUTION_TIME_TAG):
            found.setdefault(datetime.fromisoformat(at), []).append(run.status)
    return found


def done(instance, at):
    """Tell whether the run of a scheduled time has succeeded."""
    return dg.DagsterRunStatus.SUCCESS in scheduled(instance).get(at, [])


def backtest(lab):
    run_id = lab.launch(strategy="ladder", timeframe="1m")["run"]["runId"]
    assert lab.wait(run_id) == "SUCCESS"
    assert_log_arrives(lab.home, run_id, seconds=20)
    return run_id


@pytest.mark.long
def test_a_clock_put_ahead_and_back_stops_no_schedule_and_loses_no_run(lab, clock, instance):
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
    clock.show(first - SHORTLY)
    until(lambda: done(instance, first), PATIENCE_SECONDS, what="the statistics of an hour")
    today = backtest(lab)

    next_year = first + AHEAD
    clock.show(next_year - SHORTLY)
    ahead = backtest(lab)
    until(lambda: done(instance, next_year), PATIENCE_SECONDS, what="the statistics of next year")

    second = first + HOUR
    clock.show(second - SHORTLY)
    until(lambda: done(instance, second), PATIENCE_SECONDS, what="the statistics of the hour after the first")
    again = backtest(lab)
    times = scheduled(instance)
    assert all(len(statuses) == 1 for statuses in times.values()), times
    assert times.keys() - {first, second, next_year} <= {first - HOUR, next_year - HOUR}  # missed, and made up for
    assert {record.dagster_run.run_id for record in instance.get_run_records()} >= {today, ahead, again}
    status, said = lab.stop()
    assert status == 0
    assert "the clock was put back" in said
