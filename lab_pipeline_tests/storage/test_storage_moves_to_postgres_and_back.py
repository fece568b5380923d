"""Runs, events, schedules and cursors on the way from the embedded stores to a real Postgres, and back."""

import json
import shutil
from types import SimpleNamespace

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.definitions.run_status_sensor_definition import RunStatusSensorCursor
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.instance.ref import InstanceRef
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.event_log.schema import AssetEventTagsTable, SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._daemon.asset_daemon import (
    asset_daemon_cursor_from_instigator_serialized_cursor,
    asset_daemon_cursor_to_instigator_serialized_cursor,
)
from dagster._serdes import deserialize_value, serialize_value
from dagster._time import get_current_timestamp

from lab_pipeline.domain.errors import LabError
from lab_pipeline.storage import copy
from lab_pipeline.storage.copy import MOVED, DagsterStores, move
from lab_pipeline.storage.renumber import Numbering
from lab_pipeline_tests.support.postgres import cluster
from lab_pipeline_tests.support.ticks import origin_of

NUMBERED = {"numbered"}


@dg.asset(check_specs=[dg.AssetCheckSpec("whole", asset="first")])
def first():
    yield dg.MaterializeResult(metadata={"rows": 3}, tags={"kind": "small"})
    yield dg.AssetCheckResult(passed=True, check_name="whole")


@dg.asset(deps=[first])
def second(context):
    context.log.info("one line of many")


@dg.op
def broken():
    raise RuntimeError("broken")


@dg.job
def fails():
    broken()


DEFINITIONS = dg.Definitions(assets=[first, second], jobs=[fails])


@pytest.fixture(scope="module")
def new_database():
    with cluster() as database:
        yield database


def open_at(home, storage):
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(yaml.safe_dump({**storage, "telemetry": {"enabled": False}}))
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home)))


def embedded(home):
    plugin = {"module": "lab_pipeline.storage.run_storage", "class": "DuckDBRunStorage"}
    return {"run_storage": {**plugin, "config": {"path": str(home / "runs.duckdb")}}}


@pytest.fixture
def opened(tmp_path, new_database):
    """Open instances by name, each in a home of its own."""
    instances = {}

    def opened(name):
        if name not in instances:
            home = tmp_path / name
            storage = (
                {"storage": {"postgres": {"postgres_url": new_database()}}} if name == "postgres" else embedded(home)
            )
            instances[name] = open_at(home, storage)
        return instances[name]

    yield opened
    for instance in instances.values():
        instance.dispose()


def add_sensor(instance, name, kind, cursor):
    origin = origin_of(name)
    data = SensorInstigatorData(cursor=cursor, sensor_type=kind, min_interval=30)
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, data)
    instance.add_instigator_state(state)
    instance.create_tick(
        TickData(
            origin.get_id(),
            name,
            InstigatorType.SENSOR,
            TickStatus.SUCCESS,
            get_current_timestamp(),
            run_ids=[],
            run_keys=[],
            selector_id=state.selector_id,
        )
    )


def cursor_of(instance, name):
    (state,) = [one for one in instance.all_instigator_state() if one.instigator_name == name]
    return state.instigator_data.cursor


def last_status(instance):
    return instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records[0].storage_id


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The home of an embedded instance in which something of everything happened."""
    home = tmp_path_factory.mktemp("template")
    instance = open_at(home, embedded(home))
    repository = DEFINITIONS.get_repository_def()
    assets = DEFINITIONS.resolve_implicit_global_asset_job_def()
    for _ in range(3):
        assert assets.execute_in_process(instance=instance, tags={"who": "Zoë"}).success
        assert not repository.get_job("fails").execute_in_process(instance=instance, raise_on_error=False).success
    seen = last_status(instance)
    assert assets.execute_in_process(instance=instance).success
    instance.report_runless_asset_event(dg.AssetMaterialization("outside", metadata={"by": "hand"}))
    instance.add_dynamic_partitions("parts", ["a", "b"])
    instance.event_log_storage.set_concurrency_slots("pool", 2)
    instance.run_storage.set_cursor_values({"lab/any": json.dumps([1, "ä"])})
    instance.add_backfill(
        PartitionBackfill(
            "one", BulkActionStatus.COMPLETED_SUCCESS, from_failure=False, tags={"a": "b"}, backfill_timestamp=1.5
        )
    )
    add_sensor(instance, "numbered", SensorType.STANDARD, str(seen))
    add_sensor(instance, "statuses", SensorType.RUN_STATUS, RunStatusSensorCursor(record_id=seen).to_json())
    add_sensor(instance, "own", SensorType.STANDARD, "17")
    instance.dispose()
    return home


@pytest.fixture
def used(template, tmp_path, opened):
    shutil.copytree(template, tmp_path / "embedded")
    return opened("embedded")


def picture(instance):
    """What people and sensors see of an instance, without the numbers of events."""
    runs = instance.get_run_records()
    logs = {
        one.dagster_run.run_id: [
            (entry.timestamp, entry.message, entry.dagster_event_type, entry.step_key)
            for entry in instance.all_logs(one.dagster_run.run_id)
        ]
        for one in runs
    }
    keys = sorted(instance.all_asset_keys(), key=str)
    materializations = {
        key.to_user_string(): [
            (record.run_id, record.timestamp, record.asset_materialization.metadata)
            for record in instance.fetch_materializations(key, limit=100).records
        ]
        for key in keys
    }
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("first"), "whole"), 100
    )
    return {
        "runs": [(r.dagster_run, r.create_timestamp, r.update_timestamp, r.start_time, r.end_time) for r in runs],
        "logs": logs,
        "materializations": materializations,
        "latest": {key.to_user_string(): instance.get_latest_materialization_event(key).timestamp for key in keys},
        "tags": sorted(sorted(tags.items()) for key in keys for tags in instance.get_event_tags_for_asset(key)),
        "checks": [(one.run_id, one.status, one.create_timestamp) for one in checks],
        "partitions": instance.get_dynamic_partitions("parts"),
        "pools": [instance.event_log_storage.get_concurrency_info(key).slot_count for key in ("pool",)],
        "cursors": instance.run_storage.get_cursor_values({"lab/any"}),
        "backfills": [(one.backfill_id, one.tags) for one in instance.get_backfills()],
        "snapshots": [instance.has_job_snapshot(r.dagster_run.job_snapshot_id) for r in runs],
        "ticks": sorted(
            (name, tick.timestamp)
            for name in ("numbered", "statuses", "own")
            for tick in instance.get_ticks(origin_of(name).get_id(), origin_of(name).get_selector().get_id())
        ),
    }


def test_everything_is_seen_there_as_here_and_back_again(used, opened):
    postgres = opened("postgres")
    before = picture(used)
    moved = move(DagsterStores.of(used), DagsterStores.of(postgres), numbered_sensors=NUMBERED)
    assert moved["runs"] == 7
    assert moved["event_logs"] > 100
    assert picture(postgres) == before

    back = opened("back")
    assert move(DagsterStores.of(postgres), DagsterStores.of(back), numbered_sensors=NUMBERED) == moved
    assert picture(back) == before


def test_sensors_go_on_where_they_were(used, opened):
    postgres, back = opened("postgres"), opened("back")
    for source, target in ((used, postgres), (postgres, back)):
        move(DagsterStores.of(source), DagsterStores.of(target), numbered_sensors=NUMBERED)
        seen = last_status(target)
        assert cursor_of(target, "numbered") == str(seen)
        assert RunStatusSensorCursor.from_json(cursor_of(target, "statuses")).record_id == seen
        assert cursor_of(target, "own") == "17"
        DEFINITIONS.get_repository_def().get_job("fails").execute_in_process(instance=target, raise_on_error=False)
        wanted = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=seen)
        assert len(target.fetch_run_status_changes(wanted, limit=10).records) == 1
        for name in ("numbered", "statuses"):  # they see it, too
            (state,) = [one for one in target.all_instigator_state() if one.instigator_name == name]
            cursor = (
                RunStatusSensorCursor(last_status(target)).to_json() if name == "statuses" else str(last_status(target))
            )
            target.update_instigator_state(state.with_data(state.instigator_data._replace(cursor=cursor)))


def test_what_refers_to_an_event_finds_it(used, opened):
    postgres = opened("postgres")
    move(DagsterStores.of(used), DagsterStores.of(postgres))
    history = postgres.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("first"), "whole"), 10
    )
    known = {
        record.storage_id: record.timestamp
        for record in postgres.fetch_materializations(dg.AssetKey("first"), limit=100).records
    }
    assert len(history) == 4
    for execution in history:
        target = execution.event.dagster_event.asset_check_evaluation_data.target_materialization_data
        assert known[target.storage_id] == target.timestamp
    (asset,) = postgres.get_asset_records([dg.AssetKey("first")])
    assert asset.asset_entry.last_materialization_record.storage_id == max(known)
    pointers = [
        value
        for record in postgres.fetch_materializations(dg.AssetKey("second"), limit=100).records
        for tag, value in record.asset_materialization.tags.items()
        if tag.startswith("dagster/input_event_pointer/")
    ]
    assert len(pointers) == 4
    assert {int(value) for value in pointers} == set(known)


@pytest.fixture(scope="module")
def automated():
    """The cursor that Dagster itself keeps after an evaluation of conditions, and the number that it had seen."""
    automatic = dg.AssetSpec("automatic", deps=["first"], automation_condition=dg.AutomationCondition.eager())
    with dg.instance_for_test() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("first"))
        result = dg.evaluate_automation_conditions(dg.Definitions(assets=[dg.AssetSpec("first"), automatic]), instance)
        seen = instance.event_log_storage.get_maximum_record_id()
    return asset_daemon_cursor_to_instigator_serialized_cursor(result.cursor), seen


def test_an_automation_cursor_is_renumbered(automated):
    cursor, seen = automated
    numbering = Numbering([seen], [70])
    data = SensorInstigatorData(cursor=cursor, sensor_type=SensorType.AUTOMATION)
    state = InstigatorState(origin_of("auto"), InstigatorType.SENSOR, InstigatorStatus.RUNNING, data)
    new = deserialize_value(numbering.state(serialize_value(state), ()), InstigatorState).instigator_data.cursor
    before, after = (
        asset_daemon_cursor_from_instigator_serialized_cursor(one, asset_graph=None) for one in (cursor, new)
    )
    assert [one.last_event_id for one in before.previous_condition_cursors] == [seen]
    assert [one.last_event_id for one in after.previous_condition_cursors] == [70]


def test_only_what_numbers_events_is_renumbered():
    numbering = Numbering([1, 5, 9], [10, 50, 90])
    assert [numbering.position(one) for one in (0, 1, 8, 9, 100)] == [0, 10, 50, 90, 90]
    other = json.dumps({"__class__": "Mine", "storage_id": 6, "last_event_id": 6, "note": "EventLogRecord"})
    assert json.loads(numbering.text(other)) == json.loads(other)


def test_twice_is_once(used, opened):
    postgres = opened("postgres")
    first_time = move(DagsterStores.of(used), DagsterStores.of(postgres))
    after = picture(postgres)
    assert move(DagsterStores.of(used), DagsterStores.of(postgres)) == first_time
    assert picture(postgres) == after


def test_a_move_that_was_cut_off_is_begun_again(used, opened, monkeypatch):
    postgres = opened("postgres")
    with monkeypatch.context() as patch:
        patch.setattr(copy, "_copy_events", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            move(DagsterStores.of(used), DagsterStores.of(postgres))
    assert postgres.get_runs()
    move(DagsterStores.of(used), DagsterStores.of(postgres))
    assert picture(postgres) == picture(used)


def test_a_target_with_something_of_its_own_is_left_alone(used, opened):
    postgres = opened("postgres")
    postgres.add_run(dg.DagsterRun(job_name="mine"))
    with pytest.raises(LabError, match=r"not empty: it has 1 rows of runs"):
        move(DagsterStores.of(used), DagsterStores.of(postgres))
    assert len(postgres.get_runs()) == 1


def test_the_way_back_replaces_what_was_moved_unless_it_was_used_since(used, opened):
    postgres = opened("postgres")
    move(DagsterStores.of(used), DagsterStores.of(postgres))
    DEFINITIONS.get_repository_def().get_job("fails").execute_in_process(instance=postgres, raise_on_error=False)
    expected = picture(postgres)
    move(DagsterStores.of(postgres), DagsterStores.of(used))
    assert picture(used) == expected
    assert DagsterStores.of(used).mark(MOVED) is None

    DEFINITIONS.get_repository_def().get_job("fails").execute_in_process(instance=postgres, raise_on_error=False)
    with pytest.raises(LabError, match="has been used since"):
        move(DagsterStores.of(used), DagsterStores.of(postgres))


def test_what_does_not_arrive_is_noticed(used, opened, monkeypatch):
    postgres = opened("postgres")
    copied = copy._copy_events  # noqa: SLF001 - to be spoilt

    def lossy(reader, log, layout, progress):
        copied(reader, log, layout, progress)
        log.delete_events(used.get_runs()[0].run_id)

    monkeypatch.setattr(copy, "_copy_events", lossy)
    with pytest.raises(LabError, match="not everything arrived"):
        move(DagsterStores.of(used), DagsterStores.of(postgres))
    assert DagsterStores.of(used).mark(MOVED) is None


SPOILT = {
    "runs": (RunsTable, "run_body", lambda stores: stores.runs.connect()),
    "job_ticks": (JobTickTable, "tick_body", lambda stores: stores.schedules.connect()),
    "asset_event_tags": (AssetEventTagsTable, "value", lambda stores: stores.log.index_connection()),
    "event_logs": (SqlEventLogStorageTable, "event", lambda stores: stores.log.index_connection()),
}


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize("goal", ["postgres", "second"])
def test_a_row_that_arrives_as_another_is_noticed(used, opened, monkeypatch, name, goal):
    target = DagsterStores.of(opened(goal))
    table, column, connecting = SPOILT[name]
    copied = copy._copy_events  # noqa: SLF001 - to be spoilt

    def spoiling(reader, log, layout, progress):
        copied(reader, log, layout, progress)
        with connecting(target) as connection:
            last = sa.select(sa.func.max(table.c.id)).scalar_subquery()
            done = connection.execute(table.update().where(table.c.id == last).values({column: "other"}))
            assert done.rowcount == 1

    monkeypatch.setattr(copy, "_copy_events", spoiling)
    with pytest.raises(LabError, match=rf"row \d+ differs in {column}"):
        move(DagsterStores.of(used), target)
    assert DagsterStores.of(used).mark(MOVED) is None


def test_a_log_that_was_lost_still_brings_what_the_index_has(used, opened, tmp_path):
    run = used.get_runs()[0]
    (log,) = (tmp_path / "embedded").rglob(f"{run.run_id}.db")
    log.unlink()
    for rest in log.parent.glob(f"{run.run_id}.db-*"):
        rest.unlink()
    latest = {str(key): used.get_latest_materialization_event(key).timestamp for key in used.all_asset_keys()}
    postgres = opened("postgres")
    used = dg.DagsterInstance.from_ref(used.get_ref())  # as the next process finds it
    reader = copy.EventReader(DagsterStores.of(used).log)
    only = [event for event in reader.of_run(run.run_id) if event.number is None]
    assert only
    copy._copy(DagsterStores.of(used), DagsterStores.of(postgres), (), None)  # noqa: SLF001 - without the comparison, which would find it
    assert {
        str(key): postgres.get_latest_materialization_event(key).timestamp for key in postgres.all_asset_keys()
    } == latest


def test_storages_without_tables_are_refused():
    instance = SimpleNamespace(run_storage=object(), event_log_storage=object(), schedule_storage=object())
    with pytest.raises(LabError, match="object is not made of tables"):
        DagsterStores.of(instance)
