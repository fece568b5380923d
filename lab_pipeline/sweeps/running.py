"""A sweep from request to published artifacts, in its steps."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

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
from lab_pipeline.sweeps.search import Method, find_points
from lab_pipeline.sweeps.spec import SweepSpec
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
        sets: what to evaluate.
        calls: that select; `frames.CALLS`, and whatever of `frames.CALL_OPTIONS` the lake knows.
        all_calls: over which filters count.
        signals: registered functions that some set names.
        held_days: days of the holdout, whose calls are not simulated.
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
    """

    resolved: ResolvedSweep
    sweep: "Sweep"
    snapshot: str
    selection: Selection
    lanes: pl.DataFrame
    placebos: Floats | None
    earlier: int


def resolve(spec: SweepSpec, strategies: StrategyStore, lake: Lake) -> ResolvedSweep:
    """Look up the strategy, choose the sets, select the calls and keep the holdout apart.

    Raises:
        InvalidConfigError: naming the path of the space, of the strategy or of a set that does not fit.
        LabError: if there is nothing to run it on, or nothing left to select on.
    """
    from lab_pipeline.engine.sweep import Sets, days_of  # noqa: PLC0415 - numba

    asked = spec.backtest(backtests.full_range(lake))
    base = backtests.resolve(asked, strategies, lake)
    space = Space.parse(spec.space, spec.constraints)
    method, points = find_points(space, spec.search, spec.seed)
    sets = Sets(base.spec.strategy, space, points)
    calls = lake.calls(start=asked.range.start, end=asked.range.end, mints=spec.mints, callers=spec.callers)
    calls = calls.select(*CALLS, *(name for name in CALL_OPTIONS if name in calls.columns))
    if calls.is_empty():
        raise LabError("the sweep selects no calls: `start`, `end`, `mints` and `callers` decide which")
    signals = _signals(sets.groups, strategies)
    _require_pools(sets, calls, lake, spec.timeframe)
    called_at = calls["called_at"].to_physical().to_numpy()
    days, reach, day = days_of(called_at, sets)
    selecting, held = hold_out(days, reach, spec.validation.holdout)
    if not selecting.any():
        raise LabError(
            f"validation.holdout {spec.validation.holdout:g} of {len(days)} days with calls, and the windows that "
            "reach into it, leave no day to select on: make it smaller, or sweep more days"
        )
    end = asked.range.end
    if not selecting.all():
        end = _moment(int(days[selecting][-1]) + DAY_MS, asked.range.start)
    return ResolvedSweep(
        spec=spec,
        backtest=asked.model_copy(update={"range": TimeRange(start=asked.range.start, end=end)}),
        strategy_version=base.spec.strategy_version,
        method=method,
        sets=sets,
        calls=calls.filter(pl.Series(selecting[day])),
        all_calls=lake.calls() if any(map(counts_calls, sets.groups)) else calls.clear(),
        signals=signals,
        held_days=int(held.sum()),
    )


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
    candles = _plan(resolved, lake)
    sweeper = _sweeper(resolved, resolved.calls, candles, threads)
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

    def best(sweep: "Sweep") -> float:
        callers = sweep.sets["callers"].to_numpy().astype(np.int64)
        return best_objective(_cells(sweep), spec.objective.objective, spec.objective.minimum, callers)

    return best_of_placebos(
        spec.validation.placebo,
        calls,
        resolved.sets,
        lambda: _plan(resolved, lake),
        lambda moved, candles: _sweeper(resolved, moved, candles, threads),
        best,
        seed=spec.seed,
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
    cells = _cells(sweep)
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
    return SelectedSweep(resolved, sweep, snapshot, selection, lanes, placebos, earlier)


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
    texts = {"space": space, "selection": selection_document(selected.selection, selected.earlier)}
    return store.publish(sweep_id, head, frames, texts)


def run_sweep(
    spec: SweepSpec,
    *,
    lake: Lake,
    strategies: StrategyStore,
    store: SweepStore,
    threads: int | None = None,
    on_progress: Progress | None = None,
    on_placebos: Progress | None = None,
) -> tuple[SweepManifest, SelectedSweep]:
    """Run a whole sweep in this process: the steps, one after the other."""
    resolved = resolve(spec, strategies, lake)
    sweep, snapshot = evaluate(resolved, lake, threads=threads, on_progress=on_progress)
    placebos = draw_placebos(resolved, lake, threads=threads, on_progress=on_placebos)
    selected = select(
        resolved,
        sweep,
        snapshot,
        lake=lake,
        strategies=strategies,
        tried=store.tried(spec.strategy),
        placebos=placebos,
        threads=threads,
    )
    return publish(str(uuid.uuid4()), selected, store), selected


def _sweeper(resolved: ResolvedSweep, calls: pl.DataFrame, candles: CandleSlice, threads: int | None) -> "Sweeper":
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
    )


def _cells(sweep: "Sweep") -> DayCells:
    return DayCells.of(sweep.days, sweep.day_trades, sweep.day_net, sweep.reach)


def _plan(resolved: ResolvedSweep, lake: Lake) -> CandleSlice:
    """Choose the candles that some set's windows can reach, and what its rules look back on."""
    spec, sets, calls = resolved.spec, resolved.sets, resolved.calls
    length = timeframe_ms(spec.timeframe)
    groups = sets.plan(length).groups
    look_back = max([look_back_ms(one.config, length) for one in groups] + [r for one in groups for _, r in one.ranges])
    horizon = max(minutes_to_ms(one.config.horizon_minutes) for one in groups)
    first, last = calls.select(first=pl.col("called_at").min(), last=pl.col("called_at").max()).row(0)
    return lake.slice(
        spec.timeframe,
        calls["mint"].unique().sort().to_list(),
        first - timedelta(milliseconds=look_back),
        last + timedelta(milliseconds=horizon),
        liquidity=any(map(reads_liquidity, sets.readers.values())),
        finer=next(iter(_finer_timeframes(sets)), None),
    )


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


def _signals(groups: list[StrategyConfig], strategies: StrategyStore) -> dict[str, Signal]:
    """Return the registered signals that sets name."""
    functions: dict[str, Signal] = {}
    for config in groups:
        if problems := unusable(config, strategies.signals_dir):
            raise InvalidConfigError("space", problems)
        functions |= Signals.of(config, strategies.signals_dir).functions()
    return functions


def _require_pools(sets: "Sets", calls: pl.DataFrame, lake: Lake, timeframe: str) -> None:
    """Refuse sets whose costs, or finer candles, the lake cannot serve."""
    if len(finer := sorted(_finer_timeframes(sets))) > 1:
        raise LabError(f"a sweep reads finer candles of one length, not of {', '.join(finer)}: fix finerTimeframe")
    for length in finer:
        if length not in lake.timeframes():
            raise LabError(f"the lake has no {length} candles, which some set asks for: fix finerTimeframe")
    for config in sets.readers.values():
        if reads_liquidity(config):
            known = {"candles": lake.has_liquidity(timeframe), "calls": "liquidity_at_call" in calls.columns}
            if problems := without_a_pool(config, **known):
                raise InvalidConfigError("space", problems)


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
