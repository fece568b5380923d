"""Take a backup of a home while everything runs.

Each store can be read in one state of it. That the stores agree with one another depends on the order in which they are
read, because a run writes them in an order, too: what a store refers to is read after it, and was there before.

| read | because |
|---|---|
| inbox, then the lake | a file is in the lake before it leaves the inbox: it may be read twice, and is ingested once |
| schedules and sensors, then runs | a sensor moves on when its runs are recorded: it may ask again, by the same keys |
| runs, then the index of events, then their logs | a status is recorded when its events are |
| runs, then artifacts, strategies and keys | a run succeeds when all it left is there |
| statistics, not computed from before the first of these until they are read | they count recorded runs only |

What could be taken away in between is kept: runs and files of the lake are not deleted, statistics not replaced. So
that nobody waits for long, everything is read twice, first without that: the second time little is new.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from lab_pipeline import __version__
from lab_pipeline.backup import BackupError, DamagedBackupError, FileEntry, Repository, Snapshot
from lab_pipeline.backup.copying import Copier, with_logs
from lab_pipeline.backup.repository import LAYOUT, Progress, taken_at
from lab_pipeline.dagster_ext.worker_locks import workers_dir
from lab_pipeline.lake.inbox import DONE, REJECTED, TAKEN
from lab_pipeline.lake.tables import LAST_CHECKPOINT, LOG, TABLES
from lab_pipeline.operations.deletion_lock import nothing_deleted
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.legacy_import import LEGACY_TAG
from lab_pipeline.runs.artifact_storage import MANIFEST, STAGING
from lab_pipeline.runs.tags import BACKTEST_JOBS
from lab_pipeline.settings import Settings
from lab_pipeline.statistics.refreshing import alone
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.event_log_storage import EVENTS_DIRECTORY
from lab_pipeline.storage.internals import SqliteEventLogStorage, SqliteScheduleStorage
from lab_pipeline.storage.run_storage import DuckDBRunStorage

RUNS = "runs.duckdb"
INDEX = "index.db"
SCHEDULES = "schedules"
SQLITE = ".db"
LARGE_BYTES = 64 << 20
"""Of a database that takes so long to read that nobody should wait for all of it."""
OF_PROCESSES = (".lock", ".lock.gate", ".part")
"""How the names of files end that mean something to living processes only."""


@dataclass(frozen=True)
class Taken:
    """What was backed up.

    Attributes:
        name: of the snapshot.
        snapshot: itself.
        written: bytes of contents that were not there yet.
        freed: bytes of contents that went with older snapshots.
        without_artifacts: runs that succeeded and whose artifacts the lab itself has lost.
    """

    name: str
    snapshot: Snapshot
    written: int
    freed: int
    without_artifacts: list[str]


def take_backup(
    settings: Settings, directory: Path, *, keep: int | None = None, on_progress: Progress | None = None
) -> Taken:
    """Add a snapshot of the home to the backup in a directory.

    Args:
        settings: of the lab.
        directory: a backup, or where one is to be.
        keep: of the snapshots, only the newest so many; by default, all.
        on_progress: called with the files that were looked at, and all.

    Raises:
        BackupError: if that directory or this home cannot be used, or something in the home cannot be read.
        BucketError: if artifacts are in a bucket, which is not copied, and it does not say what there is.
    """
    directory = directory.absolute()
    _require_home(settings, directory)
    repository = Repository(directory)
    with repository.writing():
        before = _newest_files(repository)
        areas = _Areas(settings)
        total = sum(1 for _ in areas.files()) + len(areas.event_logs())
        on_file = _counter(2 * total, on_progress)
        ahead = Copier(repository, settings.home, before, on_file)
        _copy_ahead(ahead, areas)
        copier = Copier(repository, settings.home, before | ahead.files, on_file)
        with nothing_deleted(settings), alone(Lab(settings).statistics):
            moment = taken_at()
            runs, succeeded = _copy_all(copier, areas)
            published = set(Lab(settings).artifacts.run_ids()) if settings.artifacts else None
        snapshot = Snapshot(
            layout=LAYOUT,
            lab_version=__version__,
            created_at=moment,
            runs=len(runs),
            artifacts=settings.artifacts,
            files=tuple(sorted(copier.files.values(), key=lambda file: file.path)),
        )
        name = repository.add_snapshot(snapshot)
        freed = repository.keep(keep) if keep is not None else 0
    if published is None:
        published = {run for run in succeeded if copier.has(settings.artifacts_dir / run / MANIFEST)}
    lost = sorted(succeeded - published)
    return Taken(name, snapshot, sum(repository.written.values()), freed, lost)


def _require_home(settings: Settings, directory: Path) -> None:
    home = settings.home
    if not home.is_dir():
        raise BackupError(f"there is no lab at {home}: set LAB_HOME to the home that is to be backed up")
    real, real_home = directory.resolve(), home.resolve()
    if real.is_relative_to(real_home) or real_home.is_relative_to(real):
        raise BackupError(f"{directory} and the home {home} lie in one another: name a directory elsewhere")
    with Lab(settings) as lab:
        _require_files(settings, lab.instance)


def _require_files(settings: Settings, instance: dg.DagsterInstance) -> None:
    """Refuse what is not kept in files of the home, where the lab's own dagster.yaml has it."""
    wanted = {
        "runs": (instance.run_storage, DuckDBRunStorage),
        "events": (instance.event_log_storage, SqliteEventLogStorage),
        "schedules": (instance.schedule_storage, SqliteScheduleStorage),
    }
    for what, (storage, kind) in wanted.items():
        if not isinstance(storage, kind):
            raise BackupError(
                f"the {what} of this lab are kept in {type(storage).__name__}, which `lab backup` does not read: take "
                "a dump of that database (`pg_dump`) and then a copy of LAB_HOME, in this order"
            )
    runs, events = instance.run_storage, instance.event_log_storage
    assert isinstance(runs, DuckDBRunStorage)  # noqa: S101 - as was seen
    assert isinstance(events, SqliteEventLogStorage)  # noqa: S101 - as was seen
    places = (
        (runs.path, settings.dagster_home / RUNS),
        (Path(events.path_for_shard("index")), settings.dagster_home / EVENTS_DIRECTORY / INDEX),
    )
    for path, expected in places:
        if path.resolve() != expected.resolve():
            raise BackupError(f"{path} is kept elsewhere than in {expected}: `lab backup` copies what is in LAB_HOME")


def _newest_files(repository: Repository) -> dict[str, FileEntry]:
    """Return the files of the newest snapshot, which need not be read again while they stay as they are."""
    names = repository.snapshots()
    try:
        return {file.path: file for file in repository.read(names[-1]).files} if names else {}
    except DamagedBackupError:
        return {}


def _counter(total: int, on_progress: Progress | None) -> Callable[[], None]:
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(min(done, total), total)

    return count


def _copy_ahead(copier: Copier, areas: "_Areas") -> None:
    """Copy what will mostly be the same when it counts; a database that is soon read is read then only."""
    copier.copy(areas.files())
    for path in areas.event_logs():
        copier.copy_sqlite(path)
    for path in (*areas.schedules(), areas.events / INDEX):
        if _is_large(path):
            copier.copy_sqlite(path)
    for path in (areas.runs, areas.catalog):
        if _is_large(path):
            copier.copy(with_logs(path))  # perhaps in no state at all: its parts spare the copy that counts time


def _is_large(path: Path) -> bool:
    return path.exists() and path.stat().st_size > LARGE_BYTES


def _copy_all(copier: Copier, areas: "_Areas") -> tuple[set[str], set[str]]:
    """Copy everything in its order; return the runs on record, and the backtests among them that succeeded."""
    copier.copy(areas.inbox())
    copier.copy(areas.seen_calls())
    for path in areas.schedules():
        copier.copy_sqlite(path)
    earlier = {*areas.artifacts(), *areas.event_logs()}
    runs, succeeded = _copy_runs(copier, areas.runs)
    copier.copy_sqlite(areas.events / INDEX)
    for path in areas.event_logs():
        if path in earlier or path.name.removesuffix(SQLITE) in runs:  # others were asked for meanwhile
            copier.copy_sqlite(path)
    for path in areas.artifacts():
        if (path in earlier or path.name in runs) and not copier.copy(_files(path)):
            copier.forget(path)  # it was unpublished: its run was canceled or killed
    for path in areas.sweeps():
        if not copier.copy(_files(path)):
            copier.forget(path)  # it was deleted meanwhile
    if areas.catalog.exists():
        with copier.copy_duckdb(areas.catalog):
            pass
    copier.copy(areas.statistics())
    copier.copy(areas.lake_files())
    copier.copy(areas.rest())
    return runs, succeeded


def _copy_runs(copier: Copier, path: Path) -> tuple[set[str], set[str]]:
    with copier.copy_duckdb(path) as connection:
        runs = {run_id for (run_id,) in connection.execute("SELECT run_id FROM runs")}
        return runs, succeeded(connection)


def succeeded(connection: DuckConnection) -> set[str]:
    """Find the backtests that must have artifacts; what was taken over from the old lab has none."""
    found = connection.execute(
        "SELECT run_id FROM runs WHERE status = 'SUCCESS' AND list_contains(?, pipeline_name) "
        "AND run_id NOT IN (SELECT run_id FROM run_tags WHERE key = ?)",
        [list(BACKTEST_JOBS), LEGACY_TAG],
    )
    return {run_id for (run_id,) in found}


class _Areas:
    """What there is in a home, and of what kind it is."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.runs = settings.dagster_home / RUNS
        self.events = settings.dagster_home / EVENTS_DIRECTORY
        self.catalog = settings.catalog_path

    def files(self) -> Iterator[Path]:
        """List all that are no databases."""
        yield from self.inbox()
        yield from (file for directory in self.artifacts() for file in _files(directory))
        yield from (*self.sweeps(), *self.statistics(), *self.lake_files(), *self.rest())

    def inbox(self) -> Iterator[Path]:
        """List the files of the inbox in the order in which one goes through it; one outside of the home has none."""
        root = self._settings.inbox_dir
        if root.is_relative_to(self._settings.home):
            places = [root / name for name in (TAKEN, DONE, REJECTED)]
            yield from _files(root, without=places, as_dropped=True)
            for place in places:
                yield from _files(place, as_dropped=True)

    def seen_calls(self) -> Iterator[Path]:
        """List what cursors of sensors refer to; what is made while they are read is among the rest."""
        return _files(self._settings.dagster_home / "seen_calls")

    def schedules(self) -> list[Path]:
        """List the databases of schedules and sensors."""
        return sorted((self._settings.dagster_home / SCHEDULES).glob(f"*{SQLITE}"))

    def event_logs(self) -> list[Path]:
        """List the databases with the events of one run each."""
        return sorted(path for path in self.events.glob(f"*{SQLITE}") if path.name != INDEX)

    def artifacts(self) -> list[Path]:
        """List the directories of published runs."""
        root = self._settings.artifacts_dir
        return sorted(path for path in root.glob("*") if path.name != STAGING and path.is_dir())

    def sweeps(self) -> Iterator[Path]:
        """List the directories of sweeps; what unfinished ones have computed is not worth keeping.

        They are copied before the catalog, which knows of every look that a result was shown at.
        """
        directory = self._settings.sweeps_dir
        found = sorted(directory.iterdir()) if directory.is_dir() else []
        yield from (path for path in found if path.is_dir() and not path.name.startswith("."))

    def statistics(self) -> Iterator[Path]:
        """List the files that the catalog refers to."""
        return _files(self._settings.statistics_dir)

    def lake_files(self) -> Iterator[Path]:
        """List the files of the lake: logs first, since every file that they name is there before them."""
        root = self._settings.lake_dir
        logs = [root / table.name / LOG for table in TABLES]
        for log in logs:
            yield from (path for path in [log / LAST_CHECKPOINT] if path.exists())  # what it points to is there, too
            yield from (path for path in _files(log) if path.name != LAST_CHECKPOINT)
        yield from _files(root, without=logs)

    def rest(self) -> Iterator[Path]:
        """List all other files but those that other stores give again, or that are about processes of this machine."""
        settings = self._settings
        return _files(
            settings.home,
            without=(
                settings.inbox_dir,
                settings.artifacts_dir,
                settings.artifacts_cache_dir,
                settings.sweeps_dir,
                settings.statistics_dir,
                settings.lake_dir,
                settings.dagster_home / SCHEDULES,
                self.events,
                workers_dir(settings.dagster_home),
                *with_logs(self.runs),
                *with_logs(self.catalog),
                settings.clickhouse_dir,
                settings.scratch_dir,
                *(settings.home / name for name in ("cache", "locks", "logs")),
            ),
        )


def _files(root: Path, *, without: Sequence[Path] = (), as_dropped: bool = False) -> Iterator[Path]:
    """List the files under a directory, which need not exist.

    Args:
        root: the directory.
        without: what is left out.
        as_dropped: whether they are files of a user's, whatever they are called, in directories that are no links.
    """
    seen = set()
    for parent, directories, names in os.walk(root, onerror=_unless_gone, followlinks=not as_dropped):
        status = os.stat(parent)  # noqa: PTH116 - as os.walk has it
        if (status.st_dev, status.st_ino) in seen:  # a link leads back
            directories.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        directories[:] = [path.name for path in _children(parent, directories, without) if path.name != STAGING]
        for path in _children(parent, names, without):
            if as_dropped or not path.name.endswith(OF_PROCESSES):
                yield path


def _children(parent: str, names: Iterable[str], without: Sequence[Path]) -> list[Path]:
    return [path for name in sorted(names) if (path := Path(parent, name)) not in without]


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
