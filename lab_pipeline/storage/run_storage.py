"""Dagster's run storage in a DuckDB file that many processes share."""

import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import sqlalchemy as db
from dagster import DagsterEvent, DagsterEventType, Field, IntSource, RunsFilter, StringSource
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from lab_pipeline.files.errors import StorageError
from lab_pipeline.storage import schema
from lab_pipeline.storage.dialect import DuckDBDialect
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.duck_file import DEFAULT_TIMEOUT_SECONDS, DuckFile
from lab_pipeline.storage.heartbeats import Heartbeats
from lab_pipeline.storage.internals import (
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    AlembicVersion,
    BackfillTagsTable,
    BulkActionsTable,
    ConfigurableClass,
    ConfigurableClassData,
    DaemonHeartbeat,
    JobBucket,
    KeyValueStoreTable,
    PartitionBackfill,
    RunsTable,
    RunTagsTable,
    SecondaryIndexMigrationTable,
    SnapshotsTable,
    SnapshotType,
    SqlAlchemyQuery,
    SqlRunStorage,
    TagBucket,
    UserConfigSchema,
    get_current_datetime,
    serialize_value,
    str_param,
)

TEMPORARY_HOME_PREFIX = ".tmp_dagster_home_"
"""Fixed by Dagster so that projects can rely on it."""

KEPT_ANSWERS = 32
LONGEST_ANSWER = 100
"""Rows up to which an answer is kept until the file changes."""

_END_EVENTS = {DagsterEventType.PIPELINE_CANCELED, DagsterEventType.PIPELINE_SUCCESS}
_EVENTS_ABOUT_THE_BODY = {DagsterEventType.PIPELINE_FAILURE, DagsterEventType.PIPELINE_ENQUEUED}


class DuckDBRunStorage(SqlRunStorage, ConfigurableClass):
    """Keep runs, their tags, snapshots, backfills and cursors in one DuckDB file, and heartbeats beside it.

    Webserver, daemon, code servers and run processes may all use it at once; there is no server. Put this into the
    ``dagster.yaml`` of the instance (event log and schedules stay where they are):

    .. code-block:: YAML

        run_storage:
          module: lab_pipeline.storage.run_storage
          class: DuckDBRunStorage
          config:
            path: runs.duckdb
            timeout: 60

    ``path`` is absolute, or relative to ``DAGSTER_HOME`` (without one, to the temporary directory that Dagster's
    command lines then use, so that nothing is kept there either); ``timeout`` is how many seconds a call waits for
    others. Either may be taken from an environment variable (``path: {env: RUNS_DATABASE}``). The package has to be
    installed wherever a process of the instance runs. Do not open the live file with another program: its lock would
    stop Dagster. Look into a copy instead (`lab_pipeline.storage.export.export_runs`).
    """

    def __init__(
        self,
        path: str | Path,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        self._inst_data = inst_data
        self._timeout = timeout
        self._file = DuckFile.at(under_dagster_home(path))
        self._heartbeats = Heartbeats(self._file.path.with_name(f"{self._file.path.name}.heartbeats"))
        self._columns: dict[str, set[str]] = {}
        self._built_indexes: set[str] = set()
        self._answers: OrderedDict[Hashable, tuple[tuple[int, ...] | None, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._create_if_missing()
        super().__init__()  # type: ignore[no-untyped-call]  # Dagster's

    @property
    def path(self) -> Path:
        """The file that holds the runs."""
        return self._file.path

    def state(self) -> tuple[int, ...] | None:
        """Return what is another after every change; none where there is no file."""
        return self._file.state()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The configuration this object was made from."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Describe the ``config`` block of dagster.yaml."""
        return {
            "path": StringSource,
            "timeout": Field(IntSource, is_required=False, default_value=int(DEFAULT_TIMEOUT_SECONDS)),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Build the storage from a validated ``config`` block."""
        return cls(inst_data=inst_data, **config_value)

    # -- reaching the file -------------------------------------------------------------------------------------------

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection inside a writing transaction, or inside the one this thread already has."""
        with self._transaction(write=True) as connection:
            yield connection.sqlalchemy

    def fetchall(self, query: SqlAlchemyQuery) -> Sequence[Any]:
        """Run a query in a reading transaction and return its rows."""
        found: Sequence[Any] = self._answer(query, "all")
        return found

    def fetchone(self, query: SqlAlchemyQuery) -> Any | None:  # noqa: ANN401 - the base class' type of a row
        """Run a query in a reading transaction and return its first row."""
        return self._answer(query, "first")

    def fetch_table(self, query: SqlAlchemyQuery) -> pa.Table:
        """Run a query in a reading transaction and return its columns: rows of their own cost more than the query."""
        text = query.compile(dialect=DuckDBDialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]  # SQLAlchemy's
        with self._transaction(write=False) as connection:
            return connection.raw.sql(str(text)).to_arrow_table()

    def _answer(self, query: SqlAlchemyQuery, rows: str) -> Any:  # noqa: ANN401 - the base class' type of rows
        """Run a query, or return what it answered the last time if nobody has written the file since.

        Queue, monitor and log shipper ask the same every second, day and night: that costs them a look at the file.
        """
        state = None if self._file.is_in_transaction() else self._file.state()
        asked = None if state is None else _name_of(query, rows)
        if asked is not None:
            with self._lock:
                known = self._answers.get(asked)
            if known is not None and known[0] == state:
                return known[1]
        with self._transaction(write=False) as connection:
            answer = getattr(connection.sqlalchemy.execute(query).mappings(), rows)()
        if asked is not None and (rows == "first" or len(answer) <= LONGEST_ANSWER):
            with self._lock:
                self._answers[asked] = state, answer
                self._answers.move_to_end(asked)
                while len(self._answers) > KEPT_ANSWERS:
                    self._answers.popitem(last=False)
        return answer

    def dispose(self) -> None:
        """Give the file up now rather than a moment later."""
        self._file.release()

    def _transaction(self, *, write: bool) -> AbstractContextManager[DuckConnection]:
        return self._file.transaction(write=write, timeout=self._timeout)

    # -- schema and migrations ---------------------------------------------------------------------------------------

    def _create_if_missing(self) -> None:
        if self._file.path.exists():
            with self._transaction(write=False) as connection:
                if schema.is_current(connection):
                    return
        self._file.path.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction(write=True) as connection:
            if not schema.is_current(connection):  # another process may have been quicker
                schema.create(connection)
                self.migrate()  # on a new file they have nothing to do, and are recorded as done
                self.optimize()

    def upgrade(self) -> None:
        """Add the tables and columns that the installed Dagster declares and the file lacks."""
        with self._transaction(write=True) as connection:
            schema.create(connection)
        self._columns = {}

    def alembic_version(self) -> AlembicVersion:
        """Return the schema revision of the file and the latest that the installed Dagster knows."""
        with self._transaction(write=False) as connection:
            return schema.revision(connection), schema.head_revision()

    def has_built_index(self, migration_name: str) -> bool:
        """Return whether a data migration was done; what was done stays done."""
        if migration_name not in self._built_indexes and super().has_built_index(migration_name):
            self._built_indexes.add(migration_name)
        return migration_name in self._built_indexes

    def mark_index_built(self, migration_name: str) -> None:
        """Record that a data migration was done."""
        self._upsert(
            SecondaryIndexMigrationTable,
            "name",
            [{"name": migration_name, "migration_completed": datetime.now()}],  # noqa: DTZ005 - as the base class does
        )

    def has_run_stats_index_cols(self) -> bool:
        """Return whether the file has the columns of runs' start and end."""
        return self._has_columns(RunsTable, "start_time", "end_time")

    def has_backfill_id_column(self) -> bool:
        """Return whether the file has the column of runs' backfill."""
        return self._has_columns(RunsTable, "backfill_id")

    def has_bulk_actions_selector_cols(self) -> bool:
        """Return whether the file has the column of backfills' selector."""
        return self._has_columns(BulkActionsTable, "selector_id")

    def has_bulk_action_job_name_column(self) -> bool:
        """Return whether the file has the column of backfills' job."""
        return self._has_columns(BulkActionsTable, "job_name")

    def has_backfill_tags_table(self) -> bool:
        """Return whether the file has the table of backfills' tags."""
        return self._has_columns(BackfillTagsTable, "key")

    def _has_columns(self, table: db.Table, *names: str) -> bool:
        """Look the columns up until they are there once; a migration in another process may still add them."""
        wanted = set(names)
        if not wanted <= self._columns.get(table.name, set()):
            with self._transaction(write=False) as connection:
                self._columns = schema.columns(connection)
        return wanted <= self._columns.get(table.name, set())

    def _runs_query(  # noqa: PLR0917 - the base class' signature
        self,
        filters: RunsFilter | None = None,
        cursor: str | None = None,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | None = None,
        ascending: bool = False,  # noqa: FBT001, FBT002
        bucket_by: JobBucket | TagBucket | None = None,
    ) -> SqlAlchemyQuery:
        """Build the base class' query, in two cases in a shape that DuckDB answers sooner."""
        query = super()._runs_query(filters, cursor, limit, columns, order_by, ascending, bucket_by)
        if filters and filters.run_ids and len(filters.run_ids) == 1:
            return query.order_by(None)  # one row, and by far the commonest query
        if filters and filters.tags and limit:  # find the ids first: the join need not carry the bodies then
            ids = super()._runs_query(filters, cursor, limit, ["id"], order_by, ascending, bucket_by)
            wanted = [RunsTable.c[name] for name in columns or ("run_body", "status")]
            found = db.select(*wanted).where(RunsTable.c.id.in_(ids.correlate(None)))
            return self._add_cursor_limit_to_query(found, None, None, order_by, ascending)
        return query

    # -- what is read and written in two steps belongs into one transaction --------------------------------------------

    def add_run_tags(self, run_id: str, new_tags: Mapping[str, str]) -> None:
        """Add tags to a run, or change them."""
        with self._transaction(write=True):
            super().add_run_tags(run_id, new_tags)

    def update_backfill(self, partition_backfill: PartitionBackfill) -> None:
        """Store the new state of a backfill."""
        with self._transaction(write=True):
            super().update_backfill(partition_backfill)

    def get_run_storage_id(self) -> str:
        """Return the random name of this storage, which is drawn when first asked for."""
        with self._transaction(write=True):
            return super().get_run_storage_id()

    def handle_run_event(self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None) -> None:
        """Set the status that an event brings a run to, with its times.

        The body is left alone: readers let the column's status win over the body's. The base class does the rest: a
        failure may add a tag to the body, and a queued run is checked against it.
        """
        status = EVENT_TYPE_TO_PIPELINE_RUN_STATUS.get(event.event_type)
        if status is None:
            return
        if event.event_type in _EVENTS_ABOUT_THE_BODY:
            with self._transaction(write=True):
                super().handle_run_event(run_id, event, update_timestamp)
            return
        when = update_timestamp or get_current_datetime()
        values: dict[str, Any] = {"status": status.value, "update_timestamp": when}
        if event.event_type is DagsterEventType.PIPELINE_START:
            values["start_time"] = when.timestamp()
        if event.event_type in _END_EVENTS:
            values["end_time"] = when.timestamp()
        update = RunsTable.update().where(RunsTable.c.run_id == run_id).values(**values)
        with self.connect() as connection:
            connection.execute(update)

    def delete_run(self, run_id: str) -> None:
        """Delete a run and its tags."""
        str_param(run_id, "run_id")
        with self.connect() as connection:
            connection.execute(RunTagsTable.delete().where(RunTagsTable.c.run_id == run_id))
            connection.execute(RunsTable.delete().where(RunsTable.c.run_id == run_id))

    # -- inserting what may be there: a failed statement would take DuckDB's whole transaction with it ----------------

    def add_daemon_heartbeat(self, daemon_heartbeat: DaemonHeartbeat) -> None:
        """Store a daemon's latest sign of life, beside the file of the runs."""
        self._heartbeats.add(daemon_heartbeat)

    def get_daemon_heartbeats(self) -> Mapping[str, DaemonHeartbeat]:
        """Return the latest signs of life, those of an earlier version of the lab from the file of the runs."""
        return {**super().get_daemon_heartbeats(), **self._heartbeats.all()}

    def wipe_daemon_heartbeats(self) -> None:
        """Forget all signs of life."""
        super().wipe_daemon_heartbeats()
        self._heartbeats.wipe()

    def wipe(self) -> None:
        """Forget everything."""
        super().wipe()
        self._heartbeats.wipe()

    def set_cursor_values(self, pairs: Mapping[str, str]) -> None:
        """Store values by key, all or none; Dagster's daemon stores the same ones again and again."""
        if self.get_cursor_values(set(pairs)) == dict(pairs):
            return
        self._upsert(KeyValueStoreTable, "key", [{"key": key, "value": value} for key, value in pairs.items()])

    def _add_snapshot(self, snapshot_id: str, snapshot_obj: Any, snapshot_type: SnapshotType) -> str:  # noqa: ANN401 - the base class'
        row = {
            "snapshot_id": snapshot_id,
            "snapshot_body": zlib.compress(serialize_value(snapshot_obj).encode()),
            "snapshot_type": snapshot_type.value,
        }
        with self.connect() as connection:
            connection.execute(insert(SnapshotsTable).values(row).on_conflict_do_nothing())
        return snapshot_id

    def _upsert(self, table: db.Table, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Update rows by their key, and insert those that are not there: half the time of ON CONFLICT DO UPDATE."""
        with self.connect() as connection:
            for row in rows:
                update = (
                    table.update().where(table.c[key] == row[key]).values({k: v for k, v in row.items() if k != key})
                )
                if not connection.execute(update).rowcount:
                    connection.execute(table.insert().values(row))


def _name_of(query: SqlAlchemyQuery, rows: str) -> Hashable | None:
    """Return a key that equal queries share; none if it is not known."""
    key = query._generate_cache_key()  # noqa: SLF001 - by which SQLAlchemy itself finds what it has compiled
    return None if key is None else (rows, key.key, repr([bound.effective_value for bound in key.bindparams]))


def under_dagster_home(path: str | Path) -> Path:
    """Return a path of dagster.yaml in full: what is not absolute is relative to DAGSTER_HOME.

    Raises:
        StorageError: if it is relative and there is no DAGSTER_HOME.
    """
    path = Path(path).expanduser()
    if path.is_absolute():
        return path
    home = os.environ.get("DAGSTER_HOME") or _temporary_home()
    if home is None:
        raise StorageError(f"storage: the path {path} is relative to DAGSTER_HOME, which is not set; give it whole")
    return Path(home) / path


def _temporary_home() -> Path | None:
    """Find the directory that Dagster's command lines make here, and remove at their end, without a DAGSTER_HOME."""
    made = Path.cwd().glob(f"{TEMPORARY_HOME_PREFIX}*")
    return max(made, key=lambda directory: directory.stat().st_mtime, default=None)
