import dagster as dg
import polars as pl
import pytest

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.defs.backtest.sensors import watch_calls
from lab_pipeline.defs.operations.resources import LabResource
from lab_pipeline.domain import frames
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon, dying_at, queued
from lab_pipeline_tests.support.markets import MINUTE, START, calls, candles

TIME = pl.Datetime("ms", "UTC")


@pytest.fixture
def lake(tmp_path, monkeypatch):
    """A lake with the small market, in a lab that watches one strategy."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    lake = Lake(tmp_path / "lake")
    lake.write_candles(candles().with_columns(pl.col("timestamp").cast(TIME)), "1m")
    lake.write_calls(calls().with_columns(pl.col("called_at").cast(TIME)))
    Lab(load_settings()).strategies.describe("ladder", tags=["watched"])
    return lake


def add(lake, *rows):
    frame = pl.DataFrame(
        [(call_id, caller, mint, START + minute * MINUTE) for call_id, caller, mint, minute in rows],
        schema=["call_id", "caller", "mint", "called_at"],
        orient="row",
    )
    lake.write_calls(frame.with_columns(pl.col("called_at").cast(TIME)))


class Watcher:
    def __init__(self, instance):
        self.instance, self.cursor = instance, None

    def look(self):
        with dg.build_sensor_context(self.instance, self.cursor, resources={"lab": LabResource()}) as context:
            answer = watch_calls.evaluate_tick(context)
        self.cursor = answer.cursor
        return answer.run_requests or answer.skip_message


@pytest.fixture
def watcher(lake):  # noqa: ARG001 - what it watches
    with dg.DagsterInstance.ephemeral() as instance:
        watcher = Watcher(instance)
        assert watcher.look() == "calls that come from now on are seen"
        yield watcher


def asked(request):
    return request.run_config["ops"]["run"]["config"]


def test_new_calls_are_run_by_their_callers_and_time(lake, watcher):
    assert watcher.look() == "no calls have come since"
    add(lake, ("c4", "dan", "AAA", 31), ("c5", "ann", "BBB", 40))
    (request,) = watcher.look()
    assert asked(request) == {
        "strategy": "ladder",
        "strategy_version": "1",
        "timeframe": "1m",
        "start": "2018-01-10T00:31:00+00:00",
        "end": "2018-01-10T00:40:00.001000+00:00",
        "callers": ["ann", "dan"],
    }
    assert {tag: value for tag, value in request.tags.items() if tag.startswith("lab/")} == {
        "lab/strategy": "ladder",
        "lab/strategy_version": "1",
        "lab/timeframe": "1m",
        "lab/window": "2018-01-10T00:31:00.000Z/2018-01-10T00:40:00.001Z",
    }
    assert watcher.look() == "no calls have come since"


def test_a_call_that_changes_is_new_and_the_same_rows_again_are_not(lake, watcher):
    add(lake, ("c1", "ann", "BBB", 50))
    (request,) = watcher.look()
    assert (asked(request)["callers"], asked(request)["start"]) == (["ann"], "2018-01-10T00:50:00+00:00")
    add(lake, ("c1", "ann", "BBB", 50))
    assert watcher.look() == "no calls have come since"


def test_a_plan_that_is_edited_is_new_to_the_strategies_that_follow_it_alone(lake, watcher):
    strategies = Lab(load_settings()).strategies
    document = {"id": "follower", "tags": ["watched"], "exit": {"use": "signal"}}
    strategies.add(Strategy.parse(document))
    plan = pl.DataFrame({"call_id": ["c1"], "targets": [[2.0, 3.0]], "stop_price": [0.5], "chain": ["solana"]})
    known = lake.calls().filter(call_id="c1").select(*frames.CALLS)
    for change in (
        plan,
        plan.with_columns(targets=pl.Series([[2.0, 4.0]])),
        plan.with_columns(targets=pl.Series([[2.0, 4.0]]), stop_price=pl.lit(None, pl.Float64)),
    ):
        lake.write_calls(known.join(change, on="call_id"))
        (request,) = watcher.look()
        assert (request.tags["lab/strategy"], asked(request)["callers"]) == ("follower", ["ann"])
        assert watcher.look() == "no calls have come since"
    lake.write_calls(known.with_columns(chain=pl.lit("base")))
    assert watcher.look() == "no calls have come since"  # which nobody reads
    lake.write_calls(known.with_columns(direction=pl.lit("short")))
    assert [request.tags["lab/strategy"] for request in watcher.look()] == ["follower", "ladder"]


def test_a_change_back_and_forth_is_run_each_time(lake, watcher):
    keys = set()
    for mint in ("BBB", "AAA", "BBB"):
        add(lake, ("c1", "ann", mint, 50))
        (request,) = watcher.look()
        keys.add(request.run_key)
    assert len(keys) == 3


def test_a_tick_that_is_evaluated_again_asks_for_the_same_run(lake, watcher):
    before = watcher.cursor
    add(lake, ("c4", "dan", "AAA", 31))
    (first,) = watcher.look()
    watcher.cursor = before
    (again,) = watcher.look()
    assert (again.run_key, again.run_config) == (first.run_key, first.run_config)


def test_calls_wait_for_the_candles_that_they_need(lake, watcher):
    add(lake, ("c4", "dan", "AAA", 60), ("c5", "eve", "AAA", 150))
    (request,) = watcher.look()
    assert asked(request)["callers"] == ["dan"]
    assert watcher.look() == "no calls have come since"
    lake.write_candles(candles(rows=200).with_columns(pl.col("timestamp").cast(TIME)), "1m")
    (request,) = watcher.look()
    assert (asked(request)["callers"], asked(request)["start"]) == (["eve"], "2018-01-10T02:30:00+00:00")


def test_only_active_strategies_with_the_tag_are_run(lake, watcher):
    Lab(load_settings()).strategies.describe("dip-scalper", tags=["fast", "watched"])
    add(lake, ("c4", "dan", "AAA", 31))
    assert [request.tags["lab/strategy"] for request in watcher.look()] == ["dip-scalper", "ladder"]
    Lab(load_settings()).strategies.describe("ladder", is_active=False)
    add(lake, ("c5", "dan", "AAA", 32))
    assert [request.tags["lab/strategy"] for request in watcher.look()] == ["dip-scalper"]
    Lab(load_settings()).strategies.describe("dip-scalper", tags=["fast"])
    add(lake, ("c6", "dan", "AAA", 33))
    assert watcher.look() == "1 new calls, no strategy is watched"
    assert watcher.look() == "no calls have come since"


def test_an_empty_lake_is_skipped_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        assert "the lake has no candles" in Watcher(instance).look()


@pytest.mark.parametrize("point", ["TICK_HELD", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED"])
def test_a_daemon_that_dies_at_a_tick_starts_one_run_when_it_is_back(lake, point):
    with open_instance(load_settings()) as instance, daemon(instance) as running:
        running.run_sensor("watch_calls")
        add(lake, ("c4", "dan", "AAA", 31))
        with dying_at(point):
            running.run_sensor("watch_calls")
        for _ in range(2):
            running.run_sensor("watch_calls")
        (run,) = queued(instance)
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert run.tags["lab/window"] == "2018-01-10T00:31:00.000Z/2018-01-10T00:31:00.001Z"
