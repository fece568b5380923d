"""Which files only versions have that nobody needs any more."""

import json
from collections.abc import Collection
from datetime import datetime

from lab_pipeline.lake import tables, versions
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.layout import Table
from lab_pipeline.lake.store import Store


def unneeded(store: Store, before: datetime, kept: Collection[str]) -> dict[str, int]:
    """Return the bytes of files that no version has which is to be kept, by name.

    Kept are the version of that moment and all after it. Files of writers that are at work are younger.

    Args:
        store: of the lake.
        before: versions that were replaced before this moment are not kept.
        kept: names of versions that are kept all the same.
    """
    found = {}
    for number, table in enumerate(tables.TABLES):
        needed = _needed(store, table, before, {versions.parse(name)[number] for name in kept})
        for name, (size, changed) in store.found(table.name).items():
            if name.endswith(".parquet") and f"/{tables.LOG}/" not in name and changed < before and name not in needed:
                found[name] = size
    return found


def _needed(store: Store, table: Table, before: datetime, kept: Collection[int]) -> set[str]:
    """Return the names of the files of versions that are kept."""
    newest = tables.snapshot(store, table)
    base = max((version for version, at in tables.times(store, table) if at <= before), default=0)
    needed = {file.name for file in newest.files}
    for version in {base, *kept}:
        try:
            needed |= {file.name for file in tables.snapshot(store, table, version).files}
        except LakeError:  # it went when it was not kept yet, or with the lake that a backup brought back
            continue
    for version in range(base + 1, newest.version + 1):
        for line in (store.read(tables.record(table, version)) or b"").splitlines():
            action = json.loads(line)
            if "add" in action:
                needed.add(f"{table.name}/{action['add']['path']}")
    return needed
