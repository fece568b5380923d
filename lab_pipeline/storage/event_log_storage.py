"""Dagster's SQLite event log, with batches of events written as batches."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from dagster import EventLogEntry, Field, StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection

from lab_pipeline.storage.run_storage import under_dagster_home

EVENTS_DIRECTORY = "history/runs"
"""Under DAGSTER_HOME, where Dagster keeps event logs."""
BATCH_VARIABLE, BATCH_EVENTS = "DAGSTER_EVENT_BATCH_SIZE", "1000"
"""How Dagster is told that events may come in batches."""


class BatchingEventLogStorage(SqliteEventLogStorage):
    """Keep event logs where and as Dagster does, a SQLite file a run, but write a batch of events in one transaction.

    A run begins with an event for each asset and check that it plans. Dagster writes each of them with two commits, or
    three, and the disk waits for every one; together they took three quarters of a launch. Put this into the
    ``dagster.yaml`` of the instance, and set ``DAGSTER_EVENT_BATCH_SIZE`` (without it there are no batches):

    .. code-block:: YAML

        event_log_storage:
          module: lab_pipeline.storage.event_log_storage
          class: BatchingEventLogStorage

    ``base_dir`` is absolute, or relative to ``DAGSTER_HOME``.
    """

    def __init__(self, base_dir: str = EVENTS_DIRECTORY, inst_data: ConfigurableClassData | None = None) -> None:
        self._batch = threading.local()
        super().__init__(str(under_dagster_home(base_dir)), inst_data)
        # A batch has a run's file and the index open together.
        self._db_lock = threading.RLock()  # type: ignore[assignment]  # Dagster's is no RLock

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Describe the ``config`` block of dagster.yaml."""
        return {"base_dir": Field(StringSource, is_required=False, default_value=EVENTS_DIRECTORY)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Build the storage from a validated ``config`` block."""
        return cls(inst_data=inst_data, **config_value)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store all of the events or, as Dagster then stores them one by one, none."""
        with ExitStack() as stack:
            self._batch.stack, self._batch.connections = stack, {}
            try:
                for event in events:
                    self.store_event(event)
            finally:
                del self._batch.stack, self._batch.connections

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Connect to a file; within a batch, join the transaction that the batch has there."""
        stack: ExitStack | None = getattr(self._batch, "stack", None)
        if stack is None:
            with super()._connect(shard) as connection:
                yield connection
            return
        connections: dict[str, Connection] = self._batch.connections
        if shard not in connections:
            connections[shard] = stack.enter_context(super()._connect(shard))
        yield connections[shard]


def batches_allowed() -> dict[str, str]:
    """Return the variable that allows batches, as the environment has it or else at our default."""
    return {BATCH_VARIABLE: os.environ.get(BATCH_VARIABLE, BATCH_EVENTS)}
