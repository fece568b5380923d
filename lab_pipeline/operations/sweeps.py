"""The sweeps that Dagster has run, runs or will run, and those that were published without it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa

from lab_pipeline.dagster_ext.failure_reason import failure_reason
from lab_pipeline.domain.enums import RunStatus
from lab_pipeline.domain.errors import LabError
from lab_pipeline.operations.runs import ERROR_TAG, LINES_LOOKED_AT, Runs
from lab_pipeline.runs.tags import ASSET_JOB, SWEEP_ASSETS, SWEEP_JOB, WALK_JOB, asked_fields, recorded, status_of
from lab_pipeline.storage.internals import RunsTable
from lab_pipeline.sweeps.store import SweepManifest, SweepStore, UnknownSweepError

PROGRESS = re.compile(
    r"^[0-9,]+ sets x ([0-9,]+) of ([0-9,]+) (calls|sets|placebos) \([0-9]+%\), "
    r"([0-9,]+) s left(?:; (best so far .*))?$"
)
"""A line of `defs.sweep.progress_log`."""


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is in what it is doing.

    Attributes:
        done: of `total`.
        total: in all.
        noun: of what: `calls` on which the sets are tried, `placebos`, or `sets` of an optimiser.
        seconds_left: as it was estimated then.
        best: what is known of the best set so far, in words; empty where nothing is.
    """

    done: int
    total: int
    noun: str
    seconds_left: int
    best: str


@dataclass(frozen=True, order=True)
class SweepPosition:
    """Where a sweep is in the list, newest first: neither part ever changes, and together they are unique."""

    created_at: datetime
    sweep_id: str


@dataclass(frozen=True)
class SweepRun:
    """One sweep.

    Attributes:
        position: its place in the list.
        status: as `status_of` says.
        finished: whether nothing will change any more.
        asked: the fields of `SweepSpec` that were set, unchecked.
        tags: Dagster's; none of one that was published without it.
        started_at: when its process began, if it did.
        completed_at: when it ended, however.
        published: its manifest, if it has published.
        damage: what is wrong with the manifest, if anything.
        is_run: whether Dagster has a record of it.
    """

    position: SweepPosition
    status: str
    finished: bool
    asked: Mapping[str, Any]
    tags: Mapping[str, str]
    started_at: datetime | None
    completed_at: datetime | None
    published: SweepManifest | None
    damage: str | None
    is_run: bool

    @property
    def sweep_id(self) -> str:
        """Its id, which is that of its run."""
        return self.position.sweep_id

    @property
    def created_at(self) -> datetime:
        """When it was asked for."""
        return self.position.created_at

    @property
    def strategy_id(self) -> str | None:
        """Id of the strategy whose parameters are varied."""
        return recorded("strategy", self.tags, self.asked)

    @property
    def strategy_version(self) -> str | None:
        """Its version; unknown where the latest was asked for and the sweep has not published."""
        if self.published is not None:
            return self.published.strategy_version
        return recorded("strategy_version", self.tags, self.asked)

    @property
    def timeframe(self) -> str | None:
        """Length of the candles."""
        return recorded("timeframe", self.tags, self.asked)


class Sweeps:
    """The record of sweeps: started by the API, the command line, the launchpad, *Materialize*, schedules.

    Attributes:
        store: what they have published.
    """

    def __init__(self, runs: Runs, store: SweepStore) -> None:
        self._runs = runs
        self.store = store

    @property
    def instance(self) -> dg.DagsterInstance:
        """Dagster's."""
        return self._runs.instance

    def page(
        self, *, after: SweepPosition | None = None, limit: int = 50
    ) -> tuple[list[SweepRun], SweepPosition | None]:
        """Return sweeps newest first, and where the next page begins, if there is more.

        Walking the positions gives every sweep that was there throughout exactly once, whatever is added or deleted.
        """
        behind = sorted((one for one in self._positions() if after is None or one < after), reverse=True)
        wanted = behind[:limit]
        found = {one.sweep_id: one for one in self._recorded([one.sweep_id for one in wanted])}
        sweeps = [found.get(one.sweep_id) or self._unrecorded(one) for one in wanted]
        return sweeps, wanted[-1] if len(behind) > limit else None

    def get(self, sweep_id: str) -> SweepRun:
        """Return a sweep.

        Raises:
            UnknownSweepError: if there is none of that id.
        """
        for found in self._recorded([sweep_id]):
            return found
        if not self.store.has(sweep_id):
            raise UnknownSweepError(f"unknown sweep '{sweep_id}': `lab sweep list` shows the sweeps there are")
        return self._unrecorded(SweepPosition(self._published_at(sweep_id), sweep_id))

    def error(self, sweep: SweepRun) -> str | None:
        """Say in one line why a sweep failed, or what is wrong with what it published."""
        if sweep.damage is not None:
            return sweep.damage
        if sweep.status != RunStatus.FAILED:
            return None
        return sweep.tags.get(ERROR_TAG) or failure_reason(self.instance, sweep.sweep_id)

    def progress(self, sweep_id: str) -> SweepProgress | None:
        """Return how far a sweep is, as the latest line of its log about it says; null before there is one."""
        newest = self.instance.get_records_for_run(sweep_id, limit=LINES_LOOKED_AT, ascending=False).records
        found = (PROGRESS.search(record.event_log_entry.message) for record in newest)
        line = next((match for match in found if match), None)
        if line is None:
            return None
        done, total, left = (int(line[place].replace(",", "")) for place in (1, 2, 4))
        return SweepProgress(done, total, line[3], left, line[5] or "")

    def _positions(self) -> Iterator[SweepPosition]:
        known = dict(self._heads())
        yield from (SweepPosition(created_at, sweep_id) for sweep_id, created_at in known.items())
        for sweep_id in self.store.sweep_ids():
            if sweep_id not in known:
                yield SweepPosition(self._published_at(sweep_id), sweep_id)

    def _heads(self) -> Iterator[tuple[str, datetime]]:
        """Yield when each sweep was asked for: light queries, for those of *Materialize* are few."""
        heads = sa.select(RunsTable.c.run_id, RunsTable.c.create_timestamp)
        for row in self._runs.storage.fetchall(heads.where(RunsTable.c.pipeline_name == SWEEP_JOB)):
            yield row["run_id"], row["create_timestamp"].replace(tzinfo=UTC)
        named = RunsTable.c.run_body.contains(json.dumps(SWEEP_ASSETS), autoescape=True)
        by_hand = self._runs.storage.fetchall(heads.where(RunsTable.c.pipeline_name == ASSET_JOB, named))
        for sweep in self._recorded([row["run_id"] for row in by_hand]):
            yield sweep.sweep_id, sweep.created_at

    def _recorded(self, run_ids: Sequence[str]) -> Iterator[SweepRun]:
        """Yield those of some runs that there are and that are sweeps."""
        records = self.instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids))) if run_ids else []
        for record in records:
            run = record.dagster_run
            if _publishes(run):
                manifest, damage = self._manifest(run.run_id)
                yield SweepRun(
                    position=SweepPosition(record.create_timestamp.astimezone(UTC), run.run_id),
                    status=status_of(run.status.value),
                    finished=run.is_finished,
                    asked=asked_fields(run.run_config, run.tags) if manifest is None else manifest.spec,
                    tags=run.tags,
                    started_at=_moment(record.start_time),
                    completed_at=_moment(record.end_time),
                    published=manifest,
                    damage=damage,
                    is_run=True,
                )

    def _unrecorded(self, position: SweepPosition) -> SweepRun:
        """Describe what was published, and is no run that Dagster knows, or no longer."""
        manifest, damage = self._manifest(position.sweep_id)
        return SweepRun(
            position=position,
            status=RunStatus.COMPLETED.value,
            finished=True,
            asked={} if manifest is None else manifest.spec,
            tags={},
            started_at=None,
            completed_at=position.created_at,
            published=manifest,
            damage=damage,
            is_run=False,
        )

    def _manifest(self, sweep_id: str) -> tuple[SweepManifest | None, str | None]:
        try:
            return self.store.manifest(sweep_id), None
        except UnknownSweepError:
            return None, None
        except LabError as error:
            return None, str(error)

    def _published_at(self, sweep_id: str) -> datetime:
        manifest, _ = self._manifest(sweep_id)
        if manifest is not None:
            return manifest.created_at
        return self.store.storage.written_at(sweep_id)


def _publishes(run: dg.DagsterRun) -> bool:
    """Tell whether a run of any job makes a sweep; a fold of a walk publishes none."""
    by_hand = (key for key in run.asset_selection or () if key.path[0] == SWEEP_ASSETS)
    return run.job_name == SWEEP_JOB or (run.job_name == ASSET_JOB and any(key.path[-1] != WALK_JOB for key in by_hand))


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
