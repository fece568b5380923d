"""Which runs and sweeps the lab need not keep, and what they occupy."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import dagster as dg

from lab_pipeline.dagster_ext.internals import NOT_FINISHED_STATUSES
from lab_pipeline.dagster_ext.run_coordinator import is_backtest
from lab_pipeline.lake.versions import parse
from lab_pipeline.operations.clock_check import require_plausible
from lab_pipeline.operations.deletion_lock import deleting
from lab_pipeline.operations.disk_usage import size_of
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.notes import is_pinned
from lab_pipeline.operations.run_actions import erase, event_files
from lab_pipeline.operations.run_records import run_records
from lab_pipeline.operations.runs import Run, Runs
from lab_pipeline.operations.sweep_actions import delete as delete_sweep
from lab_pipeline.operations.tick_logs import forgotten_logs
from lab_pipeline.runs.tags import LAKE_TAG
from lab_pipeline.settings import Settings
from lab_pipeline.statistics import Board, NotComputedError, RankBy, Statistics, leaderboard, refresh

SWEEP_JOB = "sweep"
RECORDS_AT_ONCE = 500
SETTLED_AFTER = timedelta(hours=1)
THIN_EVERY = 20
"""Versions of candles after which an ingest thins out those before: each may be as large as the lake."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCORES = {RankBy.DRAWDOWN: "maxDrawdown", RankBy.PARETO: "totalReturn"}
"""What these rankings rank by, where that has another name."""


@dataclass(frozen=True)
class Policy:
    """What is kept: None keeps everything.

    Attributes:
        max_age: of a run, from the time it was asked for.
        per_strategy: newest finished runs of each strategy.
        leaders: runs at the top of every leaderboard, which are kept however old they are.
    """

    max_age: timedelta | None = None
    per_strategy: int | None = None
    leaders: int = 0

    @classmethod
    def of(cls, settings: Settings, *, keep_days: int | None = None, per_strategy: int | None = None) -> Self:
        """Return the policy of a lab; what is given comes before its settings."""
        days = keep_days or settings.keep_days
        return cls(
            None if days is None else timedelta(days=days),
            per_strategy or settings.keep_runs_per_strategy,
            settings.keep_leaders,
        )

    @property
    def keeps_everything(self) -> bool:
        """Whether no run ever goes."""
        return self.max_age is None and self.per_strategy is None


@dataclass(frozen=True)
class Expired:
    """A run or a sweep that is not kept.

    Attributes:
        run_id: of the run or the sweep.
        job: which it is a run of; `sweep` for a sweep, whether or not a run has made it.
        strategy_id: of its strategy, if it is a sweep, or a backtest that got so far.
        created_at: when it was asked for.
        reason: what it exceeds.
        bytes: of its artifacts, events and captured output.
        by_age: whether that is its age, rather than the number of newer ones.
    """

    run_id: str
    job: str
    strategy_id: str | None
    created_at: datetime
    reason: str
    bytes: int
    by_age: bool


def expired(lab: Lab, policy: Policy, now: datetime, *, trust_clock: bool = False) -> list[Expired]:
    """List the finished runs and sweeps that a policy does not keep, oldest first.

    Pinned backtests are kept and do not count; those that lead a leaderboard are kept and do count. Sweeps that are
    pinned, or that a strategy was promoted from, are kept and do not count. Of runs of other jobs only the
    age matters, and the newest of the same job and assets always stays: it is what the UI shows of them. Statistics
    are computed if there are none: who leads is not known before.

    Raises:
        LabError: if runs would go by their age, and the clock may be ahead; not if it is to be trusted.
    """
    if policy.keeps_everything:
        return []
    sweeps = set(lab.sweeps.sweep_ids())
    found = [
        *_expired_backtests(lab, policy, now),
        *_expired_sweeps(lab, policy, now),
        *(run for run in _expired_others(lab.runs, policy, now) if run.run_id not in sweeps),
    ]
    if not trust_clock and any(run.by_age for run in found):
        require_plausible(lab.instance, now)
    return sorted(found, key=lambda run: (run.created_at, run.run_id))


def leaders(statistics: Statistics, count: int) -> set[str]:
    """Return the runs among the first `count` of any leaderboard, as statistics were last computed.

    Without the number that a leaderboard ranks by, a run leads nothing there.

    Raises:
        NotComputedError: if there are no statistics, or only those of an earlier version.
    """
    found: set[str] = set()
    for rank_by in RankBy if count else ():
        answer, _ = leaderboard(statistics, Board.RUNS, rank_by, limit=count)
        score = SCORES.get(rank_by, rank_by.value)
        found |= {row["runId"] for row in answer.body["leaderboard"] if row[score] is not None}
    return found


def collect(lab: Lab, found: Sequence[Expired]) -> Iterator[Expired]:
    """Delete runs and sweeps with everything that they left, one after the other, and yield each when it is gone.

    Raises:
        LabError: if a store does not answer; what was deleted is, and the rest still lists.
    """
    for run in found:
        if lab.sweeps.has(run.run_id):
            delete_sweep(lab, run.run_id)
        elif lab.instance.has_run(run.run_id):
            erase(lab, run.run_id)
        else:
            continue  # another collector was faster
        yield run


def forget_versions(lab: Lab, policy: Policy, now: datetime, *, remove: bool, trust_clock: bool = False) -> int:
    """Return the bytes of files that only old versions of the lake have, and remove them if wanted.

    Versions stay that pinned or leading runs read, or sweeps that are pinned or that a strategy was promoted from, and
    those that a run may be reading.

    Raises:
        LabError: if some would go by age, and the clock may be ahead; not if it is to be trusted.
    """
    before = now - timedelta(days=lab.settings.keep_lake_days)
    if not trust_clock and lab.lake.forget_versions(before, (), settled=before, remove=False):
        require_plausible(lab.instance, now)
    return _forget(lab, policy, before, now, remove=remove)


def thin_out(lab: Lab, first: str, now: datetime) -> int:
    """Thin out old versions of the lake once it has come `THIN_EVERY` versions further; return the bytes that went.

    None goes by its age, so a clock that is ahead does no harm.

    Args:
        lab: whose lake was changed.
        first: its version before that.
        now: the time.
    """
    was, is_now = (parse(version)[0] // THIN_EVERY for version in (first, lab.lake.version))
    return 0 if was == is_now else _forget(lab, Policy.of(lab.settings), EPOCH, now, remove=True)


def _forget(lab: Lab, policy: Policy, before: datetime, now: datetime, *, remove: bool) -> int:
    at_work = lab.instance.get_run_records(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES)))
    settled = min([now - SETTLED_AFTER, *(record.create_timestamp for record in at_work)])
    if not lab.lake.forget_versions(before, (), settled=settled, remove=False):
        return 0
    read = {version for record in at_work if (version := record.dagster_run.tags.get(LAKE_TAG))}
    with deleting(lab.settings):
        kept = _versions_needed(lab, policy) | read
        return lab.lake.forget_versions(before, kept, settled=settled, remove=remove)


def _versions_needed(lab: Lab, policy: Policy) -> set[str]:
    runs = {run.run_id for run in lab.runs.all() if is_pinned(run.tags)} | _surely_leaders(lab, policy.leaders)
    promoted = lab.trials.promoted_sweeps()
    sweeps = [one for one in lab.sweeps.sweep_ids() if one in promoted or lab.sweeps.is_pinned(one)]
    read = [lab.artifacts.manifest(run_id).lake for run_id in runs if lab.artifacts.has(run_id)]
    read += [lab.sweeps.manifest(sweep_id).lake for sweep_id in sweeps if not lab.sweeps.missed(sweep_id)]
    return {version for version in read if version is not None}


def leftovers(lab: Lab, *, remove: bool) -> dict[str, int]:
    """Return the bytes, by area, of what killed processes, sweeps and forgotten ticks left, and remove it if wanted."""
    return {
        "lake": lab.lake.leftovers(remove=remove),
        "artifacts": lab.artifacts.leftovers(remove=remove),
        "sweeps": lab.sweeps.leftovers(remove=remove),
        "dagster": forgotten_logs(lab.instance, remove=remove),
    }


def _expired_backtests(lab: Lab, policy: Policy, now: datetime) -> Iterator[Expired]:
    found = [run for run in lab.runs.all() if run.finished and not is_pinned(run.tags)]  # newest first
    newest = _newest(found, policy.per_strategy)
    leading: set[str] | None = None
    for run in found:
        by_age = policy.max_age is not None and now - run.created_at > policy.max_age
        if policy.max_age is not None and by_age:
            reason = f"older than {policy.max_age.days} days"
        elif policy.per_strategy is not None and run.run_id not in newest:
            reason = f"{policy.per_strategy} newer ones of its strategy"
        else:
            continue
        if leading is None:  # asked only now: it takes statistics, and most often nothing goes
            leading = _surely_leaders(lab, policy.leaders)
        if run.run_id in leading:
            continue
        job, size = run.dagster_run.job_name, _bytes_of(lab.runs, run.run_id)
        yield Expired(run.run_id, job, run.strategy_id, run.created_at, reason, size, by_age)


def _surely_leaders(lab: Lab, count: int) -> set[str]:
    """Return the leaders; compute the statistics that tell who they are, if there are none."""
    try:
        return leaders(lab.statistics, count)
    except NotComputedError:
        refresh(lab.statistics, run_records(lab.runs, lab.statistics.catalog.run_records()))
        return leaders(lab.statistics, count)


def _newest(found: Sequence[Run], count: int | None) -> set[str]:
    """Return the newest `count` runs of each strategy, by their times and by the order in which they were recorded.

    The two differ where the clock was set back in between; then either keeps a run.
    """
    kept: set[str] = set()
    for ordered in (found, sorted(found, key=lambda run: run.position.storage_id, reverse=True)):
        newer: Counter[str | None] = Counter()
        for run in ordered:
            newer[run.strategy_id] += 1
            if count is not None and newer[run.strategy_id] <= count:
                kept.add(run.run_id)
    return kept


def _expired_sweeps(lab: Lab, policy: Policy, now: datetime) -> Iterator[Expired]:
    promoted = lab.trials.promoted_sweeps()
    newer: Counter[str] = Counter()
    whole = [
        sweep_id for sweep_id in lab.sweeps.sweep_ids() if not lab.sweeps.missed(sweep_id)
    ]  # the doctor names others
    manifests = [lab.sweeps.manifest(sweep_id) for sweep_id in whole]
    for manifest in sorted(manifests, key=lambda one: one.created_at, reverse=True):
        sweep_id, strategy_id = manifest.sweep_id, str(manifest.spec["strategy"])
        run = lab.instance.get_run_by_id(sweep_id)  # none of one in the foreground
        pinned = lab.sweeps.is_pinned(sweep_id) or (run is not None and is_pinned(run.tags))
        if pinned or sweep_id in promoted or (run is not None and not run.is_finished):
            continue
        newer[strategy_id] += 1
        by_age = policy.max_age is not None and now - manifest.created_at > policy.max_age
        if policy.max_age is not None and by_age:
            reason = f"older than {policy.max_age.days} days"
        elif policy.per_strategy is not None and newer[strategy_id] > policy.per_strategy:
            reason = f"{policy.per_strategy} newer sweeps of its strategy"
        else:
            continue
        size = lab.sweeps.storage.size(sweep_id) + (0 if run is None else _bytes_of(lab.runs, sweep_id))
        yield Expired(sweep_id, SWEEP_JOB, strategy_id, manifest.created_at, reason, size, by_age)


def _expired_others(runs: Runs, policy: Policy, now: datetime) -> Iterator[Expired]:
    if policy.max_age is None:
        return
    seen: set[Hashable] = set()
    for record in _records(runs.instance):  # newest first
        run = record.dagster_run
        if is_backtest(run) or not run.is_finished or is_pinned(run.tags):
            continue
        kind = (run.job_name, run.asset_selection, run.asset_check_selection)
        if kind in seen and now - record.create_timestamp > policy.max_age:
            reason = f"older than {policy.max_age.days} days"
            size = _bytes_of(runs, run.run_id)
            yield Expired(run.run_id, run.job_name, None, record.create_timestamp, reason, size, by_age=True)
        seen.add(kind)


def _records(instance: dg.DagsterInstance) -> Iterator[dg.RunRecord]:
    """Iterate over the record of every run of every job, newest first."""
    cursor = None
    while records := instance.get_run_records(limit=RECORDS_AT_ONCE, cursor=cursor):
        yield from records
        cursor = records[-1].dagster_run.run_id


def _bytes_of(runs: Runs, run_id: str) -> int:
    output = Path(runs.instance.storage_directory()) / run_id
    rest = sum(size_of(path) for path in (output, *event_files(runs.instance, run_id)))
    return runs.artifacts.storage.size(run_id) + rest
