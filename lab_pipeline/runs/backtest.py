"""A backtest from request to published artifacts, in the steps that its ops are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from lab_pipeline.domain.backtest import (
    BacktestSpec,
    CallersUniverse,
    ResolvedSpec,
    TimeRange,
    TokensUniverse,
    Universe,
    override,
)
from lab_pipeline.domain.errors import FieldError, InvalidConfigError, LabError
from lab_pipeline.domain.frames import CALL_OPTIONS, CALLS, CANDLES
from lab_pipeline.domain.results import RESULTS, check
from lab_pipeline.domain.strategy import StrategyConfig, minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine import ENGINE_VERSION
from lab_pipeline.engine.fitting import columns_read, misfits, reads_liquidity, without_a_pool
from lab_pipeline.engine.history import count_calls, counts_calls, look_back_ms
from lab_pipeline.lake import CandleSlice, Lake, LakeError, SlicePiece, combine, snapshot_hash
from lab_pipeline.runs.artifacts import ArtifactStore, Manifest, Provenance
from lab_pipeline.runs.faulty import without_faults
from lab_pipeline.runs.mentions import first_mentions
from lab_pipeline.runs.progress import Progress
from lab_pipeline.runs.signals import Signals, unusable
from lab_pipeline.runs.strategies import StrategyStore, UnknownStrategyError

if TYPE_CHECKING:
    from lab_pipeline.engine import PartialSimulation, Simulation, Simulator

SHOWN_NAMES = 10
NO_SIGNALS = Signals({}, {})


class EmptyLakeError(LabError):
    """The lake has nothing to run a backtest on."""


@dataclass(frozen=True)
class ResolvedBacktest:
    """A backtest with its references looked up.

    Attributes:
        spec: the request with the strategy in it.
        calls: the calls that it selects: columns of `frames.CALLS`, and whatever else the strategy reads of them.
        signals: the registered signals that it names, as they were then.
        repeats: calls that are left out because others said it first.
        faulty: calls that are left out because their candles have faults.
        lake: the version of the lake that has the calls and the candles.
    """

    spec: ResolvedSpec
    calls: pl.DataFrame
    lake: str
    signals: Signals = NO_SIGNALS
    repeats: int = 0
    faulty: int = 0


class SelectedCalls(NamedTuple):
    """Calls that a request is about.

    Attributes:
        calls: every column that the lake has of them.
        repeats: calls that `universe.firstMention` left out.
        faulty: calls that `universe.withoutFaults` left out.
    """

    calls: pl.DataFrame
    repeats: int
    faulty: int


@dataclass(frozen=True)
class SimulatedBacktest:
    """A result and where it comes from."""

    simulation: "Simulation"
    provenance: Provenance
    candles: int
    """Candles read."""
    said: pl.DataFrame
    """What the strategy read of the calls beside `frames.CALLS`, by call_id."""
    finer_bytes: int = 0
    """Read of finer candles, compressed."""
    repeats: int = 0
    """Calls that are left out because others said it first."""
    faulty: int = 0
    """Calls that are left out because their candles have faults."""


@dataclass(frozen=True)
class SimulatedPart:
    """What came of one part of a backtest.

    Attributes:
        simulation: of the calls on the part's mints.
        digests: of the candles read, by mint bucket.
        candles: how many were read.
        finer: digests of the finer candles that were looked into, by mint bucket.
        finer_bytes: read of finer candles, compressed.
    """

    simulation: "PartialSimulation"
    digests: list[tuple[int, bytes]]
    candles: int
    finer: list[tuple[int, bytes]]
    finer_bytes: int


def full_range(lake: Lake) -> TimeRange:
    """Return the range that selects every call of the lake.

    Raises:
        EmptyLakeError: if there are no calls.
    """
    extent = lake.calls_extent()
    if extent is None:
        raise EmptyLakeError("the lake has no calls: add some with `lab ingest calls FILE`, or run `lab demo`")
    first, last = extent
    return TimeRange(start=first, end=last + timedelta(milliseconds=1))


def usual_timeframe(lake: Lake) -> str:
    """Return the length of candles where nobody names one: that which most calls have, the shortest of several.

    Raises:
        EmptyLakeError: if there are no candles.
    """
    there = lake.timeframes()
    if not there:
        raise EmptyLakeError("the lake has no candles: add some with `lab ingest candles FILE`, or run `lab demo`")
    if len(there) == 1:
        return there[0]
    called = lake.calls()["mint"]
    covered = {length: int(called.is_in(lake.mints(length)).sum()) for length in there}
    return max(there, key=covered.__getitem__)


def resolve(spec: BacktestSpec, strategies: StrategyStore, lake: Lake) -> ResolvedBacktest:
    """Look up the strategy, apply the overrides, select the calls.

    Args:
        spec: the request.
        strategies: of the lab.
        lake: of the lab.

    Raises:
        UnknownStrategyError: if there is no such strategy or version.
        InvalidConfigError: if an override or the strategy does not fit, or callers or mints are unknown; each is named.
        EmptyLakeError: if there are no candles at the timeframe.
    """
    stored = strategies.get(spec.strategy_id, spec.strategy_version)
    config = override(stored.strategy.config, spec.params)
    return resolve_config(spec, stored.version, config, strategies, lake)


def resolve_config(
    spec: BacktestSpec, version: str, config: StrategyConfig, strategies: StrategyStore, lake: Lake
) -> ResolvedBacktest:
    """Select the calls for a configuration, whatever the strategy of the request says; `version` is what it varies.

    Raises:
        InvalidConfigError: as `resolve` does.
        EmptyLakeError: likewise.
    """
    lake = lake.at(spec.as_of)
    _require_candles(lake, spec.timeframe)
    _require_known(spec.universe, lake, spec.timeframe)
    back = look_back_ms(config, timeframe_ms(spec.timeframe))
    found = select_calls(spec, lake, look_back_ms=back, horizon_ms=minutes_to_ms(config.horizon_minutes))
    problems = [*unusable(config, strategies.signals_dir), *_misfits(config, spec.timeframe, lake)]
    if problems:
        raise InvalidConfigError(f"strategy {spec.strategy_id}", problems)
    calls = found.calls.select(
        *CALLS, *(name for name in CALL_OPTIONS if name in found.calls.columns and name in columns_read(config))
    )
    if counts_calls(config):
        calls = count_calls(calls, lake.calls())
    signals = Signals.of(config, strategies.signals_dir)
    resolved = ResolvedSpec(
        strategy_id=spec.strategy_id,
        strategy_version=version,
        strategy=config,
        universe=spec.universe,
        timeframe=spec.timeframe,
        range=spec.range,
        seed=spec.seed,
        params=spec.params,
        signals=signals.identities,
    )
    return ResolvedBacktest(resolved, calls, lake.version, signals, found.repeats, found.faulty)


def select_calls(spec: BacktestSpec, lake: Lake, *, look_back_ms: int, horizon_ms: int) -> SelectedCalls:
    """Return the calls of the lake that a request is about.

    Args:
        spec: the request.
        lake: that has calls and candles.
        look_back_ms: before a call from when its candles are read, which must have none of the faults that it names.
        horizon_ms: after it until when.
    """
    universe = spec.universe
    calls = lake.calls(
        start=spec.range.start,
        end=spec.range.end,
        mints=universe.mints if isinstance(universe, TokensUniverse) else None,
        callers=universe.callers if isinstance(universe, CallersUniverse) else None,
    )
    first = calls if universe.first_mention is None else first_mentions(calls, lake.calls(), universe.first_mention)
    sound = first
    if universe.without_faults:
        sound = without_faults(first, spec, lake, look_back_ms=look_back_ms, horizon_ms=horizon_ms)
    return SelectedCalls(sound, repeats=calls.height - first.height, faulty=first.height - sound.height)


def find_problems(spec: BacktestSpec, strategies: StrategyStore, lake: Lake) -> list[FieldError]:
    """Name every field of a request that `resolve` would refuse, by its path; none if it can run."""
    found: list[FieldError] = []
    try:
        stored = strategies.get(spec.strategy_id, spec.strategy_version)
    except UnknownStrategyError as error:
        path = "strategyVersion" if strategies.versions(spec.strategy_id) else "strategyId"
        found.append(FieldError(path, str(error)))
    else:
        try:
            config = override(stored.strategy.config, spec.params)
        except InvalidConfigError as error:
            found += [FieldError(f"params.{one.path}".rstrip("."), one.message) for one in error.errors]
        else:
            for one in [*unusable(config, strategies.signals_dir), *_misfits(config, spec.timeframe, lake)]:
                place = "params" if _is_set(one.path, spec.params) else "strategy"
                found.append(FieldError(f"{place}.{one.path}", one.message))
    try:
        lake = lake.at(spec.as_of)
    except LakeError as error:
        return [*found, FieldError("asOf", str(error))]
    try:
        _require_candles(lake, spec.timeframe)
    except EmptyLakeError as error:
        found.append(FieldError("timeframe", str(error)))
    try:
        _require_known(spec.universe, lake, spec.timeframe)
    except InvalidConfigError as error:
        found += error.errors
    return found


def plan(backtest: ResolvedBacktest, lake: Lake) -> CandleSlice:
    """Choose the candles that the calls' windows can reach, and what the features look back on.

    The slice reads nothing yet; it yields its candles shard by shard, so that memory stays flat however many
    calls there are.

    Args:
        backtest: what is to be simulated.
        lake: that has the candles.
    """
    spec, calls, lake = backtest.spec, backtest.calls, lake.at(backtest.lake)
    if calls.is_empty():
        return lake.slice(spec.timeframe, [], spec.range.start, spec.range.end)
    first, last = calls.select(first=pl.col("called_at").min(), last=pl.col("called_at").max()).row(0)
    mints = calls["mint"].unique().sort().to_list()
    horizon = timedelta(minutes=spec.strategy.horizon_minutes)
    look_back = timedelta(milliseconds=look_back_ms(spec.strategy, timeframe_ms(spec.timeframe)))
    return lake.slice(
        spec.timeframe,
        mints,
        first - look_back,
        last + horizon,
        liquidity=reads_liquidity(spec.strategy),
        finer=spec.strategy.finer_timeframe,
    )


def simulate(
    backtest: ResolvedBacktest,
    candles: CandleSlice,
    *,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> SimulatedBacktest:
    """Simulate every call, shard by shard, and hash what was read on the way.

    Args:
        backtest: what to simulate.
        candles: the slice that `plan` chose; it is read once and closed.
        threads: threads of the simulation; default: all cores. The result does not depend on it.
        on_progress: called with the calls simulated so far and the calls in all.
    """
    simulator = _simulator(backtest, threads, candles)
    _feed(simulator, candles, backtest.calls.height, on_progress)
    digest = digest_of(candles.digests, candles.finer.digests)
    return _result(backtest, simulator, digest, candles.rows, candles.finer.bytes)


def simulate_part(
    backtest: ResolvedBacktest, piece: SlicePiece, *, threads: int | None = None, on_progress: Progress | None = None
) -> SimulatedPart:
    """Simulate the calls on the mints of one piece of the slice that `plan` chose; arguments as of `simulate`."""
    candles = CandleSlice.of(piece)
    simulator = _simulator(backtest, threads, candles)
    mints = [mint for file in piece.files for mint in file.mints]
    _feed(simulator, candles, backtest.calls.filter(pl.col("mint").is_in(mints)).height, on_progress)
    finer = candles.finer
    return SimulatedPart(simulator.part(), candles.digests, candles.rows, finer.digests, finer.bytes)


def merge(
    backtest: ResolvedBacktest, parts: Sequence[SimulatedPart], *, threads: int | None = None
) -> SimulatedBacktest:
    """Put the parts together and run the portfolio over all of them: the result is that of `simulate`, bit for bit.

    Args:
        backtest: what was simulated.
        parts: every one of them, in any order.
        threads: of the resampling; the result does not depend on it.
    """
    simulator = _simulator(backtest, threads)
    for part in parts:
        simulator.add_part(part.simulation)
    digest = digest_of(
        sorted(one for part in parts for one in part.digests), sorted(one for part in parts for one in part.finer)
    )
    candles, finer_bytes = sum(part.candles for part in parts), sum(part.finer_bytes for part in parts)
    return _result(backtest, simulator, digest, candles, finer_bytes)


def publish(run_id: str, result: SimulatedBacktest, artifacts: ArtifactStore) -> Manifest:
    """Draw the tear sheet, hold every frame to its rules, and make the artifacts visible at once.

    Raises:
        WrongResultError: if the engine made something that cannot be; nothing is published.
        LabError: if they cannot be written.
    """
    from lab_pipeline.reports import render_report  # noqa: PLC0415 - a tenth of a second, needed only here

    simulation, provenance = result.simulation, result.provenance
    frames = {name: check(name, getattr(simulation, name)) for name in RESULTS}
    frames["outcomes"] = frames["outcomes"].join(result.said, on="call_id", how="left", maintain_order="left")
    report = render_report(
        simulation,
        provenance.spec,
        fingerprint=provenance.fingerprint,
        snapshot=provenance.snapshot,
        engine_version=provenance.engine_version,
        repeats=result.repeats,
        faulty=result.faulty,
    )
    return artifacts.publish(run_id, provenance, frames, simulation.summary, report)


def run_backtest(
    run_id: str,
    spec: BacktestSpec,
    *,
    lake: Lake,
    strategies: StrategyStore,
    artifacts: ArtifactStore,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Manifest:
    """Run a whole backtest in this process, without Dagster: the steps of the job, called one after the other."""
    backtest = resolve(spec, strategies, lake)
    result = simulate(backtest, plan(backtest, lake), threads=threads, on_progress=on_progress)
    return publish(run_id, result, artifacts)


def _simulator(backtest: ResolvedBacktest, threads: int | None, candles: CandleSlice | None = None) -> "Simulator":
    """Make a simulator; one that only puts parts together needs no candles."""
    from lab_pipeline.engine import Simulator  # noqa: PLC0415 - numba, which who only asks for a run goes without

    spec = backtest.spec
    length = timeframe_ms(spec.timeframe)

    def finer(wanted: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame(schema=CANDLES) if candles is None else candles.finer.within(wanted, length)

    return Simulator(
        backtest.calls,
        spec.strategy,
        timeframe=spec.timeframe,
        threads=threads,
        finer=None if spec.strategy.finer_timeframe is None else finer,
        signals=backtest.signals.functions(),
        doubt_seed=spec.seed,
    )


def _feed(simulator: "Simulator", candles: CandleSlice, calls: int, on_progress: Progress | None) -> None:
    """Hand the candles over shard by shard, telling how many of the calls are done."""
    done = 0
    with candles:
        for shard in candles:
            done += simulator.add(shard)
            if on_progress:
                on_progress(done, calls)


def digest_of(candles: list[tuple[int, bytes]], finer: list[tuple[int, bytes]]) -> str:
    """Return the digest (hex) of all candles that were read; without finer ones it is that of the others."""
    digest = combine(candles)
    return combine([(0, bytes.fromhex(digest)), (1, bytes.fromhex(combine(finer)))]) if finer else digest


def _result(
    backtest: ResolvedBacktest, simulator: "Simulator", digest: str, candles: int, finer_bytes: int
) -> SimulatedBacktest:
    spec = backtest.spec
    simulation = simulator.finish()
    provenance = Provenance(spec, snapshot_hash(backtest.calls, digest), ENGINE_VERSION, backtest.lake)
    said = backtest.calls.select("call_id", *(name for name in CALL_OPTIONS if name in backtest.calls.columns))
    return SimulatedBacktest(simulation, provenance, candles, said, finer_bytes, backtest.repeats, backtest.faulty)


def _misfits(config: StrategyConfig, timeframe: str, lake: Lake) -> list[FieldError]:
    """Name every field of a strategy that does not fit the lake, by its path; the run's timeframe is not judged."""
    asks = any(one.field in CALL_OPTIONS for one in config.filters) or reads_liquidity(config)
    calls = lake.calls() if asks else pl.DataFrame(schema=CALLS)
    try:
        problems = misfits(config, timeframe, calls.columns, lake.timeframes())
    except ValueError:  # which is refused for itself
        return []
    if reads_liquidity(config):
        known = {"candles": lake.has_liquidity(timeframe), "calls": "liquidity_at_call" in calls.columns}
        problems += without_a_pool(config, **known)
    return problems


def _is_set(path: str, params: Mapping[str, object]) -> bool:
    """Return whether overrides have the field of a path, or one that it lies in."""
    return any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in params)


def _require_candles(lake: Lake, timeframe: str) -> None:
    known = lake.timeframes()
    if timeframe not in known:
        has = f"it has {', '.join(known)}" if known else "it is empty"
        raise EmptyLakeError(
            f"the lake has no {timeframe} candles: {has}. "
            f"Add some with `lab ingest candles FILE --timeframe {timeframe}`"
        )


def _require_known(universe: Universe, lake: Lake, timeframe: str) -> None:
    if isinstance(universe, CallersUniverse):
        _require_names("universe.callers", "caller", universe.callers, lake.callers())
    elif isinstance(universe, TokensUniverse):
        called = lake.calls(mints=universe.mints)["mint"].unique().to_list()
        if set(universe.mints) - set(called):  # all the candles' mints are read only where that is not enough
            _require_names("universe.mints", "mint", universe.mints, [*called, *lake.mints(timeframe)])


def _require_names(path: str, noun: str, wanted: Sequence[str], known: Sequence[str]) -> None:
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        shown = ", ".join(map(repr, unknown[:SHOWN_NAMES])) + (", ..." if len(unknown) > SHOWN_NAMES else "")
        message = f"{len(unknown)} unknown {noun}{'s' if len(unknown) > 1 else ''} {shown}: not in the lake"
        raise InvalidConfigError("backtest", [FieldError(path, message)])
