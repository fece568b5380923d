"""One fold of a walk forward by itself: search some days, and follow the winner into those after them."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from lab_pipeline.domain.backtest import TimeRange
from lab_pipeline.domain.errors import LabError
from lab_pipeline.lake import Lake
from lab_pipeline.runs.artifacts import DamagedArtifactError
from lab_pipeline.runs.progress import Progress
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.statistics.selection import Walk
from lab_pipeline.statistics.selection.folds import fold_at
from lab_pipeline.statistics.selection.out_of_sample import Tested, walk
from lab_pipeline.sweeps.limits import MEMORY
from lab_pipeline.sweeps.running import cells_of, evaluate, longest_horizon, resolve, search, with_sets
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.store import SweepManifest, SweepStore, UnknownSweepError


@dataclass(frozen=True)
class Walked:
    """What became of a fold.

    Attributes:
        tested: its days, the winner, and what that earned on both sides.
        sets: that were evaluated.
        values: of the winner, by path; none without one.
    """

    tested: Tested
    sets: int
    values: dict[str, Any] | None


def latest_sweeps(store: SweepStore) -> dict[str, SweepManifest]:
    """Return the newest sweep of each strategy that was ever swept, by strategy."""
    return {str(one.spec["strategy"]): one for one in by_age(store)}


def by_age(store: SweepStore) -> Iterator[SweepManifest]:
    """Iterate over the manifests of all sweeps, the oldest first; `lab doctor` names those that are damaged."""
    found = []
    for sweep_id in store.sweep_ids():
        with suppress(DamagedArtifactError, UnknownSweepError):
            found.append(store.manifest(sweep_id))
    yield from sorted(found, key=lambda one: (one.created_at, one.sweep_id))


def known_until(store: SweepStore, manifest: SweepManifest) -> datetime:
    """Return the end of the calls that a sweep knew of, its holdout included."""
    space = store.document(manifest.sweep_id, "space")
    return datetime.fromisoformat(space["holdout_end"] or space["end"])


def walk_fold(
    spec: SweepSpec,
    test: TimeRange,
    *,
    lake: Lake,
    strategies: StrategyStore,
    threads: int | None = None,
    memory: int = MEMORY,
    on_progress: Progress | None = None,
) -> Walked:
    """Sweep the days before a test as `validation.walk_forward` has them, and say what their winner earns in it.

    Purge and embargo are those of the selection: a day whose windows reach into the test does not train.

    Args:
        spec: a sweep.
        test: days that are tested.
        lake: that has the candles.
        strategies: of the lab.
        threads: of the simulation; the result does not depend on it.
        memory: bytes that the cells of all sets may take.
        on_progress: called with the calls that are done and the calls in all.

    Raises:
        InvalidConfigError, LabError: as `resolve`; also if there are no calls before the test, or none in it.
    """
    windows = spec.validation.validation.walk
    start = spec.start if windows.kind is Walk.ANCHORED else test.start - timedelta(days=windows.train_days)
    validation = spec.validation.model_copy(update={"holdout": 0.0, "placebo": 0})
    fold_spec = spec.model_copy(update={"start": start, "end": test.end, "validation": validation})
    resolved = resolve(fold_spec, strategies, lake, memory=memory)
    called = resolved.calls["called_at"]
    if not called.is_between(test.start, test.end, closed="left").any() or called.min() >= test.start:  # type: ignore[operator]  # polars knows no type of a minimum
        raise LabError(f"there are no calls from {_day(test.start)} to {_day(test.end)}, or none to train on before")
    if spec.search.optimises:  # which must not see the test, nor a call whose window reaches into it
        untested = test.start - timedelta(days=windows.embargo_days, milliseconds=longest_horizon(resolved.sets))
        trained = resolve(fold_spec.model_copy(update={"end": untested}), strategies, lake, memory=memory)
        found = search(trained, lake, threads=threads)
        resolved = replace(with_sets(resolved, found.sets, lake), searched=found.searched)
    sweep, _ = evaluate(resolved, lake, threads=threads, on_progress=on_progress, returns=False)
    fold = fold_at(sweep.days, sweep.reach, windows, _ms(test.start), _ms(test.end))
    callers = sweep.sets["callers"].to_numpy().astype(np.int64)
    objective = spec.objective
    (tested,) = walk(cells_of(sweep), [fold], objective.objective, objective.minimum, callers).folds
    values = resolved.sets.values(tested.chosen) if tested.chosen >= 0 else None
    return Walked(tested, len(resolved.sets), values)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
