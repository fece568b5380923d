"""Searches by an optimiser: batch after batch over candles that are read once."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Self

import numpy as np
import polars as pl

from lab_pipeline.domain.candles import CandleColumns, Floats
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.space import Point
from lab_pipeline.engine import ENGINE_VERSION
from lab_pipeline.engine.sweep import Sweep
from lab_pipeline.lake import CandleSlice, Lake
from lab_pipeline.runs.progress import Progress
from lab_pipeline.sweeps.optimiser import Optimiser, versions
from lab_pipeline.sweeps.placebos import moments, moved
from lab_pipeline.sweeps.running import Reach, ResolvedSweep, longest_horizon, make_sweeper, objectives_of, with_sets
from lab_pipeline.sweeps.store import SweepStore
from lab_pipeline.sweeps.trials import TrialFiles

BYTES_A_CANDLE = 56
"""Time, prices, volume and liquidity."""


def search_sets(
    resolved: ResolvedSweep,
    lake: Lake,
    store: SweepStore | None,
    *,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> ResolvedSweep:
    """Let the optimiser choose all sets; arguments as of `running.search`."""
    space, search = resolved.sets.space, resolved.spec.search
    name = _fingerprint(resolved, lake)
    files = None
    if store is not None:
        paths = tuple(one.path for one in space.dimensions)
        files = TrialFiles(store.partial(name) / "trials", paths, resolved.spec.objective.all, search.batch)
    with KeptCandles(lake, resolved.memory) as candles:
        points = _search(resolved, candles, files, threads, on_progress)
    return replace(with_sets(resolved, resolved.sets.of(points), lake), searched=name)


def best_of_searches(
    resolved: ResolvedSweep,
    calls: pl.DataFrame,
    lake: Lake,
    *,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Floats:
    """Search every placebo as the calls were searched, and return the best objective of each; shape (placebos,).

    What the optimiser proposes to the real calls suits them alone: those sets on other calls would be no search.

    Args:
        resolved: with all its sets.
        calls: that select, with whatever filters count.
        lake: that has the candles.
        threads: of the simulation.
        on_progress: called with the placebos that are done and the placebos in all.
    """
    number, seed = resolved.spec.validation.placebo, resolved.spec.seed
    calls = calls.sort("called_at", "call_id")
    found: list[float] = []
    with KeptCandles(lake, resolved.memory) as candles:
        shards = candles.shards(resolved)
        times, scales = moments(calls, longest_horizon(resolved.sets), shards, number, seed)
        for one in range(number):
            placebo = replace(resolved, calls=moved(calls, times[:, one], scales[:, one]))
            points = _search(placebo, candles, None, threads, None)
            try:
                sets = resolved.sets.of(points)
            except InvalidConfigError:  # no point of this search is a set
                found.append(-np.inf)
            else:
                last = with_sets(placebo, sets, lake)
                found.append(float(objectives_of(last, _swept(last, candles, threads))[0].max()))
            if on_progress:
                on_progress(len(found), number)
    return np.array(found)


class KeptCandles:
    """Candles of a lake for sweeps that follow each other: read once, and kept as long as they fit."""

    def __init__(self, lake: Lake, room: int) -> None:
        """Take the lake, and the bytes that the candles may take."""
        self.lake, self._room = lake, room
        self._reach: Reach | None = None
        self._slice: CandleSlice | None = None
        self._kept: list[CandleColumns] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def slice(self, resolved: ResolvedSweep) -> CandleSlice:
        """Return a slice that has what a sweep can reach, as wide as that of any sweep before it."""
        wanted = Reach.of(resolved)
        if self._slice is None or self._reach is None or self._reach.with_(wanted) != self._reach:
            self._let_go()
            self._reach = wanted if self._reach is None else self._reach.with_(wanted)
            self._slice = self._reach.open(resolved, self.lake)
        return self._slice

    def shards(self, resolved: ResolvedSweep) -> Iterator[CandleColumns]:
        """Iterate over the candles of a sweep: from memory if they are there."""
        candles = self.slice(resolved)
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[CandleColumns] | None = []
        held = 0
        for shard in candles:
            held += len(shard) * BYTES_A_CANDLE
            if held > self._room:
                kept = None
            if kept is not None:
                kept.append(shard)
            yield shard
        self._kept = kept

    def _let_go(self) -> None:
        self._kept = None
        if self._slice is not None:
            self._slice.close()
            self._slice = None


def _search(
    resolved: ResolvedSweep,
    candles: KeptCandles,
    files: TrialFiles | None,
    threads: int | None,
    on_progress: Progress | None,
) -> list[Point]:
    """Return all points that the optimiser proposes for the calls of a sweep."""
    spec = resolved.spec
    optimiser = Optimiser(
        resolved.sets.space,
        spec.search,
        spec.seed,
        objectives=len(spec.objective.all),
        trials=files.read() if files else (),
    )
    while points := optimiser.ask():
        first = len(optimiser.trials)
        trials = optimiser.tell(_fared(resolved, points, candles, threads))
        if files:
            files.write(first, trials)
        if on_progress:
            on_progress(len(optimiser.trials), spec.search.sets)
    return optimiser.points()


def _fared(
    resolved: ResolvedSweep, points: list[Point], candles: KeptCandles, threads: int | None
) -> list[tuple[float, ...]]:
    """Return the objectives of points; minus infinity for one that is no set or cannot win."""
    nothing = (-np.inf,) * len(resolved.spec.objective.all)
    try:
        sets = resolved.sets.of(points)
    except InvalidConfigError:  # none of them is a set
        return [nothing] * len(points)
    batch = with_sets(resolved, sets, candles.lake)
    objectives = objectives_of(batch, _swept(batch, candles, threads)).T.tolist()
    return [nothing if number < 0 else tuple(objectives[number]) for number in sets.made]


def _swept(batch: ResolvedSweep, candles: KeptCandles, threads: int | None) -> Sweep:
    sweeper = make_sweeper(batch, batch.calls, candles.slice(batch), threads, returns=False)
    for shard in candles.shards(batch):
        sweeper.add(shard)
    return sweeper.finish()


def _fingerprint(resolved: ResolvedSweep, lake: Lake) -> str:
    """Return what searches with the same trials share: the request, the state of the lake, and what computes."""
    signals = sorted(resolved.signals_dir.glob("*.py")) if resolved.signals_dir else []
    return resolved.spec.fingerprint(
        resolved.strategy_version,
        ENGINE_VERSION,
        *versions(),
        lake.calls_version(),
        *map(lake.candles_version, lake.timeframes()),
        *(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in signals),
    )
