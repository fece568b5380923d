"""Dagster's SQLite event log, with kept connections and with batches of events written as batches."""

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

from dagster import EventLogEntry, Field, StringSource
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool
from watchdog.events import FileSystemEvent

from lab_pipeline.files.atomic import copy_if_missing
from lab_pipeline.storage.internals import (
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    SQLITE_BUSY_TIMEOUT_SECONDS,
    ConfigurableClassData,
    EventHandlerFn,
    SqliteEventLogStorage,
    SqliteEventLogStorageWatchdog,
    UserConfigSchema,
    create_engine,
)
from lab_pipeline.storage.plain_path import plain
from lab_pipeline.storage.run_storage import under_dagster_home

EVENTS_DIRECTORY = "history/runs"
"""Under DAGSTER_HOME, where Dagster keeps event logs."""
BATCH_VARIABLE, BATCH_EVENTS = "DAGSTER_EVENT_BATCH_SIZE", "1000"
"""How Dagster learns that events may come in batches."""
PAGE_BYTES = 1024
"""Of a new file. Each of some forty tables and indexes takes a page at least, and most stay empty: in SQLite's usual
pages of 4,096 bytes they were half of the log of a run."""
DEFERRED_SECONDS = 0.1
"""For which events wait at most for others to be written with them, where that is allowed."""
KEPT_CONNECTIONS = 4
"""Files that a process keeps open: a run's process writes to its own and to the index, a reader looks at a few."""


class BatchingEventLogStorage(SqliteEventLogStorage):
    """Keep event logs where and as Dagster does, a SQLite file a run, with fewer connections and commits.

    Dagster opens and closes a file for each statement, which checkpoints its write-ahead log each time: a run of 73
    events made 118 connections and 104 commits. Here a process keeps the connections it used last, and what an event,
    or a batch of events, writes to a file is one transaction. Put this into the ``dagster.yaml`` of the instance, and
    set ``DAGSTER_EVENT_BATCH_SIZE`` (without it there are no batches):

    .. code-block:: YAML

        event_log_storage:
          module: lab_pipeline.storage.event_log_storage
          class: BatchingEventLogStorage

    ``base_dir`` is absolute, or relative to ``DAGSTER_HOME``.
    """

    def __init__(self, base_dir: str = EVENTS_DIRECTORY, inst_data: ConfigurableClassData | None = None) -> None:
        self._batch = threading.local()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._deferring = False
        self._waiting: list[EventLogEntry] = []
        self._waiting_lock = threading.Lock()
        self._tables: set[str] = set()
        self._columns: set[str] = set()
        self._lock = threading.RLock()  # a batch has a run's file and the index open together
        directory = under_dagster_home(base_dir)
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(plain(directory), inst_data)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Describe the ``config`` block of dagster.yaml."""
        return {"base_dir": Field(StringSource, is_required=False, default_value=EVENTS_DIRECTORY)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Build the storage from a validated ``config`` block."""
        return cls(inst_data=inst_data, **config_value)

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event in the log of its run and, where it belongs there, in the index of all runs."""
        if self._in_batch():
            super().store_event(event)
        elif self._deferring and not _is_of_status(event):
            with self._waiting_lock:
                self._waiting.append(event)
        else:
            self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store all of the events, and before them what waits, or, as Dagster then stores them one by one, none."""
        with self._lock:  # so that nobody comes in between what is taken and what it is followed by
            self._write([*self._take_waiting(), *events])

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Write events a tenth of a second late, several in one transaction, while this process executes ops.

        Whoever reads through this storage finds all events, and so does everybody once the status of a run is stored.
        A process that is killed takes its last events with it, not more than a tenth of a second of them. Where they
        cannot be written, as on a full disk, the next store or read of events raises.
        """
        ended = threading.Event()
        writing = threading.Thread(target=self._write_waiting, args=(ended,), name="deferred-events", daemon=True)
        self._deferring = True
        writing.start()
        try:
            yield
        finally:
            self._deferring = False
            ended.set()
            writing.join()
            self.store_event_batch([])

    def _write_waiting(self, ended: threading.Event) -> None:
        while not ended.wait(DEFERRED_SECONDS):
            with self._lock:
                waiting = self._take_waiting()
                try:
                    self._write(waiting)
                except Exception:  # noqa: BLE001 - the next store or read tries again, and raises
                    with self._waiting_lock:
                        self._waiting[:0] = waiting

    def _take_waiting(self) -> list[EventLogEntry]:
        with self._waiting_lock:
            taken, self._waiting = self._waiting, []
        return taken

    def _write(self, events: Sequence[EventLogEntry]) -> None:
        with ExitStack() as stack:
            self._batch.stack, self._batch.connections = stack, {}
            try:
                for event in events:
                    super().store_event(event)
            finally:
                del self._batch.stack, self._batch.connections

    def has_table(self, table_name: str) -> bool:
        """Return whether the index has a table; none is ever dropped, so one that was found is not looked up again."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        """Return whether the index has a column of assets; columns are remembered as tables are."""
        if column_name not in self._columns and super()._has_asset_key_col_on_connection(conn, column_name):
            self._columns.add(column_name)
        return column_name in self._columns

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call back with the events of a run as they are written."""
        super().watch(run_id, cursor, callback)
        theirs, watch = self._watchers[run_id][callback]
        ours = _Watchdog(self, run_id, callback, cursor)
        self._obs.add_handler_for_watch(ours, watch)  # type: ignore[attr-defined]  # made by `watch`
        self._obs.remove_handler_for_watch(theirs, watch)  # type: ignore[attr-defined]
        self._watchers[run_id][callback] = (ours, watch)

    def pattern(self) -> bytes:
        """Return a file with all tables and no row: a copy takes less time than twenty tables and indexes.

        It is made once a process.
        """
        if not _PATTERNS:
            with TemporaryDirectory() as directory:
                path = Path(directory) / "pattern.db"
                engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
                self._initdb(engine)
                engine.dispose()
                _with_small_pages(path)
                _PATTERNS.append(path.read_bytes())
        return _PATTERNS[0]

    def dispose(self) -> None:
        """Close the kept connections, which brings the files to rest."""
        with self._db_lock:
            while self._kept:
                self._drop(next(iter(self._kept)))
        super().dispose()

    @property
    def _db_lock(self) -> Any:  # noqa: ANN401 - Dagster's type is the other lock's
        return self._lock

    @_db_lock.setter
    def _db_lock(self, theirs: object) -> None:
        """Keep our lock, which is reentrant, instead of Dagster's, which is not."""

    def _in_batch(self) -> bool:
        return getattr(self._batch, "stack", None) is not None

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Connect to a file; within a batch, join the transaction that the batch has there."""
        if not self._in_batch():
            if self._waiting:
                self.store_event_batch([])
            with self._transaction(shard) as connection:
                yield connection
            return
        connections: dict[str, Connection] = self._batch.connections
        if shard not in connections:
            connections[shard] = self._batch.stack.enter_context(self._transaction(shard))
        yield connections[shard]

    @contextmanager
    def _transaction(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            kept = self._connection(shard)
            if kept.in_transaction():  # an iterator over the same file is not at its end
                with super()._connect(shard) as connection:
                    yield connection
                return
            try:
                with kept.begin():
                    yield kept
            except BaseException:
                self._drop(shard)  # whatever state it is in, the next one begins with a new connection
                raise

    def _connection(self, shard: str) -> Connection:
        """Return the kept connection to a file, or a new one: also where the file is another by now."""
        kept = self._kept.get(shard)
        if kept is not None and kept.file == _identity(self.path_for_shard(shard)):
            self._kept.move_to_end(shard)
            return kept.connection
        if kept is not None:
            self._drop(shard)
        if shard not in self._initialized_dbs and not self._is_made(shard):
            with super()._connect(shard):  # makes tables where there are none
                pass
        connection = self._engine(shard).connect()
        self._kept[shard] = _Kept(connection, _identity(self.path_for_shard(shard)))
        for oldest in list(self._kept)[:-KEPT_CONNECTIONS]:
            if not self._kept[oldest].connection.in_transaction():
                self._drop(oldest)
        return connection

    def _is_made(self, shard: str) -> bool:
        """Return whether a file has its tables by now; Dagster reads all of its migrations to answer that."""
        path = Path(self.path_for_shard(shard))
        if not path.exists():
            made = copy_if_missing(self.pattern(), path)
        else:
            try:
                with self._engine(shard).connect() as connection:
                    made = connection.execute(text("SELECT version_num FROM alembic_version")).first() is not None
            except DatabaseError:  # of which Dagster makes more, or says what is wrong
                return False
        if made:
            self._initialized_dbs.add(shard)
        return made

    def _engine(self, shard: str) -> Engine:
        return create_engine(
            self.conn_string_for_shard(shard),
            poolclass=NullPool,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )

    def _drop(self, shard: str) -> None:
        kept = self._kept.pop(shard, None)
        if kept is not None and kept.file[0] == os.getpid():
            kept.connection.close()
        elif (
            kept is not None
        ):  # SQLite lets no connection be closed on the other side of a fork, by the collector either
            _OF_THE_PARENT.append(kept)


def _with_small_pages(path: Path) -> None:
    """Rewrite a file in pages of `PAGE_BYTES`, which SQLite does only outside of its write-ahead mode."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("journal_mode = DELETE", f"page_size = {PAGE_BYTES}"):
            connection.execute(f"PRAGMA {statement}")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode = WAL")


class _Kept(NamedTuple):
    connection: Connection
    file: tuple[int, int, int]


_OF_THE_PARENT: list[_Kept] = []
_PATTERNS: list[bytes] = []


def _is_of_status(event: EventLogEntry) -> bool:
    return event.dagster_event is not None and event.dagster_event.event_type in EVENT_TYPE_TO_PIPELINE_RUN_STATUS


def _identity(path: str) -> tuple[int, int, int]:
    """Tell a file from another under its name, and this process from one that it was forked from."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return os.getpid(), 0, 0
    return os.getpid(), found.st_dev, found.st_ino


class _Watchdog(SqliteEventLogStorageWatchdog):
    """Looks at a log when its write-ahead log grows, which a kept connection moves to the file itself much later."""

    def __init__(
        self, storage: BatchingEventLogStorage, run_id: str, callback: EventHandlerFn, cursor: str | None
    ) -> None:
        super().__init__(storage, run_id, callback, cursor)
        self._patterns = [self._log_path, f"{self._log_path}-wal"]

    def on_modified(self, event: FileSystemEvent) -> None:  # noqa: ARG002 - which of the two files does not matter
        """Read on once whoever is writing has committed.

        SQLite writes the last bytes of a commit before readers see it, and nothing tells of the moment in between: a
        read that came too early would find nothing, and the last events of a run would never be shown.
        """
        with closing(
            sqlite3.connect(self._log_path, timeout=SQLITE_BUSY_TIMEOUT_SECONDS, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")  # waits for the writer
            connection.execute("ROLLBACK")
        self._process_log()


def batches_allowed() -> dict[str, str]:
    """Return the variable that allows batches, as the environment has it or else at our default."""
    return {BATCH_VARIABLE: os.environ.get(BATCH_VARIABLE, BATCH_EVENTS)}
