from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.events import DagsterEventType
from dagster._core.test_utils import create_run_for_test

from lab_pipeline.cli.jobs import run_backtest_job
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.dagster_ext.run_coordinator import make_ready
from lab_pipeline.definitions import defs
from lab_pipeline.defs.backtest.partitions import NIGHTLY, NIGHTS
from lab_pipeline.defs.backtest.schedules import nightly_backtests
from lab_pipeline.defs.operations.resources import LabResource
from lab_pipeline.lake import Lake
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.runs import Runs
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.listing import newest
from lab_pipeline.runs.strategies import StrategyStore, example_strategies
from lab_pipeline.runs.tags import asked_fields
from lab_pipeline.settings import load_settings
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline_tests.support.daemon import daemon, dying_at, queued
from lab_pipeline_tests.support.markets import calls, candles

NIGHT = datetime(2018, 1, 12, 2, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOW = "2017-12-13/2018-01-12"
STRATEGIES = sorted(strategy.id for strategy in example_strategies())


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home; its settings."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    return load_settings()


@pytest.fixture
def instance(home):
    stock(home)
    with open_instance(home) as instance:
        yield instance


def stock(settings):
    lake = Lake(settings.lake_dir)
    lake.write_candles(candles().with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC"))), "1m")
    lake.write_calls(calls().with_columns(pl.col("called_at").cast(pl.Datetime("ms", "UTC"))))


def evaluate(instance, tick):
    """Ask the schedule itself; the reason of a tick that asks for nothing is its message."""
    repository = defs().get_repository_def()  # which has the partitions
    resources = {"lab": LabResource()}
    with dg.build_schedule_context(instance, tick, resources=resources, repository_def=repository) as context:
        return nightly_backtests.evaluate_tick(context)


def test_every_active_strategy_is_asked_for_over_the_days_before_the_tick(instance):
    found = evaluate(instance, NIGHT).run_requests
    assert [one.tags["lab/strategy"] for one in found] == STRATEGIES
    assert len({one.run_key for one in found}) == len(STRATEGIES)
    first = found[0]
    assert first.tags["lab/window"] == WINDOW
    assert (first.tags["lab/timeframe"], first.tags["lab/strategy_version"]) == ("1m", "1")
    assert first.run_config["ops"]["night"]["config"] == {"strategy_version": "1", "timeframe": "1m"}
    assert first.partition_key == f"{STRATEGIES[0]}|{WINDOW}"
    assert asked_fields(first.run_config, first.tags) == {
        "strategy": STRATEGIES[0],
        "strategy_version": "1",
        "timeframe": "1m",
        "start": "2017-12-13",
        "end": "2018-01-12",
    }


def test_a_tick_adds_the_partitions_of_its_night_and_of_those_since_the_last(instance, home):
    StrategyStore.of(home).describe(STRATEGIES[1], is_active=False)
    evaluate(instance, NIGHT)
    assert instance.get_dynamic_partitions("nightly_windows") == [WINDOW]
    assert sorted(instance.get_dynamic_partitions("nightly_strategies")) == [STRATEGIES[0], *STRATEGIES[2:]]
    asked_for = evaluate(instance, NIGHT + 3 * DAY).run_requests
    assert {one.tags["lab/window"] for one in asked_for} == {"2017-12-16/2018-01-15"}
    windows = [WINDOW, "2017-12-14/2018-01-13", "2017-12-15/2018-01-14", "2017-12-16/2018-01-15"]
    assert instance.get_dynamic_partitions("nightly_windows") == windows
    evaluate(instance, NIGHT + DAY)
    assert instance.get_dynamic_partitions("nightly_windows") == windows, "an earlier tick adds nothing"
    evaluate(instance, NIGHT + 3000 * DAY)
    assert len(instance.get_dynamic_partitions("nightly_windows")) == len(windows) + 366


def test_a_partition_is_a_backtest_like_any_other(instance, home, clickhouse_url, monkeypatch):
    """As a backfill runs it: by its key alone."""
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    evaluate(instance, NIGHT)
    key = dg.MultiPartitionKey({"strategy": "ladder", "window": WINDOW})
    job = defs().resolve_job_def("nightly")
    done = job.execute_in_process(partition_key=key, instance=instance)
    assert done.success
    by_hand = run_backtest_job(
        instance, BacktestConfig(strategy="ladder", timeframe="1m", start="2017-12-13", end="2018-01-12")
    )
    tags = instance.get_run_by_id(done.run_id).tags
    assert tags["lab/fingerprint"] == instance.get_run_by_id(by_hand.run_id).tags["lab/fingerprint"]
    event = instance.get_latest_materialization_event(NIGHTLY).asset_materialization
    assert event.partition == key
    assert event.tags["dagster/data_version"] == tags["lab/fingerprint"]
    assert event.metadata["trades"].value >= 3, "a number, which plots: partitions of a strategy stand side by side"
    assert event.metadata["url"].value.endswith(f"/runs/{done.run_id}/artifacts/report.html")
    assert event.metadata["page"].value.endswith(f"/lab/runs/{done.run_id}")
    assert instance.get_materialized_partitions(NIGHTLY) == {key}
    store = ArtifactStore.of(home)
    run = Runs(instance, store).get(done.run_id)
    assert (run.strategy_id, run.strategy_version, run.timeframe, run.status) == ("ladder", "1", "1m", "completed")
    assert (run.asked["start"], run.asked["end"]) == ("2017-12-13", "2018-01-12")
    assert {one.run_id for one in Runs(instance, store).all()} == {done.run_id, by_hand.run_id}
    assert {one.run_id for one in newest(home, 10)} == {done.run_id, by_hand.run_id}
    assert dict(Runs(instance, store).statuses().iter_rows())[done.run_id] == "completed"


def test_a_strategy_that_a_backfill_has_run_over_a_window_is_left_out(instance):
    partition = {"dagster/partition/strategy": STRATEGIES[0], "dagster/partition/window": WINDOW}
    run = create_run_for_test(instance, job_name="nightly", tags=partition)
    make_ready(instance, run)
    instance.report_dagster_event(dg.DagsterEvent(DagsterEventType.PIPELINE_SUCCESS.value, "nightly"), run.run_id)
    tags = instance.get_run_by_id(run.run_id).tags
    assert (tags["lab/strategy"], tags["lab/window"]) == (STRATEGIES[0], WINDOW)
    assert [one.tags["lab/strategy"] for one in evaluate(instance, NIGHT).run_requests] == STRATEGIES[1:]


def test_runs_of_the_schedule_are_those_of_its_partitions(instance):
    with daemon(instance) as running:
        running.start_schedule("nightly_backtests", NIGHT - DAY)
        running.run_schedules(NIGHT)
    runs = queued(instance, "nightly")
    assert {run.job_name for run in runs} == {"nightly"}
    assert {run.tags["dagster/partition"] for run in runs} == {f"{name}|{WINDOW}" for name in STRATEGIES}
    with partition_loading_context(dynamic_partitions_store=instance):
        assert set(NIGHTS.get_partition_keys()) == {f"{name}|{WINDOW}" for name in STRATEGIES}


def test_the_window_is_that_of_the_tick_whenever_it_is_evaluated(instance, monkeypatch):
    before = [(one.run_key, one.run_config) for one in evaluate(instance, NIGHT).run_requests]
    later_that_night = evaluate(instance, NIGHT + timedelta(hours=3)).run_requests
    assert [(one.run_key, one.run_config) for one in later_that_night] == before
    the_next = evaluate(instance, NIGHT + DAY).run_requests
    assert {one.tags["lab/window"] for one in the_next} == {"2017-12-14/2018-01-13"}
    assert not {one.run_key for one in the_next} & {key for key, _ in before}
    monkeypatch.setenv("LAB_NIGHTLY_WINDOW_DAYS", "3")
    assert evaluate(instance, NIGHT).run_requests[0].tags["lab/window"] == "2018-01-09/2018-01-12"


def test_strategies_that_are_not_active_are_left_out(instance, home):
    StrategyStore.of(home).describe(STRATEGIES[1], is_active=False)
    found = evaluate(instance, NIGHT).run_requests
    assert [one.tags["lab/strategy"] for one in found] == [STRATEGIES[0], *STRATEGIES[2:]]


def test_an_invalid_strategy_stops_no_other_and_the_tick_says_why(instance, home):
    assert StrategyStore.of(home).ids()
    with DuckFile.at(home.catalog_path).transaction(write=True) as connection:
        connection.execute("UPDATE strategies SET config = '{\"exit\": {}}' WHERE id = ?", [STRATEGIES[0]])
    with daemon(instance) as running:
        running.start_schedule("nightly_backtests", NIGHT - DAY)
        running.run_schedules(NIGHT)
        (tick,) = running.schedule_ticks("nightly_backtests")
        written = instance.compute_log_manager.get_log_data(tick.log_key).stderr.decode()
    assert [run.tags["lab/strategy"] for run in queued(instance, "nightly")] == STRATEGIES[1:]
    assert f"{STRATEGIES[0]} is left out: strategy {STRATEGIES[0]} version 1 is not valid: exit" in written


def test_a_window_without_data_is_skipped_with_the_reason(instance):
    answer = evaluate(instance, NIGHT + 100 * DAY)
    assert answer.run_requests == []
    assert f"{STRATEGIES[0]}: the lake has no calls with 1m candles in this window" in answer.skip_message


@pytest.mark.parametrize("timeframe", [None, "5m"])
def test_a_lake_without_candles_is_skipped_with_the_reason(home, monkeypatch, timeframe):
    if timeframe:
        stock(home)
        monkeypatch.setenv("LAB_AUTOMATION_TIMEFRAME", timeframe)
    with open_instance(home) as instance:
        answer = evaluate(instance, NIGHT)
    assert answer.run_requests == []
    assert ("has no 5m candles" if timeframe else "has no candles") in answer.skip_message


def test_a_window_is_run_once_however_many_ticks_it_has(instance):
    with daemon(instance) as running:
        running.start_schedule("nightly_backtests", NIGHT - DAY)
        for looked_at in (NIGHT, NIGHT, NIGHT + timedelta(minutes=1)):
            running.run_schedules(looked_at)
    assert [run.tags["lab/strategy"] for run in queued(instance, "nightly")] == STRATEGIES
    assert {run.status for run in queued(instance, "nightly")} == {dg.DagsterRunStatus.QUEUED}
    another_tick_of_the_day = evaluate(instance, NIGHT + timedelta(hours=12))
    assert another_tick_of_the_day.run_requests == []
    assert f"{STRATEGIES[0]}: it was run over this window before" in another_tick_of_the_day.skip_message
    assert len(evaluate(instance, NIGHT + DAY).run_requests) == len(STRATEGIES)


@pytest.mark.parametrize("point", ["RUN_CREATED", "RUN_LAUNCHED"])
def test_a_daemon_that_dies_at_a_tick_ends_it_once_when_it_is_back(instance, point):
    with daemon(instance) as running:
        running.start_schedule("nightly_backtests", NIGHT - DAY)
        with dying_at(point):
            running.run_schedules(NIGHT)
        assert len(queued(instance, "nightly")) < len(STRATEGIES)
        running.run_schedules(NIGHT + timedelta(minutes=1))
    runs = queued(instance, "nightly")
    assert sorted(run.tags["lab/strategy"] for run in runs) == STRATEGIES
    assert {run.status for run in runs} == {dg.DagsterRunStatus.QUEUED}


def test_of_the_ticks_that_were_missed_only_the_latest_is_made_up_for(instance):
    with daemon(instance) as running:
        running.start_schedule("nightly_backtests", NIGHT - DAY)
        running.run_schedules(NIGHT + 5 * DAY + timedelta(hours=7))
        assert len(running.schedule_ticks("nightly_backtests")) == 1
    assert {run.tags["lab/window"] for run in queued(instance, "nightly")} == {"2017-12-18/2018-01-17"}
