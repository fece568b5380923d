"""The statistics' tables in the catalog: what was computed, when, and from what."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from lab_pipeline.domain.errors import LabError, later_layout
from lab_pipeline.files.errors import StorageError
from lab_pipeline.statistics.queries import sql
from lab_pipeline.statistics.run_record import KNOWN
from lab_pipeline.statistics.segments import Segment
from lab_pipeline.storage.catalog_file import open_catalog, record_layout
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.duck_file import DuckFile

FORMAT = 4
"""Of the tables and files: those of an earlier one are computed again, those of a later one are left alone."""
TABLES = (
    "statistics_state",
    "statistics_segments",
    "statistics_runs",
    "statistics_overview",
    "statistics_pnl",
    "statistics_distribution",
    "statistics_correlation",
    "statistics_answers",
    "leaderboard_runs",
    "leaderboard_strategies",
    "leaderboard_callers",
)


class NotComputedError(LabError):
    """There are no statistics yet."""


@dataclass(frozen=True)
class CatalogState:
    """What the tables were computed from.

    Attributes:
        computed_at: when, UTC without a zone.
        source_hash: sha256 over the runs and their statuses.
        calls_file: name of the file with the sums per call.
        next_run_no: number of the next run that is added.
        segments: the columns of all counted runs.
    """

    computed_at: datetime
    source_hash: str
    calls_file: str
    next_run_no: int
    segments: tuple[Segment, ...]

    @property
    def files(self) -> list[str]:
        """Names of the files that it refers to."""
        return [self.calls_file, *(segment.name for segment in self.segments)]


@dataclass(frozen=True)
class Change:
    """What a computation does to the tables.

    Attributes:
        state: afterwards.
        forget: numbers of runs that are gone.
        unrecorded: ids of runs that are no longer on record, or are so in another way.
        moved: `run_id` and `directory` of runs that lie elsewhere than before, and are the same.
        replace: tables with all of their new rows.
        append: rows that come in addition.
        merge: rows that come in addition, in place of those with the same `group_by` and `key`.
    """

    state: CatalogState
    forget: set[int] = field(default_factory=set)
    unrecorded: Sequence[str] = ()
    moved: pa.Table | None = None
    replace: Mapping[str, pa.Table] = field(default_factory=dict)
    append: Mapping[str, pa.Table] = field(default_factory=dict)
    merge: Mapping[str, pa.Table] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalog:
    """The tables, in a DuckDB file that is shared with others."""

    path: Path

    def state(self) -> CatalogState | None:
        """Return what the tables were computed from; none if they were not, or by an earlier version."""
        if not DuckFile.at(self.path).exists():
            return None
        with open_catalog(self.path).transaction(write=False) as connection:
            return read_state(connection)

    @contextmanager
    def reading(self) -> Iterator[tuple[DuckConnection, CatalogState]]:
        """Read several tables in one state.

        Raises:
            NotComputedError: if there are none.
        """
        if DuckFile.at(self.path).exists():
            with open_catalog(self.path).transaction(write=False) as connection:
                state = read_state(connection)
                if state is not None:
                    yield connection, state
                    return
        raise NotComputedError(
            "there are no statistics yet: `lab statistics --refresh` computes them, and `lab up` in its first minute"
        )

    def run_records(self) -> pl.DataFrame:
        """Return the runs that were on record when the tables were computed: columns of `KNOWN`."""
        try:
            with self.reading() as (connection, _):
                rows = read_table(connection, f"SELECT {', '.join(KNOWN)} FROM statistics_runs")  # noqa: S608 - our own
                return pl.DataFrame(rows, schema=KNOWN)
        except NotComputedError:
            return KNOWN.to_frame()

    def apply(self, change: Change) -> None:
        """Write a change in one transaction."""
        with open_catalog(self.path).transaction(write=True) as connection:
            record_layout(connection, self.path)
            if read_state(connection) is None:
                for table in TABLES:
                    connection.execute(f"DROP TABLE IF EXISTS {table}")
                connection.raw.execute(sql("create_tables"))
            if change.forget:
                gone = ", ".join(map(str, sorted(change.forget)))
                connection.execute(f"DELETE FROM leaderboard_runs WHERE run_no IN ({gone})")  # noqa: S608 - numbers
            if change.unrecorded:
                with showing(connection, {"incoming": pa.table({"run_id": change.unrecorded})}):
                    connection.execute("DELETE FROM statistics_runs WHERE run_id IN (SELECT run_id FROM incoming)")
            if change.moved:
                with showing(connection, {"incoming": change.moved}):
                    connection.execute(
                        "UPDATE leaderboard_runs SET directory = incoming.directory FROM incoming "
                        "WHERE leaderboard_runs.run_id = incoming.run_id"
                    )
            for table, rows in change.replace.items():
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
                insert(connection, table, rows)
            for table, rows in change.append.items():
                insert(connection, table, rows)
            for table, rows in change.merge.items():
                with showing(connection, {"incoming": rows.select(["group_by", "key"])}):
                    connection.execute(f"DELETE FROM {table} WHERE (group_by, key) IN (FROM incoming)")  # noqa: S608
                insert(connection, table, rows)
            connection.execute("DELETE FROM statistics_answers")
            _write_state(connection, change.state)


def insert(connection: DuckConnection, table: str, rows: pa.Table) -> None:
    """Append rows, whose columns are those of the table, in any order."""
    with showing(connection, {"incoming": rows}):
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")  # noqa: S608 - our own names


@contextmanager
def showing(connection: DuckConnection, tables: Mapping[str, pa.Table]) -> Iterator[None]:
    """Make rows readable under names."""
    for name, rows in tables.items():
        connection.raw.register(name, rows)
    try:
        yield
    finally:
        for name in tables:
            connection.raw.unregister(name)


def read_table(connection: DuckConnection, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> pa.Table:
    """Return the rows of a query."""
    return connection.raw.sql(query, params=parameters or None).to_arrow_table()


def read_state(connection: DuckConnection) -> CatalogState | None:
    """Return the state in this transaction; none if there is none yet, or one of an earlier version.

    Raises:
        StorageError: a later version of the lab has written it.
    """
    if not connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'statistics_state'"):
        return None
    ((written,),) = connection.execute("SELECT max(format) FROM statistics_state")
    if written is None or written < FORMAT:
        return None
    if written > FORMAT:
        raise StorageError(later_layout("the record of statistics", written, FORMAT))
    found = connection.execute("SELECT computed_at, source_hash, calls_file, next_run_no FROM statistics_state")
    segments = connection.execute("SELECT name, trades FROM statistics_segments ORDER BY rowid")
    computed_at, source_hash, calls_file, next_run_no = found[0]
    kept = tuple(Segment(*row) for row in segments)
    return CatalogState(computed_at, source_hash, calls_file, next_run_no, kept)


def _write_state(connection: DuckConnection, state: CatalogState) -> None:
    connection.execute("DELETE FROM statistics_state")
    connection.execute(
        "INSERT INTO statistics_state VALUES (?, ?, ?, ?, ?)",
        [FORMAT, state.computed_at, state.source_hash, state.calls_file, state.next_run_no],
    )
    connection.execute("DELETE FROM statistics_segments")
    for segment in state.segments:
        connection.execute("INSERT INTO statistics_segments VALUES (?, ?)", [segment.name, segment.trades])
