import threading

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test, instance_for_test

from lab_pipeline.storage.event_log_storage import BATCH_VARIABLE, BatchingEventLogStorage, batches_allowed

PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
CLASS = {"module": BatchingEventLogStorage.__module__, "class": BatchingEventLogStorage.__name__}


@dg.asset(check_specs=[dg.AssetCheckSpec("is_odd", asset="one")])
def one():
    yield dg.Output(1)
    yield dg.AssetCheckResult(passed=True)


@dg.asset(deps=[one])
def two():
    return 2


JOB = dg.Definitions(assets=[one, two], jobs=[dg.define_asset_job("job")]).resolve_job_def("job")


@pytest.fixture
def instance(monkeypatch):
    monkeypatch.setenv(BATCH_VARIABLE, "1000")
    with instance_for_test(overrides={"event_log_storage": CLASS}) as opened:
        yield opened


@pytest.fixture
def storage(instance):
    return instance.event_log_storage


def planned(run_id, count):
    data = [dg.AssetKey(["asset", str(number)]) for number in range(count)]
    return [
        dg.EventLogEntry(
            error_info=None,
            level=10,
            user_message="",
            run_id=run_id,
            timestamp=1_000.0 + number,
            job_name="job",
            dagster_event=dg.DagsterEvent(
                PLANNED.value,
                "job",
                event_specific_data=dg._core.events.AssetMaterializationPlannedData(key),  # noqa: SLF001 - no public name
            ),
        )
        for number, key in enumerate(data)
    ]


def test_what_a_run_plans_is_written_at_once_and_read_as_ever(instance, storage, monkeypatch):
    sizes = []
    store = BatchingEventLogStorage.store_event_batch
    monkeypatch.setattr(
        BatchingEventLogStorage,
        "store_event_batch",
        lambda self, events: (sizes.append(len(events)), store(self, events)),
    )
    run = JOB.execute_in_process(instance=instance)
    assert sizes[0] == 3
    assert len(instance.all_logs(run.run_id, of_type=PLANNED)) == 2
    assert storage.get_latest_planned_materialization_info(dg.AssetKey("two")).run_id == run.run_id
    assert instance.get_latest_materialization_event(dg.AssetKey("one")).run_id == run.run_id
    (check,) = storage.get_asset_check_execution_history(dg.AssetCheckKey(dg.AssetKey("one"), "is_odd"), limit=5)
    assert check.status.value == "SUCCEEDED"


def test_a_batch_is_stored_whole_or_not_at_all(instance, storage, monkeypatch):
    run_id = create_run_for_test(instance).run_id
    events = planned(run_id, 5)
    store, calls = BatchingEventLogStorage._store_asset_event, []  # noqa: SLF001

    def break_at_the_fourth(self, connection, event, event_id):
        calls.append(event)
        if len(calls) == 4:
            raise OSError("the disk is full")
        return store(self, connection, event, event_id)

    with monkeypatch.context() as patch:
        patch.setattr(BatchingEventLogStorage, "_store_asset_event", break_at_the_fourth)
        with pytest.raises(OSError, match="disk is full"):
            storage.store_event_batch(events)
    assert instance.all_logs(run_id) == []
    assert not storage.has_asset_key(dg.AssetKey(["asset", "0"]))
    storage.store_event_batch(events)
    assert len(instance.all_logs(run_id, of_type=PLANNED)) == 5
    assert storage.has_asset_key(dg.AssetKey(["asset", "4"]))


def test_threads_store_batches_side_by_side(instance, storage):
    runs = [create_run_for_test(instance).run_id for _ in range(4)]
    threads = [threading.Thread(target=storage.store_event_batch, args=[planned(run_id, 6)]) for run_id in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [len(instance.all_logs(run_id, of_type=PLANNED)) for run_id in runs] == [6] * 4


def test_batches_are_allowed_unless_somebody_has_decided(monkeypatch):
    monkeypatch.delenv(BATCH_VARIABLE, raising=False)
    assert int(batches_allowed()[BATCH_VARIABLE]) > 100
    monkeypatch.setenv(BATCH_VARIABLE, "0")
    assert batches_allowed() == {BATCH_VARIABLE: "0"}
