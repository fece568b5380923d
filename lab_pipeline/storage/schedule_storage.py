"""Dagster's SQLite schedule storage, in a directory of any name, with kept connections."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

from dagster import Field, StringSource
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import QueuePool

from lab_pipeline.storage.internals import (
    ConfigurableClassData,
    SqliteScheduleStorage,
    UserConfigSchema,
    create_db_conn_string,
    create_engine,
)
from lab_pipeline.storage.plain_path import plain
from lab_pipeline.storage.run_storage import under_dagster_home

SCHEDULES_DIRECTORY = "schedules"
"""Under DAGSTER_HOME, where Dagster keeps schedules."""
PREFIX = "sqlite:///"
KEPT_CONNECTIONS = 2


class AnyPathScheduleStorage(SqliteScheduleStorage):
    """Keep schedules, sensors and their ticks where and as Dagster does, whatever the directories above are called.

    Dagster opens and closes the file for each statement, also for each look of its daemon, every few seconds, at what
    is to be evaluated; the last to close it brings its write-ahead log home each time. Here a process keeps it open.

    .. code-block:: YAML

        schedule_storage:
          module: lab_pipeline.storage.schedule_storage
          class: AnyPathScheduleStorage

    ``base_dir`` is absolute, or relative to ``DAGSTER_HOME``.
    """

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._opened: tuple[int, int, int] | None = None
        super().__init__(conn_string, inst_data)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Describe the ``config`` block of dagster.yaml."""
        return {"base_dir": Field(StringSource, is_required=False, default_value=SCHEDULES_DIRECTORY)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Build the storage from a validated ``config`` block."""
        directory = under_dagster_home(config_value["base_dir"])
        directory.mkdir(parents=True, exist_ok=True)
        place = plain(directory)
        made = cls(create_db_conn_string(place, "schedules"), inst_data)
        return made if made._is_made() else cast("Self", cls.from_local(place, inst_data))

    def _is_made(self) -> bool:
        """Return whether the file has its tables by now; Dagster reads all of its migrations to answer that."""
        if not Path(self._conn_string.removeprefix(PREFIX)).exists():
            return False
        try:
            with self.connect() as connection:
                return connection.execute(text("SELECT version_num FROM alembic_version")).first() is not None
        except DatabaseError:  # of which Dagster makes more, or says what is wrong
            self.dispose()
            return False

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection inside a transaction."""
        with self._current_engine().begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close the kept connections, which brings the file to rest."""
        with self._lock:
            self._close()

    def _current_engine(self) -> Engine:
        """Return connections to the file; new ones where it is another by now, or this process a child of theirs."""
        with self._lock:
            if self._engine is None or self._opened != self._identity():
                self._close()
                self._engine = create_engine(
                    self._conn_string,
                    poolclass=QueuePool,
                    pool_size=KEPT_CONNECTIONS,
                    max_overflow=-1,
                    connect_args={"check_same_thread": False},
                )
                self._opened = self._identity()
            return self._engine

    def _close(self) -> None:
        if self._engine is not None and self._opened is not None:
            if self._opened[0] == os.getpid():
                self._engine.dispose()
            else:  # SQLite lets no connection be closed on the other side of a fork, by the collector either
                _OF_THE_PARENT.append(self._engine)
        self._engine = None

    def _identity(self) -> tuple[int, int, int]:
        """Tell a file from another under its name, and this process from one that it was forked from."""
        try:
            found = Path(self._conn_string.removeprefix(PREFIX)).stat()
        except FileNotFoundError:
            return os.getpid(), 0, 0
        return os.getpid(), found.st_dev, found.st_ino


_OF_THE_PARENT: list[Engine] = []
