"""Which files only versions have that nobody needs any more."""

from collections.abc import Collection
from datetime import datetime

from lab_pipeline.lake import tables, versions
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.layout import Table
from lab_pipeline.lake.store import Store

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def unneeded(store: Store, before: datetime, kept: Collection[str], *, settled: datetime) -> dict[str, int]:
    """Return the bytes of files that no version has which is to be kept, by name.

    Kept are the version of the moment `settled` and all after it; of earlier ones the last of each hour for a day, and
    then the last of each day: every ingest leaves files of the size of what it changes, and some come by the minute.

    Args:
        store: of the lake.
        before: of versions that were replaced before this moment none is kept but the last.
        kept: names of versions that are kept all the same.
        settled: after `before`.
    """
    found = {}
    for number, table in enumerate(tables.TABLES):
        needed, committed = _needed(store, table, before, settled, {versions.parse(name)[number] for name in kept})
        for name, (size, changed) in store.found(table.name).items():
            if not name.endswith(".parquet") or f"/{tables.LOG}/" in name or name in needed:
                continue
            if changed < before or name in committed:  # else of a writer that is at work
                found[name] = size
    return found


def _needed(
    store: Store, table: Table, before: datetime, settled: datetime, kept: Collection[int]
) -> tuple[set[str], set[str]]:
    """Return the names of the files of versions that are kept, and of those that any version since `before` brought."""
    newest = tables.snapshot(store, table)
    told = {one["version"]: one["timestamp"] for one in tables.history(store, table)}
    base, still = (
        max((version for version, at in told.items() if at <= moment.timestamp() * 1000), default=0)
        for moment in (before, settled)
    )
    last = {_slot(told[version], settled): version for version in sorted(told) if base <= version <= still}
    needed = {file.name for file in newest.files}
    for version in {base, still, *last.values(), *kept}:
        try:
            needed |= {file.name for file in tables.snapshot(store, table, version).files}
        except LakeError:  # it went when it was not kept yet, or with the lake that a backup brought back
            continue
    brought = {version: tables.additions(store, table, version) for version in range(base + 1, newest.version + 1)}
    needed.update(name for version, names in brought.items() if version > still for name in names)
    return needed, {name for names in brought.values() for name in names}


def _slot(at_ms: int, settled: datetime) -> tuple[int, int]:
    """Return the hour of a version, or its day if that is long ago."""
    length = HOUR_MS if settled.timestamp() * 1000 - at_ms < DAY_MS else DAY_MS
    return length, at_ms // length
