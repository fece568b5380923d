"""Every question about runs gets the answer that Dagster's SQLite storage gives."""

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._check import CheckError
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.storage.run_storage import DuckDBRunStorage

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def storages(tmp_path_factory: pytest.TempPathFactory) -> Sequence[SqlRunStorage]:
    directory = tmp_path_factory.mktemp("storages")
    storages = [DuckDBRunStorage(directory / "runs.duckdb"), SqliteRunStorage.from_local(str(directory))]
    for storage in storages:
        fill(storage)
    return storages


def fill(storage: SqlRunStorage) -> None:
    chance = random.Random(3)  # noqa: S311
    kinds = ["PIPELINE_START", "PIPELINE_SUCCESS", "PIPELINE_CANCELED", "PIPELINE_FAILURE"]
    for number in range(60):
        tags = {key: chance.choice("xy") for key in "ab" if chance.random() < 0.7}
        run = DagsterRun(job_name=chance.choice(["one", "two"]), run_id=f"run-{number}", tags=tags)
        storage.add_historical_run(run, START + timedelta(minutes=number))
    for step in range(120):
        run_id = f"run-{chance.randrange(60)}"
        kind = chance.choice(kinds)
        failed = kind == "PIPELINE_FAILURE"
        data = JobFailureData(None, failure_reason=RunFailureReason.STEP_FAILURE) if failed else None
        event = DagsterEvent(DagsterEventType[kind].value, "job", event_specific_data=data)
        storage.handle_run_event(run_id, event, START + timedelta(hours=step))
        if step % 10 == 0:
            storage.add_run_tags(run_id, {"a": "z", "c": str(step)})
    for number in (5, 17):
        storage.delete_run(f"run-{number}")


def described(storage: SqlRunStorage, **question: Any) -> list[Any]:
    return [
        (record.dagster_run, record.create_timestamp, record.start_time, record.end_time)
        for record in storage.get_run_records(**question)
    ]


FILTERS = [
    None,
    RunsFilter(run_ids=["run-7"]),
    RunsFilter(run_ids=["run-7", "run-3", "run-99"]),
    RunsFilter(job_name="one"),
    RunsFilter(statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE]),
    RunsFilter(tags={"a": "x"}),
    RunsFilter(tags={"a": ["x", "z"], "b": "y"}),
    RunsFilter(tags={"a": "x"}, job_name="two", statuses=[DagsterRunStatus.STARTED]),
    RunsFilter(created_after=START + timedelta(minutes=20), created_before=START + timedelta(minutes=40)),
    RunsFilter(updated_after=START + timedelta(hours=50)),
]


def test_records_counts_and_ids(storages: Sequence[SqlRunStorage]) -> None:
    duck, lite = storages
    for filters, limit, cursor, ascending in itertools.product(FILTERS, [None, 4], [None, "run-30"], [False, True]):
        question = {"filters": filters, "limit": limit, "cursor": cursor, "ascending": ascending}
        assert described(duck, **question) == described(lite, **question), question
        if not ascending:
            ids = [storage.get_run_ids(filters, cursor, limit) for storage in storages]
            assert ids[0] == ids[1], question
        assert duck.get_runs_count(filters) == lite.get_runs_count(filters), question


def test_records_in_the_order_of_a_column(storages: Sequence[SqlRunStorage]) -> None:
    duck, lite = storages
    for filters in (None, RunsFilter(tags={"a": "x"})):
        question: dict[str, Any] = {"filters": filters, "order_by": "create_timestamp", "limit": 10}
        assert described(duck, **question) == described(lite, **question)


def test_tags(storages: Sequence[SqlRunStorage]) -> None:
    duck, lite = storages
    assert duck.get_run_tag_keys() == lite.get_run_tag_keys()
    assert duck.get_run_tags(["a", "c"]) == lite.get_run_tags(["a", "c"])
    assert duck.get_run_tags(["c"], value_prefix="1") == lite.get_run_tags(["c"], value_prefix="1")


def test_an_event_for_an_unknown_run_is_ignored(storages: Sequence[SqlRunStorage]) -> None:
    for storage in storages:
        storage.handle_run_event("nobody", DagsterEvent(DagsterEventType.PIPELINE_SUCCESS.value, "job"))
    assert described(storages[0]) == described(storages[1])


def test_a_run_that_may_not_be_queued_is_refused_and_stays_readable(storages: Sequence[SqlRunStorage]) -> None:
    for storage in storages:
        with pytest.raises(CheckError, match="required for queued runs"):
            storage.handle_run_event("run-1", DagsterEvent(DagsterEventType.PIPELINE_ENQUEUED.value, "job"))
    assert described(storages[0]) == described(storages[1])


def test_a_deleted_run_leaves_no_tags(storage: DuckDBRunStorage, database: Path) -> None:
    run = storage.add_run(DagsterRun(job_name="job", tags={"a": "b"}))
    storage.delete_run(run.run_id)
    with DuckFile.at(database).transaction(write=False) as connection:
        assert connection.execute("SELECT count(*) FROM run_tags") == [(0,)]
