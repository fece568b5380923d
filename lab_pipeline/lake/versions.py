"""Going back: which states the lake had, and by what name or time each is found.

A version of the lake is one of its candles and one of its calls, written `v12.5`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lab_pipeline.domain.backtest import LAKE_VERSION, iso, utc
from lab_pipeline.lake import damage, tables
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.store import Store


@dataclass(frozen=True)
class Version:
    """A state that the lake had.

    Attributes:
        name: such as `v12.5`.
        at: when it was committed.
        table: which changed.
        what: what was done.
        added: rows that came; null where it is not known.
        changed: rows that were replaced by others; likewise.
    """

    name: str
    at: datetime
    table: str
    what: str
    added: int | None
    changed: int | None


def named(candles: int, calls: int) -> str:
    """Return the name of a version of the lake.

    >>> named(12, 5)
    'v12.5'
    """
    return f"v{candles}.{calls}"


def parse(name: str) -> tuple[int, int]:
    """Return the versions of candles and calls of a name.

    Raises:
        LakeError: if it is none.
    """
    found = LAKE_VERSION.fullmatch(name)
    if found is None:
        raise LakeError(f"'{name}' is no version of the lake: they look like v12.5")
    return int(found[1]), int(found[2])


def find(store: Store, as_of: str) -> tuple[int, int]:
    """Return the versions of candles and calls that a name or a time means.

    Raises:
        LakeError: if there is no such version, or none from so early.
    """
    if LAKE_VERSION.fullmatch(as_of):
        found = parse(as_of)
        for table, version in zip(tables.TABLES, found, strict=True):
            tables.snapshot(store, table, version)
        return found
    try:
        moment = utc(datetime.fromisoformat(as_of))
    except ValueError:
        raise LakeError(f"'{as_of}' is neither a version of the lake, such as v12.5, nor a time (ISO 8601)") from None
    known = history(store)
    until = [version for version in known if version.at <= moment]
    if not until:
        first = f"the first is of {iso(known[0].at)}" if known else "it has none at all"
        raise LakeError(f"the lake has no version of {iso(moment)} or before: {first}")
    return parse(until[-1].name)


def history(store: Store) -> list[Version]:
    """List the versions of the lake, oldest first."""
    records = [
        (_moment(record), number, record)
        for number, table in enumerate(tables.TABLES)
        for record in tables.history(store, table)
    ]
    now = [0] * len(tables.TABLES)
    found = []
    for at, number, record in sorted(records, key=lambda one: (*one[:2], one[2]["version"])):
        now[number] = record["version"]
        what = str(record.get("what") or record["operation"].lower())
        name = tables.TABLES[number].name
        found.append(Version(named(*now), at, name, what, record.get("added"), record.get("changed")))
    return found


def is_kept(store: Store, version: Version) -> bool:
    """Return whether all files of a version are there, so that it can be read."""
    found = zip(tables.TABLES, parse(version.name), strict=True)
    files = [file for table, number in found for file in tables.snapshot(store, table, number).files]
    there = _there(store)
    return all(file.name in there for file in files) if there is not None else not damage.missed(store, files)


def _there(store: Store) -> Iterable[str] | None:
    """List all files of a bucket at once; of a directory they are asked for one by one."""
    if store.directory is not None:
        return None
    return {name for table in tables.TABLES for name in store.found(table.name)}


def _moment(record: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(record["timestamp"] / 1000, UTC)
