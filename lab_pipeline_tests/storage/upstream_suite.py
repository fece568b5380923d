"""Run Dagster's own tests of run storages and event logs on ours; started by pytest in a process of its own.

The module expects Dagster's ``dagster_tests`` on the path and the storage's name in ``STORAGE_UNDER_TEST``.
"""

import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.base import RunStorage
from dagster._core.test_utils import instance_for_test
from dagster._core.utils import make_new_run_id

from lab_pipeline.storage.event_log_storage import BatchingEventLogStorage
from lab_pipeline.storage.run_storage import DuckDBRunStorage


def _factory_of_runs() -> types.ModuleType:
    """Stand in for the one module of Dagster's tests that its source distribution lacks."""
    module = types.ModuleType("dagster_test.utils.data_factory")

    def dagster_run(**fields: Any) -> DagsterRun:
        return DagsterRun(**{"run_id": make_new_run_id(), "job_name": "a_job", **fields})

    module.dagster_run = dagster_run
    return module


sys.modules["dagster_test.utils.data_factory"] = _factory_of_runs()

from dagster_tests.storage_tests.utils.daemon_cursor_storage import TestDaemonCursorStorage  # noqa: E402 - needs the above
from dagster_tests.storage_tests.utils.event_log_storage import TestEventLogStorage  # noqa: E402
from dagster_tests.storage_tests.utils.run_storage import TestRunStorage, instance_for_storage  # noqa: E402

OURS = os.environ["STORAGE_UNDER_TEST"] == "ours"
BATCHING = {"module": BatchingEventLogStorage.__module__, "class": BatchingEventLogStorage.__name__}


def make_storage(directory: Path) -> RunStorage:
    if OURS:
        return DuckDBRunStorage(directory / "runs.duckdb")
    return SqliteRunStorage.from_local(str(directory))


class TestRuns(TestRunStorage):
    __test__ = True

    @pytest.fixture(name="instance")
    def instance(self, tmp_path: Path) -> Iterator[DagsterInstance]:
        with instance_for_storage(make_storage(tmp_path)) as instance:
            yield instance

    @pytest.fixture(name="storage")
    def run_storage(self, instance: DagsterInstance) -> RunStorage:
        return instance.run_storage

    def supports_backfill_tags_filtering_queries(self) -> bool:
        return True

    def supports_backfill_job_name_filtering_queries(self) -> bool:
        return True

    def supports_backfill_id_filtering_queries(self) -> bool:
        return True

    def supports_backfills_count(self) -> bool:
        return True

    def supports_add_historical_run(self) -> bool:
        return True


class TestCursors(TestDaemonCursorStorage):
    __test__ = True

    @pytest.fixture(name="storage")
    def cursor_storage(self, tmp_path: Path) -> RunStorage:
        return make_storage(tmp_path)


class TestEvents(TestEventLogStorage):
    __test__ = OURS

    @pytest.fixture(name="instance")
    def instance(self, tmp_path: Path) -> Iterator[DagsterInstance]:
        overrides = {"event_log_storage": BATCHING}
        with instance_for_test(temp_dir=str(tmp_path), overrides=overrides) as instance:
            yield instance

    @pytest.fixture(name="storage")
    def event_log_storage(self, instance: DagsterInstance) -> SqliteEventLogStorage:
        storage = instance.event_log_storage
        assert isinstance(storage, BatchingEventLogStorage)
        return storage

    # What a SQLite file a run cannot do, Dagster's own class or ours.

    def can_wipe_asset_partitions(self) -> bool:
        return False

    def supports_multiple_event_type_queries(self) -> bool:
        return False
