"""Sets of a sweep once more, as backtests: what they would publish, and proof that the sweep has their numbers.

The candles are read once for as many sets as may be held at once. A backtest of a sweep is that of `lab backtest` on
the same calls but for what takes longest: what chance makes of them, which a sweep asks of its placebos, and entries
later than those of the stress lanes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import ResolvedSpec
from lab_pipeline.domain.enums import LaneKind
from lab_pipeline.domain.frames import CALL_OPTIONS, CALLS
from lab_pipeline.domain.results import RESULTS, check
from lab_pipeline.domain.strategy import minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine import ENGINE_VERSION
from lab_pipeline.engine.fitting import columns_read
from lab_pipeline.engine.history import count_calls, counts_calls
from lab_pipeline.lake import CandleSlice
from lab_pipeline.runs.artifacts import Provenance
from lab_pipeline.runs.signals import Signals
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps.proofs import hold_to
from lab_pipeline.sweeps.store import Results

if TYPE_CHECKING:
    from lab_pipeline.engine import Simulation, Simulator
    from lab_pipeline.engine.sweep import Sweep
    from lab_pipeline.sweeps.running import ResolvedSweep

CLOSES_HELD = 2**27
"""Of the windows of all sets that are replayed at once: a gigabyte."""
ACCOUNTS = pl.Schema(
    {
        "set_id": pl.Int32(),
        "total_return": pl.Float64(),
        "max_drawdown": pl.Float64(),
        "sharpe": pl.Float64(),
        "sortino": pl.Float64(),
        "avg_exposure": pl.Float64(),
        "fees_paid": pl.Float64(),
        "taken_trades": pl.Int32(),
        "expectancy_taken": pl.Float64(),
    }
)
WRITTEN = tuple(name for name in RESULTS if name != "nulls")


@dataclass(frozen=True)
class Replay:
    """One set as a backtest.

    Attributes:
        set_id: which.
        provenance: the set on the calls that select, and the snapshot of the sweep.
        simulation: what it returned; nothing is said of chance.
        said: what the set reads of the calls beside `frames.CALLS`, by call_id.
    """

    set_id: int
    provenance: Provenance
    simulation: "Simulation"
    said: pl.DataFrame

    @property
    def stress(self) -> pl.DataFrame:
        """The stress lanes: rows of `frames.FILL_CERTAINTY`."""
        return self.simulation.fill_certainty.filter(pl.col("kind") == LaneKind.STRESS)

    def results(self) -> Results:
        """Return the files of a run, each frame held to its rules.

        Raises:
            WrongResultError: if the engine made something that cannot be.
        """
        from lab_pipeline.reports import render_report  # noqa: PLC0415 - a tenth of a second, needed only here

        made = {name: check(name, getattr(self.simulation, name)) for name in WRITTEN}
        made["outcomes"] = made["outcomes"].join(self.said, on="call_id", how="left", maintain_order="left")
        known = self.provenance
        report = render_report(
            self.simulation,
            known.spec,
            fingerprint=known.fingerprint,
            snapshot=known.snapshot,
            engine_version=known.engine_version,
        )
        return made, self.simulation.summary, report


def replay(
    resolved: "ResolvedSweep",
    sweep: "Sweep",
    sets: Sequence[int],
    open_candles: Callable[[], CandleSlice],
    strategies: StrategyStore,
    *,
    snapshot: str,
    threads: int | None = None,
    whole: bool = True,
) -> Iterator[Replay]:
    """Run sets as backtests on the calls of the sweep, and hold the sweep to each.

    Args:
        resolved: what was swept.
        sweep: what the sets earned.
        sets: ids of those to run.
        open_candles: gives the candles of the sweep; they are read once for as many sets as may be held at once.
        strategies: of the lab, for registered signals.
        snapshot: of what the sweep read.
        threads: of the simulation; the result does not depend on it.
        whole: whether to simulate what other fills would have made of the calls, too.

    Yields:
        One replay a set, in their order.

    Raises:
        RefutedError: if a backtest does not return, bit for bit, what the sweep did.
    """
    length = timeframe_ms(resolved.spec.timeframe)
    horizon = max(minutes_to_ms(group.horizon_minutes) for group in resolved.sets.groups)
    at_once = max(1, CLOSES_HELD // max(1, resolved.calls.height * (horizon // length + 1)))
    for begin in range(0, len(sets), at_once):
        some = sets[begin : begin + at_once]
        candles = open_candles()
        runs = [_prepare(resolved, number, candles, strategies, threads, whole=whole) for number in some]
        with candles:
            for shard in candles:
                for _, _, simulator in runs:
                    simulator.add(shard)
        for number, (spec, calls, simulator) in zip(some, runs, strict=True):
            simulation = simulator.finish()
            hold_to(simulation, sweep, number)
            said = calls.select("call_id", *(name for name in CALL_OPTIONS if name in calls.columns))
            yield Replay(number, Provenance(spec, snapshot, ENGINE_VERSION, resolved.lake), simulation, said)


def stress_lanes(replays: Iterable[Replay]) -> pl.DataFrame:
    """Return the stress lanes of sets: `set_id` and the columns of `frames.FILL_CERTAINTY`."""
    none = pl.DataFrame(schema={"set_id": pl.Int32(), **frames.FILL_CERTAINTY})
    return pl.concat([none, *(one.stress.select(pl.lit(one.set_id, pl.Int32).alias("set_id"), "*") for one in replays)])


def accounts(replays: Iterable[Replay]) -> pl.DataFrame:
    """Return what the account of each set did: a row a set, columns of `ACCOUNTS`."""
    rows = [
        {"set_id": one.set_id} | {name: getattr(one.simulation.summary, name) for name in list(ACCOUNTS)[1:]}
        for one in replays
    ]
    return pl.DataFrame(rows, schema=ACCOUNTS)


def _prepare(
    resolved: "ResolvedSweep",
    number: int,
    candles: CandleSlice,
    strategies: StrategyStore,
    threads: int | None,
    *,
    whole: bool,
) -> tuple[ResolvedSpec, pl.DataFrame, "Simulator"]:
    from lab_pipeline.engine import Simulator  # noqa: PLC0415 - numba

    config = resolved.sets.config(number)
    calls = resolved.calls
    if counts_calls(config):
        calls = count_calls(calls, resolved.all_calls)
    kept = {*CALLS, *columns_read(config)} | (set(calls.columns) - set(CALL_OPTIONS))
    calls = calls.select(name for name in calls.columns if name in kept)
    signals = Signals.of(config, strategies.signals_dir)
    asked = resolved.backtest
    length = timeframe_ms(asked.timeframe)
    spec = ResolvedSpec(
        strategy_id=asked.strategy_id,
        strategy_version=resolved.strategy_version,
        strategy=config,
        universe=asked.universe,
        timeframe=asked.timeframe,
        range=asked.range,
        seed=asked.seed,
        params=resolved.sets.values(number),
        signals=signals.identities,
    )
    simulator = Simulator(
        calls,
        config,
        timeframe=asked.timeframe,
        threads=threads,
        finer=None if config.finer_timeframe is None else lambda wanted: candles.finer.within(wanted, length),
        signals=signals.functions(),
        other_fills=whole,
    )
    return spec, calls, simulator
