"""The backtests that Dagster has run, runs or will run, as people and clients of the lab see them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property, lru_cache
from typing import Any

import dagster as dg
import polars as pl
import sqlalchemy as sa
from dagster_shared.serdes import deserialize_value

from lab_pipeline.dagster_ext.failure_reason import failure_reason
from lab_pipeline.dagster_ext.internals import FINISHED_STATUSES
from lab_pipeline.dagster_ext.run_coordinator import is_backtest
from lab_pipeline.domain.enums import RunStatus
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.model import to_camel_keys
from lab_pipeline.operations.notes import Notes
from lab_pipeline.runs.artifacts import (
    ArtifactStore,
    Manifest,
    UnknownRunError,
    UnreadableManifestError,
)
from lab_pipeline.runs.published import PublishedRun, PublishedRuns
from lab_pipeline.runs.tags import (
    ASSET_JOB,
    BACKTEST_ASSETS,
    BACKTEST_JOBS,
    FINGERPRINT_TAG,
    STATUSES,
    asked_fields,
    recorded,
    status_of,
)
from lab_pipeline.storage.internals import RunsTable, RunTagsTable, SqlRunStorage
from lab_pipeline.storage.run_storage import DuckDBRunStorage

ERROR_TAG = "lab/error"
"""Why a run failed that has no events to tell, such as one that was taken over."""
PARENT_TAG = "dagster/parent_run_id"
LEGACY_RESULT_TAG = "lab/legacy_result"
"""The numbers that the old lab kept of a run that was taken over, JSON, in the units of this one."""

PROGRESS = re.compile(r"^simulated ([0-9,]+) of ([0-9,]+) ")
LINES_LOOKED_AT = 50
ROWS_AT_ONCE = 100
FIRST_WINDOW, WIDER = 1_000, 10
"""Runs among which a page is looked for first, and by how much more the next time."""
BEFORE_ALL = 0
"""Storage ids begin above it."""
REMEMBERED = 20_000
"""Bodies and manifests kept in memory; neither changes without changing what it is known by."""


@dataclass(frozen=True)
class ListPosition:
    """Where a run is in the list, newest first: neither part ever changes, and together they are unique."""

    created_at: datetime
    storage_id: int


@dataclass(frozen=True)
class RunFilter:
    """Which backtests are wanted; an empty filter wants all, one of several values wants any of them.

    Attributes:
        statuses: each a `RunStatus`, or the lower-case name of another status of Dagster's.
        strategy_ids: of the strategies that were asked for.
        timeframes: of the candles.
        callers: whom the run was restricted to, alone or with others.
        created_from: earliest creation, inclusive.
        created_to: latest creation, exclusive.
    """

    statuses: Sequence[str] = ()
    strategy_ids: Sequence[str] = ()
    timeframes: Sequence[str] = ()
    callers: Sequence[str] = ()
    created_from: datetime | None = None
    created_to: datetime | None = None


@dataclass(frozen=True)
class Run:
    """One backtest.

    Attributes:
        run_id: Dagster's, and that of its logs, metrics and artifacts.
        position: its place in the list.
        status: as `status_of` says.
        finished: whether nothing will change any more.
        asked: the fields of `BacktestConfig` that were set, unchecked.
        tags: Dagster's.
        started_at: when its process began, if it did.
        completed_at: when it ended, however.
        published: its manifest, if it has published.
        damage: what is wrong with the manifest, if anything.
        dagster_run: Dagster's own record; the status in it is an old one.
    """

    run_id: str
    position: ListPosition
    status: str
    finished: bool
    asked: Mapping[str, Any]
    tags: Mapping[str, str]
    started_at: datetime | None
    completed_at: datetime | None
    published: Manifest | None
    damage: str | None
    dagster_run: dg.DagsterRun

    @property
    def created_at(self) -> datetime:
        """When it was asked for."""
        return self.position.created_at

    @property
    def strategy_id(self) -> str | None:
        """Id of the strategy."""
        return recorded("strategy", self.tags, self.asked)

    @property
    def strategy_version(self) -> str | None:
        """Its version; unknown where the latest was asked for and the run has not begun."""
        return recorded("strategy_version", self.tags, self.asked)

    @property
    def timeframe(self) -> str | None:
        """Length of the candles."""
        return recorded("timeframe", self.tags, self.asked)

    @property
    def callers(self) -> Sequence[str]:
        """The callers that the run is restricted to; none for all."""
        callers = self.asked.get("callers")
        return [name for name in callers if isinstance(name, str)] if isinstance(callers, list) else []

    @property
    def fingerprint(self) -> str | None:
        """Hash of what the result is made of, once there is one."""
        return self.published.fingerprint if self.published else self.tags.get(FINGERPRINT_TAG)

    @property
    def parent_run_id(self) -> str | None:
        """The run that this one repeats."""
        return self.tags.get(PARENT_TAG)

    @property
    def legacy_result(self) -> Mapping[str, float] | None:
        """What the old lab had computed, by camelCase name, of a run that was taken over from it."""
        text = self.tags.get(LEGACY_RESULT_TAG)
        return None if text is None else to_camel_keys(json.loads(text))


@dataclass(frozen=True)
class Durations:
    """How long runs took.

    Attributes:
        within: how many took at most each of the bounds that were asked for.
        runs: how many there are.
        seconds: of all of them together.
    """

    within: Sequence[int]
    runs: int
    seconds: float


class Runs:
    """The record of backtests: started by the API, `lab backtest`, the launchpad, *Materialize*, schedules, sensors."""

    def __init__(self, instance: dg.DagsterInstance, artifacts: ArtifactStore) -> None:
        self.instance = instance
        self.artifacts = artifacts
        self._read_manifest = lru_cache(maxsize=REMEMBERED)(lambda run_id, _signature: artifacts.manifest(run_id))

    def page(
        self, wanted: RunFilter | None = None, *, after: ListPosition | None = None, limit: int = 50
    ) -> tuple[list[Run], ListPosition | None]:
        """Return runs newest first, and where the next page begins, if there is more.

        Walking the positions gives every run that was there throughout exactly once, whatever is added or deleted.
        """
        found: list[Run] = []
        for run in self._walk(wanted or RunFilter(), after, min(limit + 1, ROWS_AT_ONCE)):
            if len(found) == limit:
                return found, found[-1].position
            found.append(run)
        return found, None

    def __call__(
        self,
        strategy: str | None = None,
        *,
        timeframe: str | None = None,
        caller: str | None = None,
        limit: int = 50,
    ) -> PublishedRuns:
        """Return what runs have published, newest first.

        Args:
            strategy: only runs of this one, by its id.
            timeframe: only runs on candles of this length.
            caller: only runs that were restricted to this one, alone or with others.
            limit: how many at the most.
        """
        wanted = RunFilter(
            statuses=[RunStatus.COMPLETED],
            strategy_ids=[strategy] if strategy else (),
            timeframes=[timeframe] if timeframe else (),
            callers=[caller] if caller else (),
        )
        found: list[tuple[PublishedRun, str]] = []
        for run in self.all(wanted):
            if len(found) == limit:
                break
            if run.published is not None:
                found.append((PublishedRun.of(self.artifacts, run.published), Notes.of(run.tags).name))
        return PublishedRuns(tuple(run for run, _ in found), tuple(name for _, name in found))

    def all(self, wanted: RunFilter | None = None) -> Iterator[Run]:
        """Iterate over runs, newest first."""
        return self._walk(wanted or RunFilter(), None, FIRST_WINDOW)

    def statuses(self) -> pl.DataFrame:
        """Return `run_id` and `status` of every backtest: one light query, whatever their number."""
        names = ("run_id", "status")
        query = sa.select(*(RunsTable.c[name] for name in names)).where(RunsTable.c.pipeline_name.in_(BACKTEST_JOBS))
        if isinstance(self.storage, DuckDBRunStorage):
            found = pl.DataFrame(self.storage.fetch_table(query))
        else:
            found = pl.DataFrame([tuple(row.values()) for row in self.storage.fetchall(query)], names, orient="row")
        status = pl.col("status").replace_strict(STATUSES, default=pl.col("status").str.to_lowercase())
        by_hand = self.storage.fetchall(_columns().where(RunsTable.c.pipeline_name == ASSET_JOB, _by_hand()))
        rows = [(run.run_id, run.status) for row in by_hand if (run := self._run(row)) is not None]
        schema = pl.Schema({name: pl.String() for name in names})
        return pl.concat([found.cast(schema).with_columns(status), pl.DataFrame(rows, schema, orient="row")])

    def get(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            UnknownRunError: if there is no backtest of that id.
        """
        rows = self.storage.fetchall(_columns().where(RunsTable.c.run_id == run_id))
        if rows and (run := self._run(rows[0])) is not None:
            return run
        raise UnknownRunError(f"unknown run '{run_id}': `lab runs list` shows the runs there are")

    def get_many(self, run_ids: Sequence[str]) -> dict[str, Run]:
        """Return those of some runs that there are, by id: one query."""
        rows = self.storage.fetchall(_columns().where(RunsTable.c.run_id.in_(run_ids)))
        return {run.run_id: run for row in rows if (run := self._run(row)) is not None}

    def result(self, run_id: str) -> Manifest | None:
        """Return the manifest of a run, or None where it has published nothing (readable).

        What is published is known without a look at Dagster's record: a run that is deleted loses its artifacts first.

        Raises:
            UnknownRunError: if there is no backtest of that id.
        """
        manifest, _ = self._manifest(run_id)
        return manifest or self.get(run_id).published

    def find(self, start: str) -> Run:
        """Return the run whose id is, or starts with, `start`.

        Raises:
            UnknownRunError: if there is none, or more than one.
        """
        rows = self.storage.fetchall(_columns().where(RunsTable.c.run_id.startswith(start, autoescape=True)))
        found = [run for row in rows if (run := self._run(row)) is not None]
        exact = [run for run in found if run.run_id == start]
        if len(found) == 1 or exact:
            return (exact or found)[0]
        if not found:
            raise UnknownRunError(f"unknown run '{start}': `lab runs list` shows the runs there are")
        raise UnknownRunError(f"'{start}' is the start of {len(found)} run ids: write more of it")

    def tagged(self, key: str, value: str) -> str | None:
        """Return the id of the newest run of any job that has a tag, if any."""
        newest = sa.select(RunsTable.c.run_id).where(_tagged(key, value)).order_by(RunsTable.c.id.desc()).limit(1)
        found = self.storage.fetchone(newest)
        return None if found is None else str(found["run_id"])

    def error(self, run: Run) -> str | None:
        """Say in one line why a run failed, or what is wrong with what it published."""
        if run.damage is not None:
            return run.damage
        if run.status != RunStatus.FAILED:
            return None
        return run.tags.get(ERROR_TAG) or failure_reason(self.instance, run.run_id)

    def progress(self, run_id: str) -> tuple[int, int] | None:
        """Return how much of a run is simulated, and of how much, as the latest line of its log about it says."""
        newest = self.instance.get_records_for_run(run_id, limit=LINES_LOOKED_AT, ascending=False).records
        found = (PROGRESS.search(record.event_log_entry.message) for record in newest)
        line = next((match for match in found if match), None)
        return None if line is None else (int(line[1].replace(",", "")), int(line[2].replace(",", "")))

    def counts(self) -> dict[str, int]:
        """Count the backtests by status: one query, whatever their number."""
        status = RunsTable.c.status
        query = sa.select(status, sa.func.count().label("runs")).where(_is_backtest()).group_by(status)
        found = dict.fromkeys((status.value for status in RunStatus), 0)
        for row in self.storage.fetchall(query):
            name = status_of(row["status"])
            found[name] = found.get(name, 0) + row["runs"]
        return found

    def durations(self, bounds: Sequence[float]) -> dict[str, Durations]:
        """Count, by status, how many finished backtests took at most so many seconds: one query."""
        status, took = RunsTable.c.status, RunsTable.c.end_time - RunsTable.c.start_time
        within = [
            sa.func.sum(sa.case((took <= bound, 1), else_=0)).label(f"within_{i}") for i, bound in enumerate(bounds)
        ]
        query = sa.select(status, sa.func.count().label("runs"), sa.func.sum(took).label("seconds"), *within)
        query = query.where(_is_backtest(), RunsTable.c.start_time.is_not(None), RunsTable.c.end_time.is_not(None))
        return {
            status_of(row["status"]): Durations(
                [int(row[f"within_{i}"]) for i in range(len(bounds))], row["runs"], float(row["seconds"])
            )
            for row in self.storage.fetchall(query.group_by(status))
        }

    def waiting(self) -> int:
        """Count the runs of every job that wait in the queue."""
        statuses = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
        return self.instance.get_runs_count(dg.RunsFilter(statuses=statuses))

    @cached_property
    def storage(self) -> SqlRunStorage:
        """Where Dagster records runs."""
        storage = self.instance.run_storage
        if not isinstance(storage, SqlRunStorage):
            raise LabError(f"the runs of this lab are kept in {type(storage).__name__}, which answers no SQL")
        return storage

    def _walk(self, wanted: RunFilter, after: ListPosition | None, at_once: int) -> Iterator[Run]:
        """Go from window to window, each of more runs than the one before while little is found in them.

        To sort and search all runs for each page would take as long as there are many.
        """
        query = _columns().where(_is_backtest(), *_conditions(wanted)).limit(at_once)
        query = query.order_by(RunsTable.c.create_timestamp.desc(), RunsTable.c.id.desc())
        window = FIRST_WINDOW
        while True:
            since = self._begin_of_window(after, window)
            inside = [] if since is None else [RunsTable.c.create_timestamp >= since]
            inside += [] if after is None else [_beyond(after)]
            rows = self.storage.fetchall(query.where(*inside))
            for row in rows:
                run = self._run(row)
                if run is not None and _matches(run, wanted):
                    yield run
            if len(rows) == at_once:
                after = _position(rows[-1])
            elif since is None:
                return
            else:
                after, window = ListPosition(since.replace(tzinfo=UTC), BEFORE_ALL), window * WIDER

    def _begin_of_window(self, after: ListPosition | None, size: int) -> datetime | None:
        """Return when the last of so many runs was created, newest first; none if there are fewer."""
        created = sa.select(RunsTable.c.create_timestamp).where(*([] if after is None else [_beyond(after)]))
        last = self.storage.fetchone(created.order_by(RunsTable.c.create_timestamp.desc()).offset(size - 1).limit(1))
        found: datetime | None = None if last is None else last["create_timestamp"]
        return found

    def _run(self, row: Mapping[str, Any]) -> Run | None:
        """Describe a row, unless it is of another job."""
        body = _read_body(row["run_body"])
        if not is_backtest(body):
            return None
        manifest, damage = self._manifest(body.run_id)
        return Run(
            run_id=body.run_id,
            position=_position(row),
            status=status_of(row["status"]),
            finished=dg.DagsterRunStatus(row["status"]) in FINISHED_STATUSES,
            asked=asked_fields(body.run_config, body.tags),
            tags=body.tags,
            started_at=_moment(row["start_time"]),
            completed_at=_moment(row["end_time"]),
            published=manifest,
            damage=damage,
            dagster_run=body,
        )

    def _manifest(self, run_id: str) -> tuple[Manifest | None, str | None]:
        signature = self.artifacts.signature(run_id)
        if signature is None:
            return None, None
        try:
            return self._read_manifest(run_id, signature), None
        except UnknownRunError:
            return None, None
        except UnreadableManifestError as error:
            return None, str(error)


@cache
def _columns() -> sa.Select[Any]:
    names = ("id", "run_body", "status", "create_timestamp", "start_time", "end_time")
    return sa.select(*(RunsTable.c[name] for name in names))


def _is_backtest() -> sa.ColumnElement[bool]:
    """Leave out runs of other jobs; a few of assets that are named alike may be left in."""
    return sa.or_(
        RunsTable.c.pipeline_name.in_(BACKTEST_JOBS), sa.and_(RunsTable.c.pipeline_name == ASSET_JOB, _by_hand())
    )


def _by_hand() -> sa.ColumnElement[bool]:
    return _body_has(BACKTEST_ASSETS)


def _conditions(wanted: RunFilter) -> Iterator[sa.ColumnElement[bool]]:
    """Leave out what cannot match; `_matches` decides about the rest."""
    if wanted.statuses:
        others = [status.upper() for status in wanted.statuses]
        yield RunsTable.c.status.in_([name for name, status in STATUSES.items() if status in wanted.statuses] + others)
    for texts in (wanted.strategy_ids, wanted.timeframes, wanted.callers):
        if texts:
            yield sa.or_(*map(_body_has, texts))  # configuration and tags are in there
    if wanted.created_from is not None:
        yield RunsTable.c.create_timestamp >= _naive(wanted.created_from)
    if wanted.created_to is not None:
        yield RunsTable.c.create_timestamp < _naive(wanted.created_to)


def _matches(run: Run, wanted: RunFilter) -> bool:
    return (
        (not wanted.strategy_ids or run.strategy_id in wanted.strategy_ids)
        and (not wanted.timeframes or run.timeframe in wanted.timeframes)
        and (not wanted.callers or not set(wanted.callers).isdisjoint(run.callers))
    )


def _tagged(key: str, value: str) -> sa.ColumnElement[bool]:
    tags = sa.select(RunTagsTable.c.run_id).where(RunTagsTable.c.key == key, RunTagsTable.c.value == value)
    return RunsTable.c.run_id.in_(tags)


def _body_has(text: str) -> sa.ColumnElement[bool]:
    """Look for a text as JSON writes it; the body is JSON."""
    return RunsTable.c.run_body.contains(json.dumps(text), autoescape=True)


def _beyond(position: ListPosition) -> sa.ColumnElement[bool]:
    """Select what is behind a position, by a plain bound first: a database leaves out what lies before it."""
    created, storage_id = _naive(position.created_at), position.storage_id
    return sa.and_(
        RunsTable.c.create_timestamp <= created,
        sa.or_(RunsTable.c.create_timestamp < created, RunsTable.c.id < storage_id),
    )


def _position(row: Mapping[str, Any]) -> ListPosition:
    return ListPosition(row["create_timestamp"].replace(tzinfo=UTC), row["id"])


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


@lru_cache(maxsize=REMEMBERED)
def _read_body(body: str) -> dg.DagsterRun:
    return deserialize_value(body, dg.DagsterRun)
