"""Taking in a lake whose rows lie in the same files, but without tables: of layout 1, or of none.

Its files stay where they are and get a log that names them. The record of the layout is written last: a process that
is killed before leaves what it began to be begun anew.
"""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain.errors import later_layout
from lab_pipeline.files import atomic
from lab_pipeline.files.locks import locked
from lab_pipeline.lake import tables
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.layout import CALLS, CANDLES, Table
from lab_pipeline.lake.store import Store

LAYOUT_FILE = ".layout"
LAYOUT = 2
"""Of everything under the root: names, partitions, columns, logs."""
RECORD, INVENTORY, READ_LOCK = ".commit.json", ".parts.json", ".lock"
"""Of layout 1: a commit that is to be carried out, the files it has, a lock of readers."""
PART_FILES = "part-*.parquet"
_known: set[str] = set()
"""Buckets whose layout was read: they are as this version or a later one made them, and it costs a request."""


def require_layout(store: Store, *, writing: bool = False) -> None:
    """Require that the lake is of this layout; one of an earlier one is taken in.

    Args:
        store: of the lake, which need not be there.
        writing: whether the caller has the writer's lock; a new lake gets its record then.

    Raises:
        LakeError: if it is of a later layout, or its record cannot be read.
    """
    if store.root in _known:
        return
    layout = _layout(store)
    if layout == LAYOUT:
        if store.directory is None:
            _known.add(store.root)
        return
    if layout > LAYOUT:
        raise LakeError(later_layout(f"the lake {store.root}", layout, LAYOUT))
    if not writing:
        if store.directory is not None and _has_rows(store.directory):
            with locked(store.directory / ".writer.lock"):
                require_layout(store, writing=True)
        return
    if store.directory is not None and _has_rows(store.directory):
        _adopt(store, store.directory)
    store.write(LAYOUT_FILE, f"{LAYOUT}\n".encode())
    if store.directory is not None:
        for name in (INVENTORY, READ_LOCK):
            (store.directory / name).unlink(missing_ok=True)


def _layout(store: Store) -> int:
    content = store.read(LAYOUT_FILE)
    if content is None:
        return 0
    try:
        return int(content)
    except ValueError:
        raise LakeError(
            f"{store.place(LAYOUT_FILE)} is damaged: it must hold the number of the lake's layout, which this version "
            f"writes as {LAYOUT}. If no later one has written the lake: `echo {LAYOUT} > '{store.place(LAYOUT_FILE)}'`"
        ) from None


def _has_rows(root: Path) -> bool:
    return (root / RECORD).exists() or any((root / table.name).is_dir() for table in tables.TABLES)


def _adopt(store: Store, root: Path) -> None:
    _carry_out(root)
    recorded = _recorded(root)
    for table in tables.TABLES:
        shutil.rmtree(root / table.name / tables.LOG, ignore_errors=True)
        found = {
            path.relative_to(root).as_posix(): path.stat().st_size for path in (root / table.name).rglob(PART_FILES)
        }
        named = {name: size for name, size in recorded.items() if name.startswith(f"{table.name}/")}
        files = (found | named) if recorded else found  # of what is lost the log says so, too
        atomic.make_directory(root / table.name)
        tables.forget(store)
        tables.create(store, table, [_addition(root, table, name, size) for name, size in sorted(files.items())])


def _carry_out(root: Path) -> None:
    """Finish a commit that a process of an earlier version was killed in; doing a part of it twice does no harm."""
    try:
        record = json.loads((root / RECORD).read_bytes())
    except FileNotFoundError:
        return
    for source, target in record["moves"]:
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        if (root / source).exists():
            (root / source).replace(root / target)
    for name in record["removals"]:
        (root / name).unlink(missing_ok=True)
    (root / RECORD).unlink()
    atomic.sync_directory(root)


def _recorded(root: Path) -> dict[str, int]:
    try:
        found = json.loads((root / INVENTORY).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(size, int) for size in found.values())
    return found if whole else {}


def _addition(root: Path, table: Table, name: str, size: int) -> tables.Addition:
    parts = dict(part.split("=") for part in name.split("/") if "=" in part)
    values = {key: str(int(value)) if key == "mint_bucket" else value for key, value in parts.items()}
    return tables.Addition(name.removeprefix(f"{table.name}/"), size, values, _statistics(root / name, table))


def _statistics(path: Path, table: Table) -> dict[str, object]:
    """Read from a file's footer what the log says of its rows; nothing of a file that cannot be opened."""
    try:
        file = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return {}
    names = file.schema.names
    groups = [file.row_group(number) for number in range(file.num_row_groups)]
    silent = file.num_rows
    if table is CANDLES and tables.LIQUIDITY in names:
        silent = pq.read_table(path, columns=[tables.LIQUIDITY])[tables.LIQUIDITY].null_count
    if not groups:
        return tables.told(0, table, ("", ""), (0, 0), silent)
    bounds = [group.column(names.index(table.time)).statistics for group in groups]
    if table is CALLS:
        mints = sorted(pq.read_table(path, columns=["mint"])["mint"].unique().to_pylist())
    else:
        of_mints = [group.column(names.index("mint")).statistics for group in groups]
        mints = sorted(text for one in of_mints for text in (one.min, one.max))
    times = [round(moment.timestamp() * 1000) for one in bounds for moment in (one.min, one.max)]
    return tables.told(file.num_rows, table, (mints[0], mints[-1]), (min(times), max(times)), silent)
