"""A sweep from request to published artifacts, in its steps."""

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from lab_pipeline.domain.backtest import BacktestSpec, TimeRange, iso
from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.errors import FieldError, InvalidConfigError, LabError
from lab_pipeline.domain.frames import CALL_OPTIONS, CALLS, CANDLES
from lab_pipeline.domain.model import canonical_json
from lab_pipeline.domain.space import Point, Space
from lab_pipeline.domain.strategy import StrategyConfig, minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine import ENGINE_VERSION
from lab_pipeline.engine.fitting import reads_liquidity, without_a_pool
from lab_pipeline.engine.history import DAY_MS, count_calls, counts_calls, look_back_ms
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
    StopFills,
    assess,
    choose,
    hold_out,
    stop_fill_sensitivity,
)
from lab_pipeline.sweeps.artifacts import (
    INTRABAR,
    POLICIES,
    frames_of,
    intrabar_rows,
    placebo_rows,
    selection_document,
    stop_fills_document,
)
from lab_pipeline.sweeps.callers import MOST_PAIRS, CallerTests, judge_callers
from lab_pipeline.sweeps.limits import MEMORY, callers_swept, days_swept, require_memory
from lab_pipeline.sweeps.portfolio import Portfolio, share_among
from lab_pipeline.sweeps.replays import Replay, accounts, replay, stress_lanes
from lab_pipeline.sweeps.search import find_points
from lab_pipeline.sweeps.spec import Method, SweepSpec
from lab_pipeline.sweeps.store import SweepManifest, SweepStore, evaluation_of

if TYPE_CHECKING:
    from lab_pipeline.engine.sweep import Sets, Sweep, Sweeper
    from lab_pipeline.statistics.selection.plateau import Levels

OnBest = Callable[[int, float], None]
"""Is told the number of a set and its objective."""
SECONDS_BETWEEN_GLANCES = 2.0
SHARE_OF_GLANCES = 0.05
"""Of the time of a sweep, at the most, that goes to seeing which set is the best so far."""


MOST_RETURNS = 4 * 10**9
"""Bytes of the returns that may be kept."""
ROWS_A_PART = 2**22


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
        signals: that some set names, as they were then.
        held_days: days of the holdout, whose calls are not simulated.
        held: when they are called; none without a holdout.
        lake: the version of the lake that has the calls and the candles.
        signals_dir: where registered signals are.
        memory: bytes that cells may take, and candles that an optimiser keeps.
        searched: fingerprint of the optimiser's search, whose trials are kept until the sweep is published.
        repeats: calls that were left out because others said it first; of all days, those of the holdout included.
        faulty: calls that were left out because their candles have faults, likewise.
    """

    spec: SweepSpec
    backtest: BacktestSpec
    strategy_version: str
    method: Method
    sets: "Sets"
    calls: pl.DataFrame
    all_calls: pl.DataFrame
    signals: Signals
    held_days: int
    held: TimeRange | None
    lake: str
    signals_dir: Path | None = None
    memory: int = MEMORY
    searched: str | None = None
    repeats: int = 0
    faulty: int = 0


@dataclass(frozen=True)
class SelectedSweep:
    """What came of a sweep, and what is to be made of it.

    Attributes:
        resolved: the request.
        sweep: what the sets earned on the days that select.
        snapshot: hash of what was read.
        selection: the winner, and how far it can be believed.
        replays: the best sets and the middle of the plateau as backtests, the best first; empty without a winner.
        accounts: what the accounts of the shortlist did; columns of `replays.ACCOUNTS`.
        callers: tests of every caller under every set; null where there are too many calls and sets for them.
        stop_fills: the winner with stops at their level and at the low; null without a winner.
        intrabar: the replayed sets by what comes first in an ambiguous candle; columns of `artifacts.INTRABAR`.
        portfolio: capital shared among the replayed sets, and among the callers of the winner.
        placebos: columns of `artifacts.PLACEBOS`; null where none was asked for.
        earlier: tries of the strategy's family by other sweeps and by backtests.
        front: where several objectives are weighed, the sets that none other beats in all of them; best first by the
            first objective.
    """

    resolved: ResolvedSweep
    sweep: "Sweep"
    snapshot: str
    selection: Selection
    replays: tuple[Replay, ...]
    accounts: pl.DataFrame
    callers: CallerTests | None
    stop_fills: StopFills | None
    intrabar: pl.DataFrame
    portfolio: Portfolio
    placebos: pl.DataFrame | None
    earlier: int
    front: tuple[int, ...] | None = None

    @property
    def lanes(self) -> pl.DataFrame:
        """The stress lanes of the replays: `set_id` and the columns of `frames.FILL_CERTAINTY`."""
        return stress_lanes(self.replays)


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

    lake = lake.at(None)
    asked = spec.backtest(backtests.full_range(lake))
    whole = asked.universe.model_copy(update={"first_mention": None, "without_faults": ()})  # left out below
    base = backtests.resolve(asked.model_copy(update={"universe": whole}), strategies, lake)
    space = Space.parse(spec.space, spec.constraints)
    method, points = find_points(space, spec.search, spec.seed)
    sets = Sets(base.spec.strategy, space, points)
    found = backtests.select_calls(
        asked, lake, look_back_ms=_longest_look_back(sets, spec.timeframe), horizon_ms=longest_horizon(sets)
    )
    calls = found.calls.select(*CALLS, *(name for name in CALL_OPTIONS if name in found.calls.columns))
    if calls.is_empty():
        left = f" ({found.repeats:,} repeats and {found.faulty:,} calls on faulty candles are left out)"
        raise LabError(
            "the sweep selects no calls: `start`, `end`, `mints` and `callers` decide which"
            + (left if found.repeats or found.faulty else "")
        )
    signals = _signals(sets.groups, strategies.signals_dir)
    _require_pools(sets, calls, lake, spec.timeframe)
    if spec.keep.returns and (needed := 8 * len(sets) * calls.height) > MOST_RETURNS:
        raise InvalidConfigError(
            "sweep",
            [
                FieldError(
                    "keep.returns",
                    f"{len(sets):,} sets on {calls.height:,} calls are {needed / 1e9:.1f} GB of returns, at most "
                    f"{MOST_RETURNS / 1e9:.0f} GB are kept: sweep fewer sets or calls",
                )
            ],
        )
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
    days_kept = days_swept(selected["called_at"], placebos=spec.validation.placebo > 0)
    require_memory(count, days_kept, callers_swept(selected["caller"]), space, memory)
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
        held=TimeRange(start=_moment(int(days[held][0]), end), end=asked.range.end) if held.any() else None,
        lake=lake.version,
        signals_dir=strategies.signals_dir,
        memory=memory,
        repeats=found.repeats,
        faulty=found.faulty,
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
    lake = lake.at(resolved.lake)
    _require_pools(sets, resolved.calls, lake, resolved.spec.timeframe)
    all_calls = resolved.all_calls
    if all_calls.is_empty() and any(map(counts_calls, sets.groups)):
        all_calls = lake.calls()
    return replace(resolved, sets=sets, all_calls=all_calls, signals=_signals(sets.groups, resolved.signals_dir))


def evaluate(
    resolved: ResolvedSweep,
    lake: Lake,
    *,
    candles: CandleSlice | None = None,
    threads: int | None = None,
    on_progress: Progress | None = None,
    on_best: OnBest | None = None,
    returns: bool | None = None,
) -> "tuple[Sweep, str]":
    """Evaluate every set in one pass over the candles, shard by shard.

    Args:
        resolved: what to evaluate.
        lake: that has the candles.
        candles: what `plan` chose of it, where that was done before; they are read once and closed.
        threads: of the simulation; default: all cores. The result does not depend on it.
        on_progress: called with the calls that are done and the calls in all, on any thread, one at a time.
        on_best: called now and then, before `on_progress`, with the best set so far and its objective.
        returns: whether to keep the return of every trade; default: as `keeps_returns` says.

    Returns:
        What the sets earned, and the hash (hex) of the calls and candles that were read.
    """
    candles = candles or plan(resolved, lake)
    told = CallsDone(len(resolved.sets), resolved.calls.height, on_progress)
    sweeper = make_sweeper(resolved, resolved.calls, candles, threads, on_pairs=told.add_pairs, returns=returns)
    feed(resolved, sweeper, candles, told, on_best)
    digest = backtests.digest_of(candles.digests, candles.finer.digests)
    return sweeper.finish(), snapshot_hash(resolved.calls, digest)


def keeps_returns(resolved: ResolvedSweep) -> bool:
    """Tell whether a sweep keeps the return of every trade: if it is published, or callers are tested with it."""
    return resolved.spec.keep.returns or len(resolved.sets) * resolved.calls.height <= MOST_PAIRS


class CallsDone:
    """Tells how many calls are done, or as good as done by the pairs of a call and a set that are, on any thread."""

    def __init__(self, sets: int, calls: int, on_progress: Progress | None) -> None:
        self._sets, self._calls, self._on_progress = sets, calls, on_progress
        self._done, self._pairs = 0, 0
        self._lock = threading.Lock()

    def add_pairs(self, count: int) -> None:
        """Take note of pairs within a shard."""
        with self._lock:
            self._pairs += count
            self._tell(self._pairs // self._sets)

    def end_shard(self, calls: int) -> None:
        """Take note of a shard that is done, of so many calls."""
        with self._lock:
            self._done, self._pairs = self._done + calls, 0
            self._tell(0)

    def _tell(self, more: int) -> None:
        if self._on_progress:
            self._on_progress(min(self._done + more, self._calls), self._calls)


def feed(
    resolved: ResolvedSweep, sweeper: "Sweeper", candles: CandleSlice, told: CallsDone, on_best: OnBest | None
) -> None:
    """Hand the candles over shard by shard, telling how many calls are done and which set is the best so far."""
    due = time.monotonic() + SECONDS_BETWEEN_GLANCES
    with candles:
        for shard in candles:
            calls = sweeper.add(shard)
            if on_best and (began := time.monotonic()) >= due:
                if (best := _best_so_far(resolved, sweeper)) is not None:
                    on_best(*best)
                took = time.monotonic() - began
                due = began + max(SECONDS_BETWEEN_GLANCES, took / SHARE_OF_GLANCES)
            told.end_shard(calls)


def draw_placebos(
    resolved: ResolvedSweep, lake: Lake, *, threads: int | None = None, on_progress: Progress | None = None
) -> pl.DataFrame | None:
    """Search as many placebos as were asked for; null for none. Arguments as of `evaluate`.

    Returns:
        A row each, columns of `artifacts.PLACEBOS`.
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

        searched = best_of_searches(resolved, calls, lake, threads=threads, on_progress=on_progress)
        return placebo_rows("moments", [(best, -1) for best in searched.tolist()])

    def best(sweep: "Sweep") -> tuple[float, int]:
        found = _choose(sweep, spec)
        return float(found.scores[found.winner]) if found.winner >= 0 else -np.inf, found.winner

    found = best_of_placebos(
        spec.validation.placebo,
        calls,
        resolved.sets,
        lambda: plan(resolved, lake),
        lambda moved, candles: make_sweeper(resolved, moved, candles, threads, returns=False),
        best,
        seed=spec.seed,
        memory=resolved.memory,
        on_progress=on_progress,
    )
    return placebo_rows("moments", found)


def select(
    resolved: ResolvedSweep,
    sweep: "Sweep",
    snapshot: str,
    *,
    lake: Lake,
    strategies: StrategyStore,
    store: SweepStore,
    placebos: pl.DataFrame | None = None,
    threads: int | None = None,
) -> SelectedSweep:
    """Choose a winner, run the best sets once more as backtests, and say how far the winner can be believed.

    Args:
        resolved: what was swept.
        sweep: what the sets earned.
        snapshot: of what was read.
        lake: that has the candles.
        strategies: of the lab, for registered signals.
        store: which knows what was tried of this strategy's family before.
        placebos: as `draw_placebos` returns them.
        threads: of the backtests.

    Raises:
        RefutedError: if a backtest does not return, bit for bit, what the sweep did.
    """
    spec = resolved.spec
    choice = _choose(sweep, spec)
    hashes = set(resolved.sets.hashes)
    evaluation = evaluation_of("", spec.to_json_dict(), snapshot, _range(resolved))
    earlier = store.earlier(evaluation, hashes)
    best: list[int] = choice.ranking.tolist()
    run = partial(
        replay, resolved, sweep, open_candles=lambda: plan(resolved, lake), strategies=strategies, snapshot=snapshot,
        threads=threads,
    )  # fmt: skip
    replays = list(run(best[: spec.keep.top]))
    evidence = Evidence(trials=len(hashes) + earlier)
    if choice.winner >= 0:
        lanes = replays[0].stress
        evidence = Evidence(
            trials=len(hashes) + earlier,
            caller_trades=sweep.caller_trades[choice.winner].astype(np.float64),
            caller_net=sweep.caller_net[choice.winner],
            levels=_levels(resolved.sets),
            grid=resolved.method == "grid",
            lanes={
                name: np.nan if value is None else value for name, value in lanes.select("lane", "expectancy").rows()
            },
            placebos=None if placebos is None else placebos["best_metric"].fill_null(-np.inf).to_numpy(),
        )
    selection = assess(cells_of(sweep), choice, evidence, spec.validation.validation, seed=spec.seed)
    land = selection.plateau
    if land is not None and land.chosen in best[spec.keep.top :]:
        replays += run([land.chosen])
    listed = [one for one in best[: spec.keep.shortlist] if one not in {known.set_id for known in replays}]
    told = pl.concat([accounts(replays), accounts(run(listed, whole=False))])
    stop_fills, intrabar = _assume(resolved, choice, [one.set_id for one in replays], lake, threads)
    return SelectedSweep(
        resolved=resolved,
        sweep=sweep,
        snapshot=snapshot,
        selection=selection,
        replays=tuple(replays),
        accounts=told,
        callers=judge_callers(
            sweep,
            spec.objective.objective,
            spec.objective.minimum,
            shuffles=spec.validation.placebo,
            seed=spec.seed,
            threads=threads,
        ),
        stop_fills=stop_fills,
        intrabar=intrabar,
        portfolio=share_among(replays, sweep, spec),
        placebos=placebos,
        earlier=earlier,
        front=tuple(pareto_front(objectives_of(resolved, sweep))) if len(spec.objective.all) > 1 else None,
    )


def publish(sweep_id: str, selected: SelectedSweep, store: SweepStore) -> SweepManifest:
    """Write the artifacts and make them visible at once.

    Raises:
        LabError: if they cannot be written, or the id is taken.
    """
    from lab_pipeline.reports import render_sweep  # noqa: PLC0415 - a tenth of a second, needed only here

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
        **_range(resolved),
        **({"repeats": resolved.repeats} if spec.first_mention else {}),
        **({"faulty": resolved.faulty} if spec.without_faults else {}),
        "holdout_days": resolved.held_days,
        "holdout_start": None if resolved.held is None else iso(resolved.held.start),
        "holdout_end": None if resolved.held is None else iso(resolved.held.end),
    }
    trials = str(selected.selection.trials)
    fingerprint = spec.fingerprint(resolved.strategy_version, selected.snapshot, ENGINE_VERSION, trials)
    head = {
        "fingerprint": fingerprint,
        "spec": spec.to_json_dict(),
        "strategy_version": resolved.strategy_version,
        "snapshot": selected.snapshot,
        "lake": resolved.lake,
        "engine_version": ENGINE_VERSION,
        "sets": len(sets),
        "verdict": selected.selection.verdict.words,
    }
    frames = frames_of(
        selected.sweep,
        selected.selection,
        selected.lanes,
        selected.placebos,
        accounts=selected.accounts,
        callers=selected.callers,
        walk=spec.validation.walk_forward.kind,
        calls_a_day=_calls_a_day(resolved.calls),
    ) | {"intrabar": selected.intrabar, "allocation": selected.portfolio.shares}
    winner = selected.selection.choice.winner
    told = selection_document(selected.selection, selected.earlier, selected.front) | {
        "winner_values": sets.values(winner) if winner >= 0 else None,
        "caller_rule": selected.callers and selected.callers.document(),
        "stop_fills": selected.stop_fills and stop_fills_document(selected.stop_fills),
    }
    texts: dict[str, dict[str, Any]] = {"space": space, "selection": told, "portfolio": selected.portfolio.document}
    parts = {}
    if spec.keep.returns and selected.sweep.returns is not None:
        parts["returns"] = selected.sweep.returns.frames(max(1, ROWS_A_PART // max(1, resolved.calls.height)))
    rank = {number: place for place, number in enumerate(selected.selection.choice.ranking.tolist(), 1)}
    results = {rank[one.set_id]: one.results() for one in selected.replays}
    report = render_sweep(
        frames,
        told,
        space,
        spec.to_json_dict(),
        strategy_version=resolved.strategy_version,
        fingerprint=fingerprint,
        snapshot=selected.snapshot,
        engine_version=ENGINE_VERSION,
    )
    manifest = store.publish(sweep_id, head, frames, texts, report, results=results, parts=parts)
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
        store=store,
        placebos=placebos,
        threads=threads,
    )
    return publish(str(uuid.uuid4()), selected, store), selected


def make_sweeper(
    resolved: ResolvedSweep,
    calls: pl.DataFrame,
    candles: CandleSlice | None = None,
    threads: int | None = None,
    *,
    on_pairs: Callable[[int], object] = lambda _: None,
    returns: bool | None = None,
) -> "Sweeper":
    """Return a sweeper of calls under the sets of a sweep; one that only puts parts together needs no candles."""
    from lab_pipeline.engine.sweep import Sweeper  # noqa: PLC0415 - numba

    length = timeframe_ms(resolved.spec.timeframe)

    def finer(wanted: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame(schema=CANDLES) if candles is None else candles.finer.within(wanted, length)

    return Sweeper(
        calls,
        resolved.sets,
        timeframe=resolved.spec.timeframe,
        threads=threads,
        finer=dict.fromkeys(_finer_timeframes(resolved.sets), finer),
        all_calls=resolved.all_calls,
        signals=resolved.signals.functions(),
        memory=resolved.memory,
        returns=keeps_returns(resolved) if returns is None else returns,
        progress=on_pairs,
    )


def _range(resolved: ResolvedSweep) -> dict[str, str]:
    """Return the range of the calls that select."""
    return {"start": iso(resolved.backtest.range.start), "end": iso(resolved.backtest.range.end)}


def _best_so_far(resolved: ResolvedSweep, sweeper: "Sweeper") -> tuple[int, float] | None:
    """Return the best of the sets that could win by now, and its objective; none where no set could."""
    (days, reach), (trades, net, callers) = sweeper.days, sweeper.so_far()
    asked = resolved.spec.objective
    choice = choose(DayCells.of(days, trades, net, reach), asked.objective, asked.minimum, callers)
    return (choice.winner, float(choice.scores[choice.winner])) if choice.winner >= 0 else None


def _calls_a_day(calls: pl.DataFrame) -> Integers:
    """Return how many calls each day with calls has, in the order of days."""
    counted: Integers = np.unique(calls["called_at"].dt.date().to_physical().to_numpy(), return_counts=True)[1]
    return counted


def _choose(sweep: "Sweep", spec: SweepSpec) -> Choice:
    callers = sweep.sets["callers"].to_numpy().astype(np.int64)
    return choose(cells_of(sweep), spec.objective.objective, spec.objective.minimum, callers)


def _assume(
    resolved: ResolvedSweep, choice: Choice, kept: list[int], lake: Lake, threads: int | None
) -> tuple[StopFills | None, pl.DataFrame]:
    """Rank all sets with every stop filled at its level, and at the candle's low; evaluate some by each policy."""
    if choice.winner < 0:
        return None, INTRABAR.to_frame()
    few = resolved.sets.some(kept)
    sets = [resolved.sets.assuming(through=0.0), *(few.assuming(intrabar=one) for one in POLICIES)]
    at_level, *by_policy = _evaluate_others(resolved, sets, lake, threads)
    (at_low,) = _evaluate_others(resolved, [resolved.sets.assuming(through=1.0)], lake, threads)
    objectives = {"as_run": choice.scores}
    objectives |= {name: _choose(swept, resolved.spec).scores for name, swept in (("level", at_level), ("low", at_low))}
    return stop_fill_sensitivity(objectives, choice.allowed, choice.winner), intrabar_rows(kept, by_policy)


def _evaluate_others(resolved: ResolvedSweep, sets: "list[Sets]", lake: Lake, threads: int | None) -> "list[Sweep]":
    """Evaluate other sets on the same calls, all in one pass over the candles."""
    candles = plan(resolved, lake)
    sweepers = [
        make_sweeper(replace(resolved, sets=one), resolved.calls, candles, threads, returns=False) for one in sets
    ]
    with candles:
        for shard in candles:
            for one in sweepers:
                one.add(shard)
    return [one.finish() for one in sweepers]


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
        look_back = _longest_look_back(sets, resolved.spec.timeframe)
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
        return lake.at(resolved.lake).slice(
            resolved.spec.timeframe,
            mints,
            self.start,
            self.end,
            liquidity=self.liquidity,
            finer=self.finer,
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


def _longest_look_back(sets: "Sets", timeframe: str) -> int:
    """Return how long before a call the candles open that some set reads, in milliseconds."""
    length = timeframe_ms(timeframe)
    groups = sets.plan(length).groups
    return max(
        [look_back_ms(one.config, length) for one in groups] + [reach for one in groups for _, reach in one.ranges]
    )


def longest_horizon(sets: "Sets") -> int:
    """Return the longest horizon of any set, those included that an optimiser may propose, in milliseconds."""
    minutes = [one.horizon_minutes for one in sets.groups]
    for dimension in sets.space.dimensions:
        if dimension.path == "horizonMinutes":
            ends = [dimension.high] if dimension.values is None else dimension.values
            minutes += [value for value in ends if isinstance(value, int | float)]
    return max(map(minutes_to_ms, minutes))


def _signals(groups: list[StrategyConfig], directory: Path | None) -> Signals:
    """Return the registered signals that sets name."""
    found = Signals({}, {})
    for config in groups:
        if problems := unusable(config, directory):
            raise InvalidConfigError("space", problems)
        signals = Signals.of(config, directory)
        found = Signals(found.identities | signals.identities, found.sources | signals.sources)
    return found


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
