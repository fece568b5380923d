import os
import signal
import time

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test, instance_for_test
from sqlalchemy.exc import OperationalError

from lab_pipeline.storage import event_log_storage
from lab_pipeline.storage.event_log_storage import BatchingEventLogStorage
from lab_pipeline_tests.support.waiting import until

CLASS = {"module": BatchingEventLogStorage.__module__, "class": BatchingEventLogStorage.__name__}


@pytest.fixture
def instance():
    with instance_for_test(overrides={"event_log_storage": CLASS}) as opened:
        yield opened


@pytest.fixture
def run(instance):
    return create_run_for_test(instance)


@pytest.fixture
def patient(monkeypatch):
    """Nothing is written by the clock."""
    monkeypatch.setattr(event_log_storage, "DEFERRED_SECONDS", 3600)


def said(instance, run_id):
    return [entry.message for entry in instance.all_logs(run_id)]


def transactions(storage, monkeypatch):
    sizes, write = [], storage._write  # noqa: SLF001
    monkeypatch.setattr(storage, "_write", lambda events: (sizes.append(len(events)), write(events)))
    return sizes


@pytest.mark.usefixtures("patient")
def test_events_that_wait_are_written_in_one_transaction_and_read_in_order(instance, run, monkeypatch):
    sizes = transactions(instance.event_log_storage, monkeypatch)
    with instance.event_log_storage.deferring():
        for number in range(5):
            instance.report_engine_event(str(number), run)
        assert sizes == []
        assert said(instance, run.run_id) == list("01234")
    assert [size for size in sizes if size] == [5]


@pytest.mark.usefixtures("patient")
def test_others_see_everything_once_the_status_of_the_run_is_stored(instance, run):
    with dg.DagsterInstance.from_ref(instance.get_ref()) as other, instance.event_log_storage.deferring():
        instance.report_engine_event("while it ran", run)
        assert said(other, run.run_id) == []
        instance.report_run_failed(run, message="its end")
        assert said(other, run.run_id) == ["while it ran", "its end"]
        assert other.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE


def test_others_see_an_event_soon_though_nothing_follows_it(instance, run):
    with dg.DagsterInstance.from_ref(instance.get_ref()) as other, instance.event_log_storage.deferring():
        instance.report_engine_event("alone", run)
        until(lambda: said(other, run.run_id) == ["alone"])


def test_a_killed_process_leaves_a_log_that_goes_on(instance, run):
    instance.event_log_storage.dispose()
    child = os.fork()
    if not child:
        with instance.event_log_storage.deferring():
            instance.report_engine_event("in time", run)
            while instance.event_log_storage._waiting:  # noqa: SLF001
                time.sleep(0.05)
            event_log_storage.DEFERRED_SECONDS = 3600
            time.sleep(0.5)
            instance.report_engine_event("too late", run)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    instance.report_run_failed(run, message="killed")
    assert said(instance, run.run_id) == ["in time", "killed"]


def test_what_cannot_be_written_waits_and_whoever_stores_next_is_told(instance, run, monkeypatch):
    storage, tried = instance.event_log_storage, []
    write = storage._write  # noqa: SLF001

    def fail(events):
        tried.append(len(events))
        if events:
            raise OperationalError("INSERT", {}, OSError("disk is full"))

    with storage.deferring():
        monkeypatch.setattr(storage, "_write", fail)
        instance.report_engine_event("kept", run)
        until(lambda: tried.count(1) > 1)
        monkeypatch.setattr(storage, "_write", write)
        until(lambda: said(instance, run.run_id) == ["kept"])
        monkeypatch.setattr(storage, "_write", fail)
        instance.report_engine_event("lost", run)
        with pytest.raises(OperationalError):
            instance.report_run_failed(run, message="not stored")
        monkeypatch.setattr(storage, "_write", write)
    assert said(instance, run.run_id) == ["kept"]


def test_a_run_is_logged_as_ever_with_fewer_transactions(instance, monkeypatch):
    @dg.asset(check_specs=[dg.AssetCheckSpec("is_odd", asset="one")])
    def one(context):
        context.log.info("odd")
        yield dg.Output(1)
        yield dg.AssetCheckResult(passed=True)

    plain = dg.materialize([one], instance=instance)
    sizes = transactions(instance.event_log_storage, monkeypatch)
    with instance.event_log_storage.deferring():
        deferred = dg.materialize([one], instance=instance)
    logs = [instance.all_logs(run.run_id) for run in (plain, deferred)]
    kinds = [[entry.dagster_event_type for entry in log] for log in logs]
    assert kinds[0] == kinds[1]
    assert instance.get_latest_materialization_event(dg.AssetKey("one")).run_id == deferred.run_id
    assert len(sizes) < len(logs[1])
