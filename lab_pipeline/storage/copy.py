"""Move everything that a Dagster instance keeps - runs, events, schedules - to other storages, and nothing twice.

Rows go as they are, with their times, through the connections and table definitions of Dagster's own storages; what
Dagster's interfaces would do with an event (stamp it, count it, tell watchers) has been done once already. Two things
change: runs, tags and the like are renumbered, in their order, and where the events of all runs come into one table
they are, too, with everything that refers to an event by its number.

A mark in the target says that it is being written, so that an interrupted move is begun again, and a mark in the
source says that it was moved, so that a move back may replace it.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeVar

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lab_pipeline.domain.errors import LabError
from lab_pipeline.storage import events
from lab_pipeline.storage.events import INDEXED, EventReader, Layout, Row, StoredEvent
from lab_pipeline.storage.internals import (
    AssetCheckExecutionsTable,
    AssetDaemonAssetEvaluationsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    BackfillTagsTable,
    BulkActionsTable,
    ConcurrencyLimitsTable,
    ConcurrencySlotsTable,
    DynamicPartitionsTable,
    InstigatorsTable,
    JobTable,
    JobTickTable,
    KeyValueStoreTable,
    PendingStepsTable,
    RunsTable,
    RunTagsTable,
    SnapshotsTable,
    SqlEventLogStorage,
    SqlRunStorage,
    SqlScheduleStorage,
)
from lab_pipeline.storage.internals import SqlEventLogStorageTable as EventLogs
from lab_pipeline.storage.renumber import Numbering

Connect = Callable[[], AbstractContextManager[Connection]]
Change = Callable[[Row], Row]
Progress = Callable[[int, int], None]
S = TypeVar("S", sa.Select[Any], sa.Delete)

RUN_TABLES = (SnapshotsTable, RunsTable, RunTagsTable, BulkActionsTable, BackfillTagsTable, KeyValueStoreTable)
EVENT_TABLES = (
    AssetKeyTable,
    AssetEventTagsTable,
    AssetCheckExecutionsTable,
    DynamicPartitionsTable,
    ConcurrencyLimitsTable,
    ConcurrencySlotsTable,
    PendingStepsTable,
)
SCHEDULE_TABLES = (JobTable, InstigatorsTable, JobTickTable, AssetDaemonAssetEvaluationsTable)
"""All but what each instance has of itself: heartbeats, its id, the versions of its schema."""

WRITING = "lab/storage_is_written"
MOVED = "lab/storage_was_moved"
MARKS = (WRITING, MOVED)
AT_ONCE = 1_000
EVENTS = "event_logs"


@dataclass(frozen=True)
class DagsterStores:
    """The three storages of an instance."""

    runs: SqlRunStorage
    log: SqlEventLogStorage
    schedules: SqlScheduleStorage

    @classmethod
    def of(cls, instance: dg.DagsterInstance) -> "DagsterStores":
        """Take the storages of an instance.

        Raises:
            LabError: if one is not made of Dagster's tables.
        """
        runs, log, schedules = instance.run_storage, instance.event_log_storage, instance.schedule_storage
        if not isinstance(runs, SqlRunStorage):
            raise LabError(f"{type(runs).__name__} is not made of tables: its runs cannot be moved")
        if not isinstance(log, SqlEventLogStorage):
            raise LabError(f"{type(log).__name__} is not made of tables: its events cannot be moved")
        if not isinstance(schedules, SqlScheduleStorage):
            raise LabError(f"{type(schedules).__name__} is not made of tables: its schedules cannot be moved")
        return cls(runs, log, schedules)

    @property
    def id(self) -> str:
        """The random name of the run storage."""
        return self.runs.get_run_storage_id()

    def tables(self) -> Iterator[tuple[sa.Table, Connect]]:
        """Iterate over the tables but that of events, each with what connects to it."""
        for names, connect in (
            (RUN_TABLES, self.runs.connect),
            (EVENT_TABLES, self.log.index_connection),
            (SCHEDULE_TABLES, self.schedules.connect),
        ):
            for table in names:
                yield table, connect

    def counts(self) -> dict[str, int]:
        """Count the rows of every table, without the marks of a move."""
        found = {table.name: _count(table, connect) for table, connect in self.tables()}
        return found | {EVENTS: events.count(self.log)}

    def mark(self, name: str) -> dict[str, Any] | None:
        """Return what a mark says, if it is set."""
        text = self.runs.get_cursor_values({name}).get(name)
        return None if text is None else json.loads(text)

    def set_mark(self, name: str, said: Mapping[str, Any]) -> None:
        """Set a mark."""
        self.runs.set_cursor_values({name: json.dumps(said)})

    def wipe(self) -> None:
        """Empty all tables; the mark that it is being written goes last, with those of the runs."""
        events.wipe(self.log)
        for table, connect in reversed(list(self.tables())):
            with connect() as connection:
                connection.execute(_unmarked(table.delete(), table))


def move(
    source: DagsterStores,
    target: DagsterStores,
    *,
    numbered_sensors: Collection[str] = (),
    on_progress: Progress | None = None,
) -> dict[str, int]:
    """Copy everything from one instance's storages to another's, compare, and return the rows by table.

    Nothing may use either meanwhile. A target that has all of it already is only compared.

    Args:
        source: from where.
        target: to where; it has to be empty, or to have what an earlier move between the two left there.
        numbered_sensors: names of sensors whose cursor is the number of an event.
        on_progress: called with the runs whose events have been copied, and all.

    Raises:
        LabError: if the target has something of its own, or differs in the end.
    """
    expected = source.counts()
    moved = source.mark(MOVED)
    if not (moved and moved["to"] == target.id and target.mark(WRITING) is None and target.counts() == expected):
        _claim(source, target)
        _copy(source, target, numbered_sensors, on_progress)
    _compare(source, target, expected, numbered_sensors)
    source.set_mark(MOVED, {"to": target.id, "rows": expected})
    with target.runs.connect() as connection:
        connection.execute(KeyValueStoreTable.delete().where(KeyValueStoreTable.c.key.in_(MARKS)))
    return expected


def _claim(source: DagsterStores, target: DagsterStores) -> None:
    """Empty the target if a move to it was cut off, or if what it has was moved to the source once; refuse others."""
    found = {name: rows for name, rows in target.counts().items() if rows}
    if target.mark(WRITING) is None and found:
        moved = target.mark(MOVED)
        if moved is None or moved["to"] != source.id:
            has = ", ".join(f"{rows:,} rows of {name}" for name, rows in found.items())
            raise LabError(f"the target is not empty: it has {has}. Give it a database of its own")
        if {name: rows for name, rows in moved["rows"].items() if rows} != found:
            raise LabError("the target has been used since it was moved to where the lab is now: it has other rows")
    target.set_mark(WRITING, {"from": source.id})
    target.wipe()


def _copy(
    source: DagsterStores, target: DagsterStores, numbered_sensors: Collection[str], on_progress: Progress | None
) -> None:
    reader, layout, changes = _plan(source, target, numbered_sensors)
    into = dict(target.tables())
    for table, connect in source.tables():
        _copy_table(table, connect, into[table], changes.get(table))
    _copy_events(reader, target.log, layout, on_progress)


def _plan(
    source: DagsterStores, target: DagsterStores, numbered_sensors: Collection[str]
) -> tuple[EventReader, Layout | None, dict[sa.Table, Change]]:
    """Return what reads the events, how they are renumbered, if they are, and what changes in which table."""
    reader = EventReader(source.log)
    layout = Layout.of(reader) if source.log.is_run_sharded and not target.log.is_run_sharded else None
    numbering = layout.numbering if layout else Numbering(reader.index, reader.index)
    return reader, layout, _changes(numbering, numbered_sensors, renumbered=layout is not None)


def _changes(numbering: Numbering, numbered_sensors: Collection[str], *, renumbered: bool) -> dict[sa.Table, Change]:
    """Return what changes in the rows of which table."""

    def asset(row: Row) -> Row:
        row["cached_status_data"] = None  # Dagster computes it again
        if renumbered and row["last_materialization"]:
            row["last_materialization"] = numbering.text(row["last_materialization"])
        return row

    def tag(row: Row) -> Row:
        return row | {
            "event_id": numbering.position(row["event_id"]),
            "value": numbering.pointer(row["key"], row["value"]),
        }

    def check(row: Row) -> Row:
        ids = ("evaluation_event_storage_id", "materialization_event_storage_id")
        new = {name: None if row[name] is None else numbering.position(row[name]) for name in ids}
        event = row["evaluation_event"]
        return row | new | {"evaluation_event": numbering.text(event) if event else event}

    def state_in(column: str) -> Change:
        return lambda row: row | {column: numbering.state(row[column], numbered_sensors)}

    always = {
        AssetKeyTable: asset,
        JobTable: state_in("job_body"),
        InstigatorsTable: state_in("instigator_body"),
    }
    return always | ({AssetEventTagsTable: tag, AssetCheckExecutionsTable: check} if renumbered else {})


def _copy_table(table: sa.Table, source: Connect, target: Connect, change: Change | None) -> None:
    for rows in _rows(table, source):
        for row in rows:
            del row["id"]
        with target() as connection:
            connection.execute(table.insert(), [change(row) for row in rows] if change else rows)


def _copy_events(
    reader: EventReader, target: SqlEventLogStorage, layout: Layout | None, on_progress: Progress | None
) -> None:
    run_ids = reader.run_ids()
    for done, run_id in enumerate(run_ids):
        found = list(reader.of_run(run_id))
        if layout:
            rows = [
                row | {"id": id_, "event": layout.numbering.text(row["event"])} for id_, row in layout.number(found)
            ]
            _insert_events(target.run_connection(run_id), rows)
        else:
            _insert_events(
                target.run_connection(run_id), [one.row | {"id": one.number} for one in found if one.number is not None]
            )
            if target.is_run_sharded:
                _insert_events(target.index_connection(), _indexed(found))
        if on_progress:
            on_progress(done + 1, len(run_ids))
    with target.index_connection() as connection:
        if connection.dialect.name == "postgresql":  # what is inserted with a number does not advance the sequence
            last = sa.select(sa.func.coalesce(sa.func.max(EventLogs.c.id), 0) + 1).scalar_subquery()
            sequence = sa.func.pg_get_serial_sequence(EventLogs.name, "id")
            connection.execute(sa.select(sa.func.setval(sequence, last, sa.false())))


def _indexed(found: list[StoredEvent]) -> list[Row]:
    return [one.row | {"id": one.indexed} for one in found if one.indexed is not None]


def _insert_events(connecting: AbstractContextManager[Connection], rows: list[Row]) -> None:
    with connecting as connection:
        for begin in range(0, len(rows), AT_ONCE):
            connection.execute(EventLogs.insert(), rows[begin : begin + AT_ONCE])


def _compare(
    source: DagsterStores, target: DagsterStores, expected: Mapping[str, int], numbered_sensors: Collection[str]
) -> None:
    """Compare the rows of every table, and the events of every run, by number and then by content, in their order."""
    arrived = target.counts()
    problems = [
        f"{name}: {rows:,} rows, {arrived[name]:,} arrived" for name, rows in expected.items() if rows != arrived[name]
    ]
    reader, layout, changes = _plan(source, target, numbered_sensors)
    into = dict(target.tables())
    for table, connect in source.tables():
        change = changes.get(table, dict)
        problems += _differences(table.name, map(change, _contents(table, connect)), _contents(table, into[table]))
    for run_id in sorted({*reader.run_ids(), *events.run_ids(target.log)}):
        found = list(reader.of_run(run_id))
        name = f"events of run {run_id or 'none'}"
        if layout:
            own = [one.row | {"event": layout.numbering.text(one.row["event"])} for one in found]
        else:
            own = [one.row for one in found if one.number is not None]
        problems += _differences(name, own, _events_at(target.log.run_connection(run_id), run_id))
        if target.log.is_run_sharded:
            index = sorted(_indexed(found), key=lambda row: row["id"])
            arrived_there = _events_at(target.log.index_connection(), run_id, INDEXED)
            problems += _differences(f"{name} in the index", map(_without_id, index), arrived_there)
    if problems:
        raise LabError(f"not everything arrived, so the lab stays where it is: {'; '.join(problems[:5])}")


def _differences(name: str, mine: Iterable[Row], theirs: Iterable[Row]) -> list[str]:
    """Name the first row that became another one, with the columns that differ; none if all are equal."""
    for number, (row, other) in enumerate(zip_longest(mine, theirs), start=1):
        if row is None or other is None:
            return [f"{name}: row {number:,} {'is not of the source' if row is None else 'is missing'}"]
        if row != other:
            columns = sorted(column for column in row if row[column] != other[column])
            return [f"{name}: row {number:,} differs in {', '.join(columns)}"]
    return []


def _events_at(
    connecting: AbstractContextManager[Connection], run_id: str, kinds: Collection[str] | None = None
) -> list[Row]:
    """Return the events of a run, without their numbers; of some types alone if they are given.

    A list and not an iterator: SQLite's storage admits one reader at a time; stopping at a difference would hold it.
    """
    return [
        _without_id(row)
        for row in events.rows(connecting, run_id)
        if kinds is None or row["dagster_event_type"] in kinds
    ]


def _without_id(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "id"}


def _contents(table: sa.Table, connect: Connect) -> Iterator[Row]:
    """Iterate over the rows of a table without their numbers, in the order of the numbers."""
    for rows in _rows(table, connect):
        for row in rows:
            del row["id"]
            yield row


def _rows(table: sa.Table, connect: Connect) -> Iterator[list[Row]]:
    last = -1
    while True:
        query = _unmarked(sa.select(table), table).where(table.c.id > last).order_by(table.c.id).limit(AT_ONCE)
        with connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        if not rows:
            return
        last = rows[-1]["id"]
        yield rows


def _count(table: sa.Table, connect: Connect) -> int:
    with connect() as connection:
        found: int = connection.scalar(_unmarked(sa.select(sa.func.count()).select_from(table), table)) or 0
        return found


def _unmarked(statement: S, table: sa.Table) -> S:
    return statement.where(table.c.key.not_in(MARKS)) if table is KeyValueStoreTable else statement
