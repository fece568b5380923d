"""A clock that was put ahead or back deletes nothing; a lab that was off for months can be cleaned."""

import uuid
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.defs.operations.assets import retention
from lab_pipeline.defs.operations.resources import LabResource
from lab_pipeline.domain.errors import LabError
from lab_pipeline.operations.clock_check import LONGEST_GAP, TRUSTED_AGE
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.retention import Policy, expired
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.ticks import tick

NOW = datetime.now(UTC)
YEAR = timedelta(days=365)
MONTH = Policy(max_age=timedelta(days=30))


@pytest.fixture
def instance(tmp_path, monkeypatch, clickhouse_url):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setenv("LAB_KEEP_DAYS", "30")
    with open_instance(load_settings()) as instance:
        yield instance


def record(instance, at, **tags):
    run = dg.DagsterRun(job_name="backtest", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.SUCCESS, tags=tags)
    instance.run_storage.add_historical_run(run, at)
    return run.run_id


def gone(instance, now, policy=MONTH, **options):
    found = expired(Lab(load_settings(), instance), policy, now, **options)
    return {run.run_id for run in found}


def beat(instance, at):
    instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), "SENSOR", "one", []))


def test_what_is_dated_after_the_clock_was_put_ahead_bears_no_witness(instance):
    record(instance, NOW - timedelta(days=40))
    record(instance, NOW - timedelta(hours=1))
    ahead = NOW + YEAR
    record(instance, ahead - timedelta(hours=1))
    beat(instance, ahead)
    tick(instance, ahead)
    with pytest.raises(LabError) as told:
        gone(instance, ahead)
    assert ahead.isoformat()[:19] in str(told.value)
    assert (NOW - timedelta(hours=1)).isoformat()[:19] in str(told.value)
    assert len(gone(instance, ahead, trust_clock=True)) == 2
    assert gone(instance, ahead, Policy(per_strategy=3)) == set()  # it needs no clock
    assert len(gone(instance, ahead, Policy(per_strategy=2))) == 1


@pytest.mark.parametrize("witness", [record, beat, tick])
def test_a_lab_that_was_off_for_months_is_believed_on_the_day_after(instance, witness):
    old = record(instance, NOW - timedelta(days=90))
    witness(instance, NOW - TRUSTED_AGE + timedelta(minutes=1))
    with pytest.raises(LabError):
        gone(instance, NOW)
    witness(instance, NOW - TRUSTED_AGE - timedelta(minutes=1))
    assert gone(instance, NOW) == {old}


def test_a_week_off_raises_no_question(instance):
    old = record(instance, NOW - timedelta(days=90))
    record(instance, NOW - TRUSTED_AGE - LONGEST_GAP + timedelta(minutes=1))
    assert gone(instance, NOW) == {old}
    with pytest.raises(LabError):
        gone(instance, NOW + timedelta(minutes=2))


def test_nothing_to_delete_by_age_raises_no_question(instance):
    record(instance, NOW - timedelta(days=20))
    assert gone(instance, NOW) == set()


def test_a_clock_that_is_put_back_deletes_nothing(instance):
    ids = [record(instance, NOW - timedelta(days=age)) for age in (20, 10, 0)]
    assert gone(instance, NOW - YEAR) == set()
    later = record(instance, NOW - YEAR)  # recorded last, and dated first
    assert gone(instance, NOW, Policy(per_strategy=1)) == set(ids[:2])
    assert {later, ids[2]} <= {run.run_id for run in instance.get_runs()}


def test_the_asset_fails_in_one_line_and_deletes_nothing(instance):
    old = record(instance, NOW - YEAR)
    done = dg.materialize([retention], instance=instance, resources={"lab": LabResource()}, raise_on_error=False)
    assert not done.success
    assert instance.has_run(old)
    (failed,) = done.get_step_failure_events()
    assert "the clock says" in failed.step_failure_data.user_failure_data.description
