"""What to say of files that are lost or damaged, and how to go on without them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.lake import commit, tables
from lab_pipeline.lake.errors import LakeDamagedError, LakeError
from lab_pipeline.lake.store import Store, unreachable
from lab_pipeline.lake.tables import DataFile

UNREADABLE = (pa.ArrowException, pl.exceptions.PolarsError, OSError)
SHOWN = 3
REMEDY = (
    "`lab restore` brings them back from a backup; `lab lake repair` goes on without, and their rows' files can be "
    "ingested again"
)
GONE = "its files went after LAB_KEEP_LAKE_DAYS. `lab lake history` lists what there is"


def require_whole(store: Store, files: Sequence[DataFile]) -> None:
    """Require that no file of a version is lost or cut; in a bucket, whoever opens one finds out.

    Raises:
        LakeDamagedError: naming them; LakeError if they were of a version that the lake no longer keeps.
    """
    if store.directory is not None and (problems := missed(store, files)):
        raise _damage(store, problems)


def damage(store: Store) -> list[str]:
    """Say of each file of the newest version that is lost or cannot be opened what it is."""
    return list(_problems(store, _newest(store)).values())


def damaged_rows(store: Store, name: str) -> LakeDamagedError:
    """Say that a file can be read, but that its rows are not those that were written."""
    return LakeDamagedError(f"{store.place(name)} is damaged (its checksum does not hold), its rows are lost: {REMEDY}")


@contextmanager
def explained(store: Store, files: Sequence[DataFile]) -> Iterator[None]:
    """Name the damaged files, of those that are read, if that is why rows cannot be read."""
    try:
        yield
    except UNREADABLE as error:
        if store.directory is None and isinstance(error, OSError) and "AWS Error" in str(error):
            raise LakeError(unreachable(store, error)) from error
        problems = _problems(store, files)
        if not problems and len(files) == 1:  # what is damaged lies between its ends
            problems = {files[0].name: _damaged(store, files[0], error)}
        if not problems:
            raise
        raise _damage(store, problems) from error


def repair(store: Store) -> list[str]:
    """Take what is lost or damaged off the newest version, and return what was said of each file.

    A record of the log that cannot be read is put aside, under a name of its own, with all that follow it.
    """
    done = [said for table in tables.TABLES for said in tables.put_aside_unreadable(store, table)]
    with commit.writing(store) as transaction:
        for table in tables.TABLES:
            base = transaction.base(table)
            if problems := _problems(store, base.files):
                lost = [file for file in base.files if file.name in problems]
                tables.commit(store, table, base.version, [], lost, note={"what": f"repair: {len(lost)} files lost"})
                done += problems.values()
    return done


def _newest(store: Store) -> list[DataFile]:
    return [file for table in tables.TABLES for file in tables.snapshot(store, table).files]


def _damage(store: Store, problems: Mapping[str, str]) -> LakeError:
    newest = {file.name for file in _newest(store)}
    if newest.isdisjoint(problems) and all(store.size(name) is None for name in problems):
        return LakeError(f"this version of the lake is there no longer: {GONE}")
    return LakeDamagedError(f"{'; '.join(list(problems.values())[:SHOWN])}: {REMEDY}")


def _problems(store: Store, files: Sequence[DataFile]) -> dict[str, str]:
    problems = missed(store, files)
    for file in files:
        if file.name not in problems:
            try:
                with store.open(file.name) as opened:
                    pq.read_metadata(opened)
            except UNREADABLE as error:
                problems[file.name] = _damaged(store, file, error)
    return problems


def missed(store: Store, files: Sequence[DataFile]) -> dict[str, str]:
    """Say of each file that is lost or cut what it is, by its name."""
    problems = {}
    for file in files:
        size = store.size(file.name)
        if size is None:
            problems[file.name] = f"{store.place(file.name)} is lost, with its rows"
        elif size != file.size:
            problems[file.name] = (
                f"{store.place(file.name)} is damaged ({size:,} of {file.size:,} bytes), its rows are lost"
            )
    return problems


def _damaged(store: Store, file: DataFile, error: Exception) -> str:
    return f"{store.place(file.name)} is damaged ({str(error).splitlines()[0]}), its rows are lost"
