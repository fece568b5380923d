"""Put ahead and back, or back and forward, the clock makes no schedule run a time twice, and none wait for ever."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from dagster._core.scheduler.instigation import TickStatus

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.defs.operations.automation import ahead, rewind
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import example_strategies
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon, dying_at, queued
from lab_pipeline_tests.support.markets import calls, candles

NIGHT = datetime(2018, 1, 12, 2, tzinfo=UTC)
HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)
MILLISECONDS = pl.Datetime("ms", "UTC")
STRATEGIES = sorted(strategy.id for strategy in example_strategies())


@pytest.fixture
def running(tmp_path, monkeypatch):
    """The daemon of a home with a small market, only its nightly schedule on, since the day before NIGHT."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    settings = load_settings()
    lake = Lake(settings.lake_dir)
    lake.write_candles(candles().with_columns(pl.col("timestamp").cast(MILLISECONDS)), "1m")
    lake.write_calls(calls().with_columns(pl.col("called_at").cast(MILLISECONDS)))
    with open_instance(settings) as instance, daemon(instance) as running:
        running.stop_schedule("statistics_schedule")
        running.start_schedule("nightly_backtests", NIGHT - DAY)
        yield running


def nights(running):
    """Return the days before which windows end that were run, once for each strategy that was run over them."""
    return sorted(
        (run.tags["lab/window"].partition("/")[2], run.tags["lab/strategy"]) for run in queued(running.instance)
    )


def once(*days):
    return sorted((f"{day:%Y-%m-%d}", strategy) for day in days for strategy in STRATEGIES)


def restarted(running, now):
    """Do what `lab up` does when the clock was put back, and let the daemon look at its schedules."""
    found = rewind(running.instance, now)
    running.run_schedules(now)
    return found


def test_ahead_by_a_year_and_back(running):
    running.run_schedules(NIGHT)
    running.run_schedules(NIGHT + YEAR)
    assert "nightly_backtests" in restarted(running, NIGHT + DAY + HOUR)
    assert nights(running) == once(NIGHT, NIGHT + DAY)
    assert ahead(running.instance, NIGHT + DAY + HOUR) == []
    for hour in (12, 23, 24):
        running.run_schedules(NIGHT + DAY + hour * HOUR)
    assert nights(running) == once(NIGHT, NIGHT + DAY, NIGHT + 2 * DAY)


def test_ahead_by_days_and_back(running):
    for moment in (NIGHT, NIGHT + DAY, NIGHT + 2 * DAY):
        running.run_schedules(moment)
    restarted(running, NIGHT + 10 * HOUR)
    for hour in (23, 24, 48, 60, 72, 73):
        running.run_schedules(NIGHT + hour * HOUR)
    assert nights(running) == once(NIGHT, NIGHT + DAY, NIGHT + 2 * DAY, NIGHT + 3 * DAY)


@pytest.mark.parametrize("back", [5 * HOUR, 3 * DAY])
def test_back_and_forward_again(running, back):
    running.run_schedules(NIGHT)
    running.run_schedules(NIGHT + DAY + HOUR)
    for wrong in (NIGHT + DAY + HOUR - back, NIGHT + DAY + 2 * HOUR - back):
        restarted(running, wrong)
    running.run_schedules(NIGHT + DAY + 3 * HOUR)
    asked = nights(running)
    assert len(set(asked)) == len(asked)
    assert set(once(NIGHT, NIGHT + DAY)) <= set(asked)
    running.run_schedules(NIGHT + 2 * DAY)
    assert set(once(NIGHT + 2 * DAY)) <= set(nights(running))


def test_of_the_nights_that_a_clock_ahead_has_missed_the_latest_is_made_up_for(running):
    running.run_schedules(NIGHT)
    running.run_schedules(NIGHT + YEAR)
    restarted(running, NIGHT + 4 * DAY + HOUR)
    assert nights(running) == once(NIGHT, NIGHT + 4 * DAY)


def test_a_tick_of_the_future_that_was_interrupted_ends_when_its_time_comes(running):
    with dying_at("RUN_LAUNCHED"):
        running.run_schedules(NIGHT + DAY)
    begun = nights(running)
    assert 0 < len(begun) < len(STRATEGIES)
    restarted(running, NIGHT + HOUR)
    assert nights(running) == sorted([*once(NIGHT), *begun])
    running.run_schedules(NIGHT + DAY)
    assert nights(running) == once(NIGHT, NIGHT + DAY)
    assert {run.status for run in queued(running.instance)} == {dg.DagsterRunStatus.QUEUED}


def test_a_schedule_switched_on_in_the_future_begins_now(running):
    running.stop_schedule("nightly_backtests")
    running.start_schedule("nightly_backtests", NIGHT + YEAR)
    restarted(running, NIGHT - HOUR)
    assert nights(running) == []
    running.run_schedules(NIGHT)
    assert nights(running) == once(NIGHT)


def test_what_is_not_ahead_is_left_as_it_is(running):
    running.run_schedules(NIGHT)
    before = running.instance.all_instigator_state()
    assert rewind(running.instance, NIGHT) == []
    assert rewind(running.instance, NIGHT - timedelta(seconds=20)) == []
    assert running.instance.all_instigator_state() == before
    assert len(running.schedule_ticks("nightly_backtests")) == 1


def evaluated(running, now):
    """Let the daemon look at the sensor that recovers runs, by its own interval, and return the times of its ticks."""
    return [tick.timestamp for tick in running.look_at_sensor("recover_runs", now)]


def test_a_sensor_goes_on_when_the_clock_is_right_again(running):
    evaluated(running, NIGHT)
    assert evaluated(running, NIGHT + DAY) == [(NIGHT + DAY).timestamp(), NIGHT.timestamp()]
    right = NIGHT + timedelta(minutes=5)
    assert rewind(running.instance, right) == ["recover_runs"]
    later = right + timedelta(minutes=1)
    assert evaluated(running, later) == [later.timestamp(), right.timestamp(), NIGHT.timestamp()]


def test_a_tick_in_which_a_sensor_was_interrupted_is_kept(running):
    evaluated(running, NIGHT)
    (tick, _) = running.look_at_sensor("recover_runs", NIGHT + DAY)
    begun = tick.tick_data._replace(status=TickStatus.STARTED, skip_reason=None, end_timestamp=None)
    running.instance.update_tick(tick._replace(tick_data=begun))
    right = NIGHT + timedelta(minutes=5)
    rewind(running.instance, right)
    (kept, _) = running.sensor_ticks("recover_runs")
    assert (kept.tick_id, kept.status, kept.timestamp) == (tick.tick_id, TickStatus.STARTED, right.timestamp())
