"""Chunks of calls through the tables of a group's sets, and through the kernel where tables do not suffice."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import kernel
from lab_pipeline.engine.calls import CallBook
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.kernel import Records
from lab_pipeline.engine.portfolio import account_of, costs_of, settle
from lab_pipeline.engine.rules import options_of, rules_of
from lab_pipeline.engine.runner import CallRunner, FinerSource, Shard, picked
from lab_pipeline.engine.signals import Signal
from lab_pipeline.engine.sweep.cells import Cells, accumulate
from lab_pipeline.engine.sweep.space import SETS_A_BLOCK, Group
from lab_pipeline.engine.sweep.touch import REASON_CODES, Block, Index, Pairs, Tallies, build_index, evaluate

CALLS_A_CHUNK = 256
"""Calls that are swept together."""


class SweepCanceledError(LabError):
    """Whoever asked for the sweep wants it no more."""

    def __init__(self) -> None:
        super().__init__("the sweep was canceled")


@dataclass(frozen=True, eq=False)
class Ground:
    """What all workers of a sweep share.

    Attributes:
        calls: of the sweep, by rank.
        timeframe: in milliseconds.
        day: by rank, number of the call's day; `caller` that of its caller.
        cells: what is counted.
        finer: by timeframe, where finer candles are from.
        signals: functions by the names of registered conditions.
        config_at: gives the configuration of the set at a place of the plan.
        canceled: tells whether nobody wants the sweep any more.
        progress: is told how many pairs of a call and a set were decided.
        room: of the thread.
    """

    calls: pl.DataFrame
    timeframe: int
    day: Integers
    caller: Integers
    cells: Cells
    finer: Mapping[str, FinerSource]
    signals: Mapping[str, Signal]
    config_at: Callable[[int], StrategyConfig]
    canceled: Callable[[], bool]
    progress: Callable[[int], object]
    room: "Room"

    def require_wanted(self) -> None:
        """Raise an error if the sweep was canceled."""
        if self.canceled():
            raise SweepCanceledError


class Room(threading.local):
    """Memory of one thread for what a block decides on a chunk."""

    def __init__(self) -> None:
        self._net = np.empty(CALLS_A_CHUNK * SETS_A_BLOCK)
        self.pairs = np.empty((CALLS_A_CHUNK * SETS_A_BLOCK, 2), np.int32)

    def net(self, calls: int, sets: int) -> Floats:
        """Return room for the net returns of calls and sets."""
        return self._net[: calls * sets].reshape(calls, sets)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some calls of a shard, as a group takes them.

    Attributes:
        shard: their candles.
        ranks: of the calls.
        calls: what the kernel is told of them.
        days: by call, number of its day; `callers` that of its caller.
        entries: of `kernel.ENTRY_FOUND`, row -1 for calls that are not bought.
    """

    shard: Shard
    ranks: Integers
    calls: kernel.Calls
    days: Integers
    callers: Integers
    entries: Records


class Worker:
    """Sweeps chunks of calls for the sets of one group."""

    def __init__(self, ground: Ground, group: Group) -> None:
        """Take the group's sets."""
        self._ground = ground
        self._group = group
        self._book = CallBook(ground.calls, group.config, ground.timeframe, ground.signals)
        self._rules = rules_of(group.config, ground.timeframe)
        self._options = options_of(group.config, ground.timeframe)
        self._locks = [threading.Lock() for _ in range(len(group.blocks) + 1)]

    def sweep(self, shard: Shard, ranks: Integers, first: Integers, last: Integers) -> None:
        """Decide every set of the group on some calls, and count what they earn."""
        ground, group, columns = self._ground, self._group, shard.columns
        ground.require_wanted()
        calls = self._book.of(ranks, first, last, columns)
        records, entries = kernel.find_entries(columns, self._rules, self._options, calls, bool(group.config.filters))
        entries["row"][self._book.refuse(ranks, records)] = -1
        bought = np.flatnonzero(entries["row"] >= 0)
        chunk = Chunk(shard, ranks, calls, ground.day[ranks], ground.caller[ranks], entries)
        if group.blocks:
            index = build_index(columns, entries)
            ranges = np.empty((len(group.ranges), len(ranks)))
            for number, (count, reach) in enumerate(group.ranges):
                ranges[number] = kernel.true_ranges(columns, calls, entries, count, reach)
            for lock, (place, block) in zip(self._locks, group.blocks, strict=False):
                ground.require_wanted()
                self._decide(chunk, index, readonly(ranges), place, block, lock)
                ground.progress(len(bought) * len(block.again))
        for place in group.alone if len(bought) else ():
            ground.require_wanted()
            self._simulate(chunk, place, bought, self._locks[-1])
            ground.progress(len(bought))

    def _decide(  # noqa: PLR0917 - what `sweep` holds
        self,
        chunk: Chunk,
        index: Index,
        ranges: Floats,
        place: int,
        block: Block,
        lock: threading.Lock,
    ) -> None:
        """Decide a block by its tables, and what they leave over by the kernel."""
        cells, sets = self._ground.cells, len(block.again)
        room = self._ground.room
        net, pairs = room.net(len(chunk.ranks), sets), room.pairs
        tallies = Tallies(np.zeros((sets, REASON_CODES), np.int64), np.zeros(sets, np.int64), np.zeros(sets, np.int64))
        left = evaluate(
            chunk.shard.columns, chunk.entries, index, ranges, block, self._ground.timeframe, net, tallies, pairs
        )
        placed = slice(place, place + sets)
        with lock:
            accumulate(net, chunk.days, chunk.callers, place, cells.by_day, cells.by_caller, cells.tail)
            cells.entered[placed] += tallies.reasons.sum(axis=1)
            cells.reasons[placed] += tallies.reasons
            cells.held[placed] += tallies.held
            cells.ambiguous[placed] += tallies.ambiguous
        for number, calls in _by_set(pairs[:left]):
            self._ground.require_wanted()
            self._simulate(chunk, place + number, calls, lock)

    def _simulate(self, chunk: Chunk, place: int, calls: Integers, lock: threading.Lock) -> None:
        """Simulate one set on some calls of a chunk."""
        ground, cells = self._ground, self._ground.cells
        config = ground.config_at(place)
        runner = CallRunner(self._book, config, ground.timeframe, 1, ground.finer.get(config.finer_timeframe or ""))
        made = runner.run(chunk.shard, chunk.ranks[calls], picked(chunk.calls, calls))
        trades = made.trades
        if config.costs.by_size:
            settle(trades, made.fills, costs_of(config), account_of(config, ground.timeframe))
        owners = calls[trades["call"]]
        net = np.ascontiguousarray(trades["net_return"]).reshape(-1, 1)
        with lock:
            accumulate(net, chunk.days[owners], chunk.callers[owners], place, cells.by_day, cells.by_caller, cells.tail)
            cells.entered[place] += np.count_nonzero(made.records["trades"])
            cells.reasons[place] += np.bincount(trades["reason"], minlength=REASON_CODES)
            cells.held[place] += int((trades["exit_time"] - trades["entry_time"]).sum())
            cells.ambiguous[place] += int(made.records["ambiguous"].sum())
            cells.by_kernel[place] += len(calls)


def _by_set(pairs: Pairs) -> Iterator[tuple[int, Integers]]:
    """Return the calls of each set among pairs of a call and a set."""
    ordered = pairs[np.argsort(pairs[:, 1], kind="stable")].astype(np.int64)
    sets, begins = np.unique(ordered[:, 1], return_index=True)
    yield from zip(sets.tolist(), np.split(np.ascontiguousarray(ordered[:, 0]), begins[1:]), strict=False)
