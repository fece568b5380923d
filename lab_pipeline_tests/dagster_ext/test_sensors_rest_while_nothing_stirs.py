"""Which sensors of the lab's own daemon have cause to tick."""

import logging
from datetime import UTC, datetime
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration

from lab_pipeline.dagster_ext.daemon import causes as causes_module
from lab_pipeline.dagster_ext.daemon.causes import LINGER_SECONDS, LONGEST_PAUSE_SECONDS, Causes
from lab_pipeline.dagster_ext.daemon.sensing import CausedAssetDaemon, CausedSensorDaemon, _Caused, daemons
from lab_pipeline.dagster_ext.graphql import LOCATION
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.dagster_ext.sensor_causes import CALLS, FILES, RUNS, WAITS_FOR
from lab_pipeline.lake import Inbox, Lake, tables
from lab_pipeline.lake.inbox import DONE, REJECTED, TAKEN
from lab_pipeline.lake.layout import CALLS as CALLS_TABLE
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.markets import calls

STARTED_AT = datetime(2025, 3, 1, tzinfo=UTC).timestamp()


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    settings = load_settings()
    with open_instance(settings) as instance:
        yield SimpleNamespace(settings=settings, instance=instance)


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(causes_module.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def sensor(waits_for=None):
    tags = {WAITS_FOR: waits_for} if waits_for else {}
    return SimpleNamespace(selector_id=f"of {waits_for}", tags=tags, sensor_type=SensorType.STANDARD)


def state(cursor=None, succeeded=STARTED_AT, started=STARTED_AT, status="RUNNING"):
    data = SensorInstigatorData(
        cursor=cursor, last_tick_success_timestamp=succeeded, last_sensor_start_timestamp=started
    )
    return SimpleNamespace(status=status, instigator_data=data)


@pytest.fixture
def at_rest(lab, clock, monkeypatch):
    """Tell which sensors have cause to tick, one for everything there is to wait for; all have ticked a while ago."""
    monkeypatch.setattr(causes_module, "LONGEST_PAUSE_SECONDS", float("inf"))
    causes = Causes(lab.instance, lab.settings)
    sensors = {name: sensor(name) for name in (FILES, CALLS, RUNS)}
    assert all(causes.has_any(one, state()) for one in sensors.values())
    clock(LINGER_SECONDS + 1)
    assert not any(causes.has_any(one, state()) for one in sensors.values())
    clock(2)
    return lambda: {name for name, one in sensors.items() if causes.has_any(one, state())}


def test_what_waits_for_nothing_that_the_lab_knows_ticks_as_it_asks(lab, clock):
    causes = Causes(lab.instance, lab.settings)
    for one in (sensor(), sensor("the moon")):
        assert causes.has_any(one, state())
        clock(LINGER_SECONDS + 1)
        assert causes.has_any(one, state())


def test_what_has_ticked_ticks_on_for_a_while_and_then_rests(lab, clock):
    causes, one = Causes(lab.instance, lab.settings), sensor(RUNS)
    assert causes.has_any(one, state())
    clock(LINGER_SECONDS - 1)
    assert causes.has_any(one, state())
    clock(2)
    assert not causes.has_any(one, state())


def test_it_ticks_in_the_end_though_nothing_stirs(lab, clock):
    causes, one = Causes(lab.instance, lab.settings), sensor(RUNS)
    causes.has_any(one, state())
    clock(LONGEST_PAUSE_SECONDS - 1)
    assert not causes.has_any(one, state())
    clock(2)
    assert causes.has_any(one, state())
    assert not causes.has_any(one, state())


def test_a_file_in_the_inbox_wakes_who_waits_for_it_until_it_is_put_away(lab, at_rest, clock):
    inbox = Inbox(lab.settings.inbox_dir).root
    for where in (inbox / DONE, inbox / REJECTED, inbox / "may"):
        where.mkdir(parents=True)
    (inbox / ".hidden.csv").touch()
    (inbox / DONE / "calls.csv").touch()
    (inbox / REJECTED / "calls.csv").touch()
    assert at_rest() == set()
    clock(2)
    (inbox / "may" / "calls.csv").touch()
    assert at_rest() == {FILES}
    clock(10 * LINGER_SECONDS)
    assert at_rest() == {FILES}
    (inbox / "may" / "calls.csv").unlink()
    clock(2)
    assert at_rest() == {FILES}  # which forgets it
    clock(LINGER_SECONDS + 1)
    assert at_rest() == set()


def test_a_file_that_was_taken_and_came_to_no_end_is_waited_for(lab, at_rest):
    taken = lab.settings.inbox_dir / TAKEN / "key"
    taken.mkdir(parents=True)
    (taken / "calls.csv").touch()
    assert at_rest() == {FILES}


def test_a_change_of_the_lake_wakes_who_waits_for_calls(lab, at_rest):
    Lake(lab.settings.lake_dir).write_calls(calls().with_columns(pl.col("called_at").cast(pl.Datetime("ms", "UTC"))))
    assert f"{CALLS_TABLE.name}/{tables.LOG}" == causes_module.LOG
    assert at_rest() == {CALLS}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
def test_a_run_that_is_new_wakes_who_waits_for_runs(lab, at_rest, clock, status):
    lab.instance.add_run(dg.DagsterRun("backtest", status=status))
    assert at_rest() == {RUNS}
    clock(LINGER_SECONDS + 1)
    assert at_rest() == set()


def test_they_tick_for_as_long_as_a_run_is_not_at_its_end(lab, at_rest, clock):
    run = dg.DagsterRun("backtest", status=dg.DagsterRunStatus.STARTED)
    lab.instance.add_run(run)
    clock(LINGER_SECONDS + 1)
    assert at_rest() == {RUNS}
    clock(LINGER_SECONDS + 1)
    assert at_rest() == {RUNS}
    lab.instance.report_run_failed(run)
    clock(2)
    assert at_rest() == {RUNS}
    clock(LINGER_SECONDS + 1)
    assert RUNS not in at_rest()


def test_an_event_without_a_run_and_a_tag_of_an_old_run_wake_them_too(lab, at_rest, clock):
    run = dg.DagsterRun("backtest", status=dg.DagsterRunStatus.SUCCESS)
    lab.instance.add_run(run)
    at_rest()
    clock(LINGER_SECONDS + 1)
    assert at_rest() == set()
    clock(2)
    lab.instance.report_runless_asset_event(dg.AssetMaterialization("somewhere"))
    assert at_rest() == {RUNS}
    clock(LINGER_SECONDS + 1)
    assert at_rest() == set()
    clock(2)
    lab.instance.add_run_tags(run.run_id, {"lab/pinned": "yes"})
    assert at_rest() == {RUNS}


def test_a_tick_that_failed_or_was_cut_off_is_repeated(lab, clock):
    causes, one = Causes(lab.instance, lab.settings), sensor(RUNS)
    causes.has_any(one, state())
    clock(LINGER_SECONDS + 1)
    assert not causes.has_any(one, state())
    assert causes.has_any(one, state(succeeded=None))


@pytest.mark.parametrize("changed", [{"cursor": "3"}, {"started": STARTED_AT + 5}, {"status": "DECLARED_IN_CODE"}])
def test_who_sets_a_cursor_or_switches_a_sensor_on_sees_it_tick(lab, clock, changed):
    causes, one = Causes(lab.instance, lab.settings), sensor(RUNS)
    causes.has_any(one, state())
    clock(LINGER_SECONDS + 1)
    assert not causes.has_any(one, state())
    assert causes.has_any(one, state(**changed))
    assert not causes.has_any(one, state(**changed))


def test_dagsters_daemons_are_all_there_and_those_for_sensors_are_the_labs(lab):
    made = {daemon.daemon_type(): type(daemon) for daemon in daemons(lab.instance)}
    assert set(made) == set(lab.instance.get_required_daemon_types())
    assert made["SENSOR"] is CausedSensorDaemon
    assert made["ASSET"] is CausedAssetDaemon


@dg.sensor(job_name="nothing", minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def idle_sensor():
    return dg.SkipReason("nothing to do")


@dg.job
def nothing():
    pass


@dg.repository
def repository():
    return [nothing, idle_sensor]


@pytest.mark.parametrize("has_cause", [False, True])
def test_what_has_no_cause_leaves_no_tick(lab, has_cause):
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(python_file=__file__, attribute="repository"), location_name=LOCATION
    )
    asked = []

    def has_any(sensor, state):
        asked.append((sensor.name, state.instigator_name))
        return has_cause

    with create_test_daemon_workspace_context(InProcessWorkspaceLoadTarget(origin), lab.instance) as workspace:
        turn = execute_sensor_iteration(
            workspace, logging.getLogger(), _Caused(SimpleNamespace(has_any=has_any), None), None, {}
        )
        for _ in turn:
            pass
    assert asked == [("idle_sensor", "idle_sensor")]
    (found,) = lab.instance.all_instigator_state()
    ticks = lab.instance.get_ticks(found.instigator_origin_id, found.selector_id)
    assert [tick.status.value for tick in ticks] == (["SKIPPED"] if has_cause else [])
