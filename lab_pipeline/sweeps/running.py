"""A sweep from request to published artifacts, in its steps."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from lab_pipeline.domain.backtest import BacktestSpec, ResolvedSpec, TimeRange, iso
from lab_pipeline.domain.candles import Floats
from lab_pipeline.domain.enums import LaneKind
from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.domain.frames import CALL_OPTIONS, CALLS
from lab_pipeline.domain.model import canonical_json
from lab_pipeline.domain.space import Point, Space
from lab_pipeline.domain.strategy import StrategyConfig, minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine import ENGINE_VERSION
from lab_pipeline.engine.fitting import columns_read, reads_liquidity, without_a_pool
from lab_pipeline.engine.history import DAY_MS, count_calls, counts_calls, look_back_ms
from lab_pipeline.engine.signals import Signal
from lab_pipeline.lake import CandleSlice, Lake, snapshot_hash
from lab_pipeline.runs import backtest as backtests
from lab_pipeline.runs.progress import Progress
from lab_pipeline.runs.signals import Signals, unusable
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.statistics.selection import (
    Choice,
    DayCells,
    Evidence,
    Selection,
    assess,
    best_objective,
    choose,
    hold_out,
)
from lab_pipeline.sweeps.artifacts import frames_of, selection_document
from lab_pipeline.sweeps.limits import MEMORY, require_memory
from lab_pipeline.sweeps.search import find_points
from lab_pipeline.sweeps.spec import Method, SweepSpec
from lab_pipeline.sweeps.store import SweepManifest, SweepStore

if TYPE_CHECKING:
    from lab_pipeline.engine import Simulation
    from lab_pipeline.engine.sweep import Sets, Sweep, Sweeper
    from lab_pipeline.statistics.selection.plateau import Levels


@dataclass(frozen=True)
class ResolvedSweep:
    """A sweep with its references looked up.

    Attributes:
        spec: the request.
        backtest: the strategy as it is, on the days that select: `range` ends before the holdout.
        strategy_version: what `sets` vary.
        method: how the space is searched.
        sets: what to evaluate; of an optimiser those of its first batch, until `search` has found all.
        calls: that select; `frames.CALLS`, and whatever of `frames.CALL_OPTIONS` the lake knows.
        all_calls: over which filters count.
        signals: registered functions that some set names.
        held_days: days of the holdout, whose calls are not simulated.
        signals_dir: where registered signals are.
        memory: bytes that cells may take, and candles that an optimiser keeps.
        searched: fingerprint of the optimiser's search, whose trials are kept until the sweep is published.
    """

    spec: SweepSpec
    backtest: BacktestSpec
    strategy_version: str
    method: Method
    sets: "Sets"
    calls: pl.DataFrame
    all_calls: pl.DataFrame
    signals: dict[str, Signal]
    held_days: int
    signals_dir: Path | None = None
    memory: int = MEMORY
    searched: str | None = None


@dataclass(frozen=True)
class SelectedSweep:
    """What came of a sweep, and what is to be made of it.

    Attributes:
        resolved: the request.
        sweep: what the sets earned on the days that select.
        snapshot: hash of what was read.
        selection: the winner, and how far it can be believed.
        lanes: the winner's rows of `frames.FILL_CERTAINTY`; empty without a winner.
        placebos: best objective of each; null where none was asked for.
        earlier: configurations that were tried before, which are no sets of this sweep.
        front: where several objectives are weighed, the sets that none other beats in all of them; best first by the
            first objective.
    """

    resolved: ResolvedSweep
    sweep: "Sweep"
    snapshot: str
    selection: Selection
    lanes: pl.DataFrame
    placebos: Floats | None
    earlier: int
    front: tuple[int, ...] | None = None


def resolve(spec: SweepSpec, strategies: StrategyStore, lake: Lake, *, memory: int = MEMORY) -> ResolvedSweep:
    """Look up the strategy, choose the sets, select the calls and keep the holdout apart.

    Args:
        spec: the request.
        strategies: of the lab.
        lake: that has calls and candles.
        memory: bytes that the cells of all sets may take.

    Raises:
        InvalidConfigError: naming the path of the space, of the strategy or of a set that does not fit.
        LabError: if there is nothing to run it on, nothing left to select on, or more cells than memory.
    """
    from lab_pipeline.engine.sweep import Sets, days_of  # noqa: PLC0415 - numba
    from lab_pipeline.engine.sweep.sweeper import MOST_CALLERS  # noqa: PLC0415 - numba

    asked = spec.backtest(backtests.full_range(lake))
    base = backtests.resolve(asked, strategies, lake)
    space = Space.parse(spec.space, spec.constraints)
    method, points = find_points(space, spec.search, spec.seed)
    sets = Sets(base.spec.strategy, space, points)
    calls = lake.calls(start=asked.range.start, end=asked.range.end, mints=spec.mints, callers=spec.callers)
    calls = calls.select(*CALLS, *(name for name in CALL_OPTIONS if name in calls.columns))
    if calls.is_empty():
        raise LabError("the sweep selects no calls: `start`, `end`, `mints` and `callers` decide which")
    signals = _signals(sets.groups, strategies.signals_dir)
    _require_pools(sets, calls, lake, spec.timeframe)
    called_at = calls["called_at"].to_physical().to_numpy()
    days, reach, day = days_of(called_at, sets)
    if spec.search.optimises:  # its sets are not all there yet
        np.maximum.at(reach, day, called_at + longest_horizon(sets))
    selecting, held = hold_out(days, reach, spec.validation.holdout)
    if not selecting.any():
        raise LabError(
            f"validation.holdout {spec.validation.holdout:g} of {len(days)} days with calls, and the windows that "
            "reach into it, leave no day to select on: make it smaller, or sweep more days"
        )
    selected = calls.filter(pl.Series(selecting[day]))
    count = spec.search.sets if spec.search.optimises else len(sets)
    callers = min(selected["caller"].n_unique(), MOST_CALLERS + 1)
    require_memory(count, int(selecting.sum()), callers, space, memory)
    end = asked.range.end
    if not selecting.all():
        end = _moment(int(days[selecting][-1]) + DAY_MS, asked.range.start)
    return ResolvedSweep(
        spec=spec,
        backtest=asked.model_copy(update={"range": TimeRange(start=asked.range.start, end=end)}),
        strategy_version=base.spec.strategy_version,
        method=method,
        sets=sets,
        calls=selected,
        all_calls=lake.calls() if any(map(counts_calls, sets.groups)) else calls.clear(),
        signals=signals,
        held_days=int(held.sum()),
        signals_dir=strategies.signals_dir,
        memory=memory,
    )


def search(
    resolved: ResolvedSweep,
    lake: Lake,
    store: SweepStore | None = None,
    *,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> ResolvedSweep:
    """Return the sweep with all sets that its optimiser proposes; one whose sets were chosen at once as it is.

    Args:
        resolved: the request.
        lake: that has the candles.
        store: that keeps the trials until the sweep is published: whoever is killed goes on from there, to the same
            sets. Without it they are in memory alone.
        threads: of the simulation; default: all cores. The result does not depend on it.
        on_progress: called with the sets that were proposed and the sets in all.
    """
    if not resolved.spec.search.optimises:
        return resolved
    from lab_pipeline.sweeps.searching import search_sets  # noqa: PLC0415 - numba

    return search_sets(resolved, lake, store, threads=threads, on_progress=on_progress)


def with_sets(resolved: ResolvedSweep, sets: "Sets", lake: Lake) -> ResolvedSweep:
    """Return the same sweep of other sets of its space; errors as of `resolve`."""
    _require_pools(sets, resolved.calls, lake, resolved.spec.timeframe)
    all_calls = resolved.all_calls
    if all_calls.is_empty() and any(map(counts_calls, sets.groups)):
        all_calls = lake.calls()
    return replace(resolved, sets=sets, all_calls=all_calls, signals=_signals(sets.groups, resolved.signals_dir))


def evaluate(
    resolved: ResolvedSweep, lake: Lake, *, threads: int | None = None, on_progress: Progress | None = None
) -> "tuple[Sweep, str]":
    """Evaluate every set in one pass over the candles, shard by shard.

    Args:
        resolved: what to evaluate.
        lake: that has the candles.
        threads: of the simulation; default: all cores. The result does not depend on it.
        on_progress: called with the calls that are done and the calls in all.

    Returns:
        What the sets earned, and the hash (hex) of the calls and candles that were read.
    """
    candles = plan(resolved, lake)
    sweeper = make_sweeper(resolved, resolved.calls, candles, threads)
    done = 0
    with candles:
        for shard in candles:
            done += sweeper.add(shard)
            if on_progress:
                on_progress(done, resolved.calls.height)
    digest = backtests.digest_of(candles.digests, candles.finer.digests)
    return sweeper.finish(), snapshot_hash(resolved.calls, digest)


def draw_placebos(
    resolved: ResolvedSweep, lake: Lake, *, threads: int | None = None, on_progress: Progress | None = None
) -> Floats | None:
    """Search as many placebos as were asked for; null for none. Arguments as of `evaluate`.

    Returns:
        The best objective of each, minus infinity where no set may win.
    """
    from lab_pipeline.sweeps.placebos import best_of_placebos  # noqa: PLC0415 - numba

    spec = resolved.spec
    if not spec.validation.placebo:
        return None
    calls = resolved.calls
    if any(map(counts_calls, resolved.sets.groups)):
        calls = count_calls(calls, resolved.all_calls)

    if spec.search.optimises:
        from lab_pipeline.sweeps.searching import best_of_searches  # noqa: PLC0415 - numba

        return best_of_searches(resolved, calls, lake, threads=threads, on_progress=on_progress)

    def best(sweep: "Sweep") -> float:
        callers = sweep.sets["callers"].to_numpy().astype(np.int64)
        return best_objective(cells_of(sweep), spec.objective.objective, spec.objective.minimum, callers)

    return best_of_placebos(
        spec.validation.placebo,
        calls,
        resolved.sets,
        lambda: plan(resolved, lake),
        lambda moved, candles: make_sweeper(resolved, moved, candles, threads),
        best,
        seed=spec.seed,
        memory=resolved.memory,
        on_progress=on_progress,
    )


def select(
    resolved: ResolvedSweep,
    sweep: "Sweep",
    snapshot: str,
    *,
    lake: Lake,
    strategies: StrategyStore,
    tried: Iterable[str] = (),
    placebos: Floats | None = None,
    threads: int | None = None,
) -> SelectedSweep:
    """Choose a winner, run it once more as a backtest, and say how far it can be believed.

    Args:
        resolved: what was swept.
        sweep: what the sets earned.
        snapshot: of what was read.
        lake: that has the candles.
        strategies: of the lab, for registered signals.
        tried: hashes of the configurations of this strategy that earlier sweeps have evaluated.
        placebos: best objective of each, as `draw_placebos` returns them.
        threads: of the backtest.

    Raises:
        RuntimeError: if the backtest does not return, bit for bit, what the sweep did.
    """
    spec = resolved.spec
    cells = cells_of(sweep)
    choice = choose(
        cells, spec.objective.objective, spec.objective.minimum, sweep.sets["callers"].to_numpy().astype(np.int64)
    )
    hashes = set(resolved.sets.hashes)
    earlier = len(set(tried) - hashes)
    lanes = pl.DataFrame()
    evidence = Evidence(trials=len(hashes) + earlier)
    if choice.winner >= 0:
        replayed = _replay(resolved, choice, sweep, lake, strategies, threads)
        lanes = replayed.fill_certainty.filter(pl.col("kind") == LaneKind.STRESS)
        evidence = Evidence(
            trials=len(hashes) + earlier,
            caller_trades=sweep.caller_trades[choice.winner].astype(np.float64),
            caller_net=sweep.caller_net[choice.winner],
            levels=_levels(resolved.sets),
            grid=resolved.method == "grid",
            lanes={
                name: np.nan if value is None else value for name, value in lanes.select("lane", "expectancy").rows()
            },
            placebos=placebos,
        )
    selection = assess(cells, choice, evidence, spec.validation.validation, seed=spec.seed)
    front = None
    if len(spec.objective.all) > 1:
        front = tuple(pareto_front(objectives_of(resolved, sweep)))
    return SelectedSweep(resolved, sweep, snapshot, selection, lanes, placebos, earlier, front)


def publish(sweep_id: str, selected: SelectedSweep, store: SweepStore) -> SweepManifest:
    """Write the artifacts and make them visible at once.

    Raises:
        LabError: if they cannot be written, or the id is taken.
    """
    resolved = selected.resolved
    sets, spec = resolved.sets, resolved.spec
    space = {
        "method": resolved.method,
        "seed": spec.seed,
        "asked": sets.asked,
        "evaluated": len(sets),
        "duplicates": sets.duplicates,
        "excluded": sets.excluded,
        "invalid": sets.invalid_count,
        "first_invalid": [
            {"number": one.number, "values": one.values, "problems": [str(problem) for problem in one.problems]}
            for one in sets.invalid
        ],
        "start": iso(resolved.backtest.range.start),
        "end": iso(resolved.backtest.range.end),
        "holdout_days": resolved.held_days,
    }
    head = {
        "fingerprint": spec.fingerprint(
            resolved.strategy_version, selected.snapshot, ENGINE_VERSION, str(selected.selection.trials)
        ),
        "spec": spec.to_json_dict(),
        "strategy_version": resolved.strategy_version,
        "snapshot": selected.snapshot,
        "engine_version": ENGINE_VERSION,
        "sets": len(sets),
        "verdict": selected.selection.verdict.words,
    }
    frames = frames_of(selected.sweep, selected.selection, selected.lanes, selected.placebos)
    document = selection_document(selected.selection, selected.earlier, selected.front)
    texts = {"space": space, "selection": document}
    manifest = store.publish(sweep_id, head, frames, texts)
    if resolved.searched is not None:
        store.forget(resolved.searched)
    return manifest


def run_sweep(
    spec: SweepSpec,
    *,
    lake: Lake,
    strategies: StrategyStore,
    store: SweepStore,
    threads: int | None = None,
    memory: int = MEMORY,
    on_progress: Progress | None = None,
    on_placebos: Progress | None = None,
) -> tuple[SweepManifest, SelectedSweep]:
    """Run a whole sweep in this process: the steps, one after the other."""
    return run_resolved(
        resolve(spec, strategies, lake, memory=memory),
        lake=lake,
        strategies=strategies,
        store=store,
        threads=threads,
        on_progress=on_progress,
        on_placebos=on_placebos,
    )


def run_resolved(
    resolved: ResolvedSweep,
    *,
    lake: Lake,
    strategies: StrategyStore,
    store: SweepStore,
    threads: int | None = None,
    on_progress: Progress | None = None,
    on_placebos: Progress | None = None,
) -> tuple[SweepManifest, SelectedSweep]:
    """Run what is left of a sweep once it was resolved."""
    resolved = search(resolved, lake, store, threads=threads, on_progress=on_progress)
    sweep, snapshot = evaluate(resolved, lake, threads=threads, on_progress=on_progress)
    placebos = draw_placebos(resolved, lake, threads=threads, on_progress=on_placebos)
    selected = select(
        resolved,
        sweep,
        snapshot,
        lake=lake,
        strategies=strategies,
        tried=store.tried(resolved.spec.strategy),
        placebos=placebos,
        threads=threads,
    )
    return publish(str(uuid.uuid4()), selected, store), selected


def make_sweeper(resolved: ResolvedSweep, calls: pl.DataFrame, candles: CandleSlice, threads: int | None) -> "Sweeper":
    """Return a sweeper of calls under the sets of a sweep; `candles` are where finer ones are from."""
    from lab_pipeline.engine.sweep import Sweeper  # noqa: PLC0415 - numba

    length = timeframe_ms(resolved.spec.timeframe)

    def finer(wanted: pl.DataFrame) -> pl.DataFrame:
        return candles.finer.within(wanted, length)

    return Sweeper(
        calls,
        resolved.sets,
        timeframe=resolved.spec.timeframe,
        threads=threads,
        finer=dict.fromkeys(_finer_timeframes(resolved.sets), finer),
        all_calls=resolved.all_calls,
        signals=resolved.signals,
        memory=resolved.memory,
    )


def cells_of(sweep: "Sweep") -> DayCells:
    """Return what is selected on."""
    return DayCells.of(sweep.days, sweep.day_trades, sweep.day_net, sweep.reach)


class Reach(NamedTuple):
    """Which candles sets can reach: from when and until when, whether with liquidity, and the length of finer ones."""

    start: datetime
    end: datetime
    liquidity: bool
    finer: str | None

    @classmethod
    def of(cls, resolved: ResolvedSweep) -> "Reach":
        """Return what the windows of some set can reach, and what its rules look back on."""
        sets, calls = resolved.sets, resolved.calls
        length = timeframe_ms(resolved.spec.timeframe)
        groups = sets.plan(length).groups
        backs = [look_back_ms(one.config, length) for one in groups]
        look_back = max(backs + [reach for one in groups for _, reach in one.ranges])
        horizon = max(minutes_to_ms(one.config.horizon_minutes) for one in groups)
        first, last = calls.select(first=pl.col("called_at").min(), last=pl.col("called_at").max()).row(0)
        return cls(
            first - timedelta(milliseconds=look_back),
            last + timedelta(milliseconds=horizon),
            any(map(reads_liquidity, sets.readers.values())),
            next(iter(_finer_timeframes(sets)), None),
        )

    def with_(self, other: "Reach") -> "Reach":
        """Return what reaches as far as both."""
        _require_one_length({self.finer, other.finer} - {None})
        return Reach(
            min(self.start, other.start),
            max(self.end, other.end),
            self.liquidity or other.liquidity,
            self.finer or other.finer,
        )

    def open(self, resolved: ResolvedSweep, lake: Lake) -> CandleSlice:
        """Choose the candles of the calls' tokens."""
        mints = resolved.calls["mint"].unique().sort().to_list()
        return lake.slice(
            resolved.spec.timeframe, mints, self.start, self.end, liquidity=self.liquidity, finer=self.finer
        )


def objectives_of(resolved: ResolvedSweep, sweep: "Sweep") -> Floats:
    """Return every objective of every set, minus infinity where it cannot win; shape (objectives, sets)."""
    asked, callers = resolved.spec.objective, sweep.sets["callers"].to_numpy().astype(np.int64)
    choices = [choose(cells_of(sweep), one, asked.minimum, callers) for one in asked.all]
    return np.array([np.where(one.allowed, one.scores, -np.inf) for one in choices])


def pareto_front(objectives: Floats) -> list[int]:
    """Return the columns that none other beats: none is at least as good in each row and better in one.

    Args:
        objectives: (objectives, sets); sets with minus infinity are left out.

    Returns:
        Their numbers, best first by the first objective, then by the others.
    """
    able = np.flatnonzero(np.isfinite(objectives).all(axis=0))
    best_first = able[np.lexsort(-objectives[::-1, able])]
    front: list[int] = []
    for number in best_first.tolist():
        mine, others = objectives[:, [number]], objectives[:, front]
        if not ((others >= mine).all(axis=0) & (others > mine).any(axis=0)).any():
            front.append(number)
    return front


def plan(resolved: ResolvedSweep, lake: Lake) -> CandleSlice:
    """Choose the candles that some set's windows can reach, and what its rules look back on.

    Raises:
        RuntimeError: if an optimiser has not found the sets yet.
    """
    if resolved.spec.search.optimises and resolved.searched is None:
        raise RuntimeError("only the first batch of the sets is there: call search")
    return Reach.of(resolved).open(resolved, lake)


def longest_horizon(sets: "Sets") -> int:
    """Return the longest horizon of any set, those included that an optimiser may propose, in milliseconds."""
    minutes = [one.horizon_minutes for one in sets.groups]
    for dimension in sets.space.dimensions:
        if dimension.path == "horizonMinutes":
            ends = [dimension.high] if dimension.values is None else dimension.values
            minutes += [value for value in ends if isinstance(value, int | float)]
    return max(map(minutes_to_ms, minutes))


def _replay(  # noqa: PLR0917 - what `select` holds
    resolved: ResolvedSweep,
    choice: Choice,
    sweep: "Sweep",
    lake: Lake,
    strategies: StrategyStore,
    threads: int | None,
) -> "Simulation":
    """Run the winner as a backtest on the same calls, and hold the sweep to it."""
    config = resolved.sets.config(choice.winner)
    calls = resolved.calls
    if counts_calls(config):
        calls = count_calls(calls, resolved.all_calls)
    kept = {*CALLS, *columns_read(config)} | (set(calls.columns) - set(CALL_OPTIONS))
    signals = Signals.of(config, strategies.signals_dir)
    asked = resolved.backtest
    spec = ResolvedSpec(
        strategy_id=asked.strategy_id,
        strategy_version=resolved.strategy_version,
        strategy=config,
        universe=asked.universe,
        timeframe=asked.timeframe,
        range=asked.range,
        seed=asked.seed,
        params={},
        signals=signals.identities,
    )
    backtest = backtests.ResolvedBacktest(spec, calls.select(name for name in calls.columns if name in kept), signals)
    simulation = backtests.simulate(backtest, backtests.plan(backtest, lake), threads=threads).simulation
    swept = sweep.sets.select("trades", "wins", "expectancy").row(choice.winner)
    summary = simulation.summary
    if (again := (summary.trades, summary.wins, summary.expectancy)) != swept:
        raise RuntimeError(f"set {choice.winner} made {swept} in the sweep, but {again} in a backtest")
    return simulation


def _signals(groups: list[StrategyConfig], directory: Path | None) -> dict[str, Signal]:
    """Return the registered signals that sets name."""
    functions: dict[str, Signal] = {}
    for config in groups:
        if problems := unusable(config, directory):
            raise InvalidConfigError("space", problems)
        functions |= Signals.of(config, directory).functions()
    return functions


def _require_pools(sets: "Sets", calls: pl.DataFrame, lake: Lake, timeframe: str) -> None:
    """Refuse sets whose costs, or finer candles, the lake cannot serve."""
    finer = _finer_timeframes(sets)
    _require_one_length(finer)
    for length in finer:
        if length not in lake.timeframes():
            raise LabError(f"the lake has no {length} candles, which some set asks for: fix finerTimeframe")
    for config in sets.readers.values():
        if reads_liquidity(config):
            known = {"candles": lake.has_liquidity(timeframe), "calls": "liquidity_at_call" in calls.columns}
            if problems := without_a_pool(config, **known):
                raise InvalidConfigError("space", problems)


def _require_one_length(finer: Iterable[str | None]) -> None:
    if len(lengths := sorted(map(str, finer))) > 1:
        raise LabError(f"a sweep reads finer candles of one length, not of {', '.join(lengths)}: fix finerTimeframe")


def _finer_timeframes(sets: "Sets") -> set[str]:
    return {config.finer_timeframe for config in sets.readers.values() if config.finer_timeframe is not None}


def _levels(sets: "Sets") -> "Levels":
    """Return the number of the value that each set has of each dimension, in its order; shape (sets, dimensions)."""
    points: list[Point] = [tuple(sets.values(number).values()) for number in range(len(sets))]
    levels = np.empty((len(sets), len(sets.space.dimensions)), np.int64)
    for place, dimension in enumerate(sets.space.dimensions):
        column = [point[place] for point in points]
        if dimension.values is None:
            levels[:, place] = np.unique(np.array(column, np.float64), return_inverse=True)[1]
        else:
            number = {canonical_json(value): level for level, value in enumerate(dimension.values)}
            levels[:, place] = [number[canonical_json(value)] for value in column]
    return levels


def _moment(milliseconds: int, like: datetime) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=like.tzinfo)
