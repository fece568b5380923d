"""Which runs the lab need not keep, and what they occupy."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.defs.operations.run_actions import delete
from lab_pipeline.defs.operations.runs import Runs
from lab_pipeline.settings import Settings

PINNED_TAG = "lab/pinned"
"""A run that has this tag, whatever its value, is kept for ever."""


@dataclass(frozen=True)
class Policy:
    """What is kept: None keeps everything.

    Attributes:
        max_age: of a run, from the time it was asked for.
        per_strategy: newest finished runs of each strategy.
    """

    max_age: timedelta | None = None
    per_strategy: int | None = None


@dataclass(frozen=True)
class Expired:
    """A run that is not kept.

    Attributes:
        run_id: of the run.
        strategy_id: of its strategy, if it got so far.
        created_at: when it was asked for.
        reason: what it exceeds.
        bytes: of its artifacts.
    """

    run_id: str
    strategy_id: str | None
    created_at: datetime
    reason: str
    bytes: int


def expired(runs: Runs, policy: Policy, now: datetime) -> list[Expired]:
    """List the finished runs that a policy does not keep, oldest first; pinned ones are kept, and count for nothing."""
    found: list[Expired] = []
    newer: Counter[str | None] = Counter()
    for run in runs.all():  # newest first
        if not run.finished or PINNED_TAG in run.tags:
            continue
        newer[run.strategy_id] += 1
        if policy.max_age is not None and now - run.created_at > policy.max_age:
            reason = f"older than {policy.max_age.days} days"
        elif policy.per_strategy is not None and newer[run.strategy_id] > policy.per_strategy:
            reason = f"{policy.per_strategy} newer ones of its strategy"
        else:
            continue
        size = size_of(runs.artifacts.directory / run.run_id)
        found.append(Expired(run.run_id, run.strategy_id, run.created_at, reason, size))
    return found[::-1]


def collect(settings: Settings, runs: Runs, found: Sequence[Expired]) -> Iterator[Expired]:
    """Delete runs with everything that they left, one after the other, and yield each when it is gone.

    Raises:
        LabError: if a store does not answer; what was deleted is, and the rest still lists.
    """
    clickhouse = clickhouse_config(settings)
    for run in found:
        delete(settings, runs, clickhouse, run.run_id)
        yield run


def size_of(path: Path) -> int:
    """Sum the bytes of all files under a directory, as far as they stay there while it counts."""
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.lstat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total
