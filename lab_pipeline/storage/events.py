"""The event log of a Dagster instance as rows, whether it is one table or, as SQLite's, a file for each run.

In SQLite each run numbers its events from 1, and those of assets, checks and statuses of runs are kept a second time,
in an index that numbers them over all runs. Elsewhere all events of all runs are numbered together.
"""

import hashlib
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lab_pipeline.storage.internals import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    RUNLESS_RUN_ID,
    SqlEventLogStorage,
)
from lab_pipeline.storage.internals import SqlEventLogStorageTable as EventLogs
from lab_pipeline.storage.renumber import Numbering

Row = dict[str, Any]
AT_ONCE = 1_000
INDEXED = sorted(
    {kind.value for kind in (*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS)},
)


@dataclass(frozen=True)
class StoredEvent:
    """An event with its numbers.

    Attributes:
        row: its columns without a number.
        number: in the log of its run, if it is there.
        indexed: in the index of all runs, if it is there.
    """

    row: Row
    number: int | None
    indexed: int | None


def run_ids(log: SqlEventLogStorage) -> list[str]:
    """List the runs that have events, and the empty id of events that no run has."""
    if log.is_run_sharded:
        return sorted({*log.get_all_run_ids(), RUNLESS_RUN_ID})  # type: ignore[attr-defined]  # SQLite's
    with log.index_connection() as connection:
        return sorted(connection.scalars(sa.select(EventLogs.c.run_id).distinct()).all())


def count(log: SqlEventLogStorage) -> int:
    """Count all events."""
    if not log.is_run_sharded:
        return _count(log.index_connection())
    return sum(_count(log.run_connection(run_id)) for run_id in run_ids(log))


def wipe(log: SqlEventLogStorage) -> None:
    """Delete all events, those of no run included, which SQLite's storage overlooks."""
    log.wipe()
    with log.run_connection(RUNLESS_RUN_ID) as connection:
        connection.execute(EventLogs.delete())


def rows(connecting: AbstractContextManager[Connection], run_id: str) -> Iterator[Row]:
    """Iterate over the events of a run in one table, in order, with their numbers as `id`."""
    with connecting as connection:
        for values in _pages(connection, list(EventLogs.c), EventLogs.c.run_id == run_id):
            yield dict(zip(EventLogs.c.keys(), values, strict=True))


class EventReader:
    """Reads the events of an instance, run by run, with both of their numbers."""

    def __init__(self, log: SqlEventLogStorage) -> None:
        self._log = log
        self.index: list[int] = []
        """Numbers in the index, ascending."""
        self._of_run: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        text = EventLogs.c.event if log.is_run_sharded else sa.literal("")
        with log.index_connection() as connection:
            for number, run_id, event in _pages(connection, [EventLogs.c.id, EventLogs.c.run_id, text], _is_indexed()):
                self.index.append(number)
                if log.is_run_sharded:
                    self._of_run[run_id].append((number, _digest(event)))

    def run_ids(self) -> list[str]:
        """List the runs that have events anywhere."""
        return sorted({*run_ids(self._log), *self._of_run})

    def of_run(self, run_id: str) -> Iterator[StoredEvent]:
        """Iterate over the events of a run, in order."""
        if not self._log.is_run_sharded:
            for row in rows(self._log.run_connection(run_id), run_id):
                number = row.pop("id")
                yield StoredEvent(row, number, number if row["dagster_event_type"] in INDEXED else None)
            return
        waiting: dict[bytes, deque[int]] = defaultdict(deque)
        for number, digest in self._of_run.get(run_id, ()):
            waiting[digest].append(number)
        for row in rows(self._log.run_connection(run_id), run_id):
            again = waiting.get(_digest(row["event"])) if row["dagster_event_type"] in INDEXED else None
            yield StoredEvent(row, row.pop("id"), again.popleft() if again else None)
        for number in sorted(number for numbers in waiting.values() for number in numbers):
            yield self._only_indexed(number)

    def _only_indexed(self, number: int) -> StoredEvent:
        """Read an event that the log of its run has lost."""
        with self._log.index_connection() as connection:
            row = dict(connection.execute(sa.select(EventLogs).where(EventLogs.c.id == number)).mappings().one())
        del row["id"]
        return StoredEvent(row, None, number)


@dataclass
class Layout:
    """The numbers that events get where all runs are numbered together.

    The events of the index keep their order, and around them the events of each run keep theirs: what a run says
    between two indexed events is put right behind the first of them.
    """

    numbering: Numbering
    before: Counter[int] = field(default_factory=Counter)
    """Events of a run that come before its first indexed one, by that one."""
    end: int = 0

    @classmethod
    def of(cls, reader: EventReader) -> "Layout":
        """Lay out all events of a log; it reads them once."""
        before: Counter[int] = Counter()
        after: Counter[int] = Counter()
        for run_id in reader.run_ids():
            first, anchor = 0, None
            for event in reader.of_run(run_id):
                if event.indexed is not None:
                    if anchor is None:
                        before[event.indexed] = first
                    anchor = max(anchor or 0, event.indexed)
                elif anchor is None:
                    first += 1
                else:
                    after[anchor] += 1
        number, new = 0, []
        for indexed in reader.index:
            number += before[indexed] + 1
            new.append(number)
            number += after[indexed]
        return cls(Numbering(reader.index, new), before, number)

    def number(self, events: list[StoredEvent]) -> Iterator[tuple[int, Row]]:
        """Number the events of one run."""
        first = next((event.indexed for event in events if event.indexed is not None), None)
        if first is None:  # nobody looks for it but in its run
            for event in events:
                self.end += 1
                yield self.end, event.row
            return
        place = self.numbering.position(first) - self.before[first]
        anchor, used = None, Counter[int]()
        for event in events:
            if event.indexed is not None:
                anchor = max(anchor or 0, event.indexed)
                yield self.numbering.position(event.indexed), event.row
            elif anchor is None:
                yield place, event.row
                place += 1
            else:
                used[anchor] += 1
                yield self.numbering.position(anchor) + used[anchor], event.row


def _is_indexed() -> sa.ColumnElement[bool]:
    return EventLogs.c.dagster_event_type.in_(INDEXED)


def _pages(connection: Connection, columns: list[Any], condition: sa.ColumnElement[bool]) -> Iterator[tuple[Any, ...]]:
    """Iterate over rows by number, a page a query; the number is the first column."""
    last = -1
    while True:
        query = sa.select(*columns).where(condition, EventLogs.c.id > last).order_by(EventLogs.c.id).limit(AT_ONCE)
        rows = connection.execute(query).all()
        yield from map(tuple, rows)
        if len(rows) < AT_ONCE:
            return
        last = rows[-1][0]


def _count(connecting: Any) -> int:  # noqa: ANN401 - a context that Dagster gives no type
    with connecting as connection:
        found: int = connection.scalar(sa.select(sa.func.count()).select_from(EventLogs)) or 0
        return found


def _digest(event: str) -> bytes:
    return hashlib.blake2b(event.encode(), digest_size=16).digest()
