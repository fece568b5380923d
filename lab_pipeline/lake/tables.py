"""The lake's two open tables (Delta Lake): which files each version of them has, and commits.

The log names every file with its rows and with the least and the greatest of what rows are sorted by, so that reads are
planned without opening files. A version that was read once is remembered: whether it is still the newest costs a look
at two names.
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction

from lab_pipeline.domain import frames
from lab_pipeline.files import atomic
from lab_pipeline.lake.errors import LakeDamagedError, LakeError
from lab_pipeline.lake.layout import CALLS, CANDLES, Table
from lab_pipeline.lake.store import Store, unreachable

LOG, LAST_CHECKPOINT = "_delta_log", "_last_checkpoint"
CONFIGURATION = {
    "delta.checkpointInterval": "10",  # few commits to read one by one as the table is opened
    "delta.enableExpiredLogCleanup": "false",  # retention decides which versions go, not their age alone
}
PARTITIONS = {CANDLES.name: ("timeframe", "mint_bucket"), CALLS.name: ()}
TABLES = (CANDLES, CALLS)
LIQUIDITY = "liquidity"
REMEMBERED = 64
"""Versions."""


class Overtaken(Exception):  # noqa: N818 - a turn of events, which nobody is shown
    """Another writer committed first: what was merged with the version before has to be merged anew."""


@dataclass(frozen=True)
class DataFile:
    """A file of a version of a table.

    Attributes:
        name: in the lake.
        size: in bytes.
        rows: how many it has.
        mints: the least and the greatest.
        times: likewise of the column that orders them, milliseconds since the epoch.
        timeframe: length of its candles; empty of calls.
        bucket: of its mints; 0 of calls.
        liquidity: whether one of its candles says what the pool holds.
    """

    name: str
    size: int
    rows: int
    mints: tuple[str, str]
    times: tuple[int, int]
    timeframe: str = ""
    bucket: int = 0
    liquidity: bool = False

    @property
    def stem(self) -> str:
        """Its name, which no other file ever has, without directory and ending."""
        return self.name.rpartition("/")[2].removesuffix(".parquet")


@dataclass(frozen=True)
class Snapshot:
    """A version of a table, with its files by partition; version 0 without files where there is no table yet."""

    version: int = 0
    files: tuple[DataFile, ...] = ()

    @cached_property
    def by_timeframe(self) -> Mapping[str, Mapping[int, tuple[DataFile, ...]]]:
        """The files of candles by their length and mint bucket, ascending by bucket."""
        found: dict[str, dict[int, tuple[DataFile, ...]]] = {}
        for file in self.files:
            buckets = found.setdefault(file.timeframe, {})
            buckets[file.bucket] = (*buckets.get(file.bucket, ()), file)
        return found


@dataclass(frozen=True)
class Addition:
    """A new file of a table, which is in its place.

    Attributes:
        name: in the table's directory.
        size: in bytes.
        values: of its partition.
        statistics: as `statistics` makes them.
    """

    name: str
    size: int
    values: Mapping[str, str]
    statistics: Mapping[str, Any]

    def action(self) -> AddAction:
        """Return what the log says of it."""
        return AddAction(self.name, self.size, self.values, _now_ms(), True, json.dumps(self.statistics))  # noqa: FBT003


@dataclass
class _Opened:
    """A version that was read, and what its record in the log looked like then."""

    seen: tuple[int, int] | None
    table: DeltaTable
    snapshot: Snapshot


@dataclass
class _Memory:
    """What this process knows of tables."""

    guard: threading.RLock = field(default_factory=threading.RLock)
    newest: dict[tuple[str, str], _Opened] = field(default_factory=dict)
    older: dict[tuple[str, str, int], _Opened] = field(default_factory=dict)


_memory = _Memory()


def partition_of(table: Table, values: Mapping[str, str]) -> str:
    """Return the directory of a partition in that of its table, `/` at its end; empty for calls.

    >>> partition_of(CANDLES, {"timeframe": "1m", "mint_bucket": "5"})
    'timeframe=1m/mint_bucket=05/'
    """
    if table is CALLS:
        return ""
    return f"timeframe={values['timeframe']}/mint_bucket={int(values['mint_bucket']):02d}/"


def statistics(rows: pl.DataFrame, table: Table) -> dict[str, Any]:
    """Return what the log is told of rows: their number, their first and last mints and times, known liquidity."""
    time = table.time
    silent = rows[LIQUIDITY].null_count() if LIQUIDITY in rows.columns else len(rows)
    mints, times = rows["mint"].cast(pl.String), rows[time].to_physical()
    return told(len(rows), table, (mints.min(), mints.max()), (times.min(), times.max()), silent)


def told(rows: int, table: Table, mints: tuple[Any, Any], times: tuple[Any, Any], silent: int) -> dict[str, Any]:
    """Write statistics as the log has them.

    Args:
        rows: how many.
        table: that they are of.
        mints: the least and the greatest.
        times: likewise, in milliseconds since the epoch.
        silent: how many say nothing of the pool.
    """
    first, last = (_iso(moment) for moment in times)
    of_pool = {"nullCount": {LIQUIDITY: silent}} if table is CANDLES else {}
    return {
        "numRecords": rows,
        "minValues": {"mint": mints[0], table.time: first},
        "maxValues": {"mint": mints[1], table.time: last},
        **of_pool,
    }


def snapshot(store: Store, table: Table, version: int | None = None) -> Snapshot:
    """Return a version of a table, the newest by default.

    Raises:
        LakeError: if there is no such version, or the store does not answer; LakeDamagedError if the log is damaged.
    """
    with _memory.guard:
        if version is not None:
            return _older(store, table, version)
        opened = _newest(store, table)
        return Snapshot() if opened is None else opened.snapshot


def create(store: Store, table: Table, additions: Sequence[Addition] = ()) -> None:
    """Make a table that is not there; another writer may be faster."""
    with _explained(store, table):
        made = DeltaTable.create(
            _uri(store, table),
            _schema(table),
            mode="ignore",
            partition_by=list(PARTITIONS[table.name]),
            configuration=CONFIGURATION,
            storage_options=store.options,
        )
        if additions:
            _write(made, table, [one.action() for one in additions], {"what": "adopt"})
        _settle(store, table, made.version() + 1)


def commit(
    store: Store,
    table: Table,
    base: int,
    added: Sequence[Addition],
    removed: Iterable[DataFile],
    *,
    note: Mapping[str, Any],
) -> int:
    """Replace files of a table by others, all of it or nothing.

    Args:
        store: that has the new files already.
        table: of which there is a version at least.
        base: the version that they were merged with.
        added: the new files.
        removed: files of that version.
        note: what the history says of it.

    Returns:
        The new version.

    Raises:
        Overtaken: if there is a newer version than `base`; nothing was changed.
    """
    with _memory.guard, _explained(store, table):
        opened = _newest(store, table)
        if opened is None or opened.snapshot.version != base:
            raise Overtaken
        now = _now_ms()
        prefix = f"{table.name}/"
        removals = [
            RemoveAction(
                path=file.name.removeprefix(prefix),
                data_change=True,
                deletion_timestamp=now,
                size=file.size,
                partition_values=_values(table, file),
            )
            for file in removed
        ]
        del _memory.newest[store.root, table.name]  # it is told of the commit, and must not be taken for the one before
        there = {one.name for one in opened.table.schema().fields}
        if missing := [one for one in _schema(table).fields if one.name not in there]:
            opened.table.alter.add_columns(missing)
            _settle(store, table, base := base + 1)
        _write(opened.table, table, [*(one.action() for one in added), *removals], note)
        _settle(store, table, base + 1)
        return base + 1


def history(store: Store, table: Table) -> list[dict[str, Any]]:
    """Return what every version says of itself, oldest first: `version`, `timestamp` (ms), the note it was given."""
    with _memory.guard, _explained(store, table):
        opened = _newest(store, table)
        return [] if opened is None else list(reversed(opened.table.history()))


def times(store: Store, table: Table) -> list[tuple[int, datetime]]:
    """Return all versions with their times, oldest first."""
    return [(one["version"], datetime.fromtimestamp(one["timestamp"] / 1000, UTC)) for one in history(store, table)]


def is_committed(store: Store, table: Table, version: int, name: str) -> bool:
    """Return whether a version of a table is there and was committed under a name."""
    content = store.read(record(table, version))
    return content is not None and name.encode() in content


def put_aside_unreadable(store: Store, table: Table) -> list[str]:
    """Take the last records off a log until it can be opened, and return what was said of each."""
    said: list[str] = []
    while True:
        try:
            snapshot(store, table)
        except LakeDamagedError as error:
            names = store.found(f"{table.name}/{LOG}")
            records = sorted(name for name in names if name.endswith((".json", ".parquet")))
            if not records:
                return said
            store.write(f"{records[-1]}.damaged", store.read(records[-1]) or b"")
            store.remove(records[-1])
            store.remove(f"{table.name}/{LOG}/{LAST_CHECKPOINT}")
            said.append(f"{store.place(records[-1])} was put aside: {error}")
        else:
            return said


def forget(store: Store) -> None:
    """Forget what is remembered of tables that were changed without a commit."""
    with _memory.guard:
        for table in TABLES:
            _memory.newest.pop((store.root, table.name), None)


def _newest(store: Store, table: Table) -> _Opened | None:
    key = store.root, table.name
    known = _memory.newest.get(key)
    if known is not None and _is_newest(store, table, known):
        return known
    with _explained(store, table):
        if known is not None and store.directory is None:
            known.table.update_incremental()
            if known.table.version() == known.snapshot.version:
                return known
        try:
            opened = DeltaTable(_uri(store, table), storage_options=store.options)
        except TableNotFoundError:
            _memory.newest.pop(key, None)
            return None
        found = _opened(store, table, opened)
    if len(_memory.newest) > REMEMBERED:
        _memory.newest.clear()
    _memory.newest[key] = found
    return found


def _is_newest(store: Store, table: Table, known: _Opened) -> bool:
    """Tell without opening the table, where that is possible, that a version is still the newest."""
    if store.directory is None:
        return False
    version = known.snapshot.version
    return _seen(store, table, version) == known.seen and _seen(store, table, version + 1) is None


def _older(store: Store, table: Table, version: int) -> Snapshot:
    newest = _newest(store, table)
    last = 0 if newest is None else newest.snapshot.version
    if version > last:
        raise LakeError(f"the lake has no version {version} of its {table.name}: the newest is {last}")
    if newest is None:
        return Snapshot()
    if version == last:
        return newest.snapshot
    key = store.root, table.name, version
    known = _memory.older.get(key)
    if known is not None and known.seen == _seen(store, table, version):
        return known.snapshot
    with _explained(store, table):
        found = _opened(store, table, DeltaTable(_uri(store, table), version, storage_options=store.options))
    if len(_memory.older) > REMEMBERED:
        _memory.older.clear()
    _memory.older[key] = found
    return found.snapshot


def _opened(store: Store, table: Table, opened: DeltaTable) -> _Opened:
    version = opened.version()
    if store.size(record(table, version)) == 0:
        raise DeltaError(f"{store.place(record(table, version))} is empty")  # the library takes it for no change
    return _Opened(_seen(store, table, version), opened, Snapshot(version, tuple(_files(table, opened))))


def _files(table: Table, opened: DeltaTable) -> Iterator[DataFile]:
    actions = pa.table(opened.get_add_actions(flatten=True))
    if not len(actions):
        return
    count = len(actions)
    there = set(actions.column_names)

    def column(name: str, default: object) -> list[Any]:
        if name not in there:
            return [default] * count
        values = actions.column(name)
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
        return [default if value is None else value for value in values.to_pylist()]

    time = table.time
    columns = zip(
        column("path", ""),
        column("size_bytes", 0),
        column("num_records", 0),
        column("min.mint", ""),
        column("max.mint", "\U0010ffff"),
        column(f"min.{time}", 0),
        column(f"max.{time}", _END_MS),
        column("partition.timeframe", ""),
        column("partition.mint_bucket", 0),
        column(f"null_count.{LIQUIDITY}", 0),
        strict=True,
    )
    for path, size, rows, least, most, first, last, timeframe, bucket, silent in sorted(columns, key=_by_partition):
        of_pool = table is CANDLES and silent < rows
        yield DataFile(f"{table.name}/{path}", size, rows, (least, most), (first, last), timeframe, bucket, of_pool)


def _by_partition(columns: tuple[Any, ...]) -> tuple[str, int, str]:
    return columns[7], columns[8], columns[0]


def _write(opened: DeltaTable, table: Table, actions: list[AddAction | RemoveAction], note: Mapping[str, Any]) -> None:
    properties = CommitProperties(custom_metadata=dict(note), max_commit_retries=0)  # a file may not be added blindly
    try:
        opened.create_write_transaction(
            actions, "append", _schema(table), list(PARTITIONS[table.name]), commit_properties=properties
        )
    except CommitFailedError as error:
        raise Overtaken from error


def _settle(store: Store, table: Table, version: int) -> None:
    """Wait until the disk has the record of a version, which the library does not."""
    if store.directory is not None:
        path = store.directory / record(table, version)
        if path.exists():
            atomic.sync_file(path)
        atomic.sync_directory(path.parent)


def _schema(table: Table) -> DeltaSchema:
    types = {
        pl.String(): pa.string(),
        pl.Float64(): pa.float64(),
        frames.TIMESTAMP: pa.timestamp("us", "UTC"),
        pl.List(pl.Float64()): pa.list_(pa.float64()),
    }
    columns = [pa.field(name, types[dtype], nullable=name in table.options) for name, dtype in table.types.items()]
    kinds = {"timeframe": pa.string(), "mint_bucket": pa.int32()}
    columns += [pa.field(name, kinds[name], nullable=False) for name in PARTITIONS[table.name]]
    return DeltaSchema.from_arrow(pa.schema(columns))


def _values(table: Table, file: DataFile) -> dict[str, str | None]:
    return {} if table is CALLS else {"timeframe": file.timeframe, "mint_bucket": str(file.bucket)}


def _uri(store: Store, table: Table) -> str:
    return store.place(table.name)


def record(table: Table, version: int) -> str:
    """Return under which name the log has a version."""
    return f"{table.name}/{LOG}/{version:020d}.json"


def _seen(store: Store, table: Table, version: int) -> tuple[int, int] | None:
    """Look at the record of a version, in a directory: which file it is, and of when."""
    if store.directory is None:
        return None
    try:
        found = os.stat(store.place(record(table, version)))  # noqa: PTH116 - quicker, and each read begins with two
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns


@contextmanager
def _explained(store: Store, table: Table) -> Iterator[None]:
    """Say in the lab's words why a table cannot be opened or committed to."""
    try:
        yield
    except (DeltaError, OSError) as error:
        if isinstance(error, OSError) or "Generic S3 error" in str(error):
            if store.directory is None:
                raise LakeError(unreachable(store, error)) from error
            raise
        raise LakeDamagedError(
            f"the log of the lake's {table.name} ({store.place(f'{table.name}/{LOG}')}) cannot be read: "
            f"{str(error).splitlines()[0]}. `lab restore` brings it back from a backup; `lab lake repair` goes on "
            "without what was committed last"
        ) from error


def _iso(moment_ms: int) -> str:
    moment = datetime.fromtimestamp(moment_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment_ms % 1000:03d}Z"


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


_END_MS = int(frames.END.timestamp() * 1000)
