"""Chunks of calls through the tables of a group's sets, and through the kernel where tables do not suffice."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import kernel
from lab_pipeline.engine.calls import CallBook, picked
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.kernel import Records
from lab_pipeline.engine.portfolio import AccountTerms, Costs, account_of, costs_of, settle
from lab_pipeline.engine.rules import options_of, rules_of
from lab_pipeline.engine.runner import CallRunner, FinerSource, Shard
from lab_pipeline.engine.signals import Signal
from lab_pipeline.engine.sweep.cells import Cells, accumulate
from lab_pipeline.engine.sweep.returns import Noted
from lab_pipeline.engine.sweep.space import SETS_A_BLOCK, Group
from lab_pipeline.engine.sweep.touch import (
    REASON_CODES,
    Block,
    Index,
    Pairs,
    Plans,
    Tallies,
    build_index,
    evaluate,
    record_trades,
)

CALLS_A_CHUNK = 256
"""Calls that are swept together."""
PAIRS_AT_ONCE = 32 * SETS_A_BLOCK
"""Pairs of a call and a set whose returns are counted at once, half a megabyte: before a core's memory forgets them."""
LAWS_KEPT = 4_096
"""Sets of a group whose rules are kept as the kernel takes them, some 3 KB each."""
NO_PLANS = Plans(
    readonly(np.empty(0, np.int8)),
    readonly(np.empty(0, np.int64)),
    readonly(np.empty((0, 0))),
    readonly(np.empty(0)),
)


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
        noted: the returns themselves, if they are kept.
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
    noted: Noted | None
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


class Law(NamedTuple):
    """One set as compiled functions take it, and what simulates it."""

    rules: kernel.Rules
    options: kernel.Options
    costs: Costs
    account: AccountTerms
    runner: CallRunner


class Room(threading.local):
    """Memory of one thread for what a block decides at once."""

    def __init__(self) -> None:
        self._net = np.empty(PAIRS_AT_ONCE)
        self.pairs = np.empty((PAIRS_AT_ONCE, 2), np.int32)

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
        index: of the calls; `ranges` their true ranges, `plans` what their callers posted.
    """

    shard: Shard
    ranks: Integers
    calls: kernel.Calls
    days: Integers
    callers: Integers
    entries: Records
    index: Index
    ranges: Floats
    plans: Plans


class Worker:
    """Sweeps chunks of calls for the sets of one group."""

    def __init__(self, ground: Ground, group: Group) -> None:
        """Take the group's sets."""
        self._ground = ground
        self._group = group
        self._book = CallBook(ground.calls, group.config, ground.timeframe, ground.signals)
        self._rules = rules_of(group.config, ground.timeframe)
        self._options = options_of(group.config, ground.timeframe)
        self._law = lru_cache(LAWS_KEPT)(self._make_law)
        self._laws = lru_cache(None)(self._make_laws)
        self._locks = [threading.Lock() for _ in range(len(group.blocks) + 1)]

    def sweep(self, shard: Shard, ranks: Integers, first: Integers, last: Integers) -> None:
        """Decide every set of the group on some calls, and count what they earn."""
        ground, group, columns = self._ground, self._group, shard.columns
        ground.require_wanted()
        calls = self._book.of(ranks, first, last, columns)
        records, entries = kernel.find_entries(columns, self._rules, self._options, calls, bool(group.config.filters))
        entries["row"][self._book.refuse(ranks, records)] = -1
        bought = int(np.count_nonzero(entries["row"] >= 0))
        ranges = np.empty((len(group.ranges), len(ranks)))
        for number, (count, reach) in enumerate(group.ranges):
            ranges[number] = kernel.true_ranges(columns, calls, entries, count, reach)
        chunk = Chunk(
            shard=shard,
            ranks=ranks,
            calls=calls,
            days=ground.day[ranks],
            callers=ground.caller[ranks],
            entries=entries,
            index=build_index(columns, entries),
            ranges=readonly(ranges),
            plans=plans_of(self._options, calls, entries),
        )
        for lock, (place, block) in zip(self._locks, group.blocks, strict=False):
            ground.require_wanted()
            self._decide(chunk, place, block, lock)
            ground.progress(bought * len(block.hold))
        for places, block in group.sized:
            self._settle(chunk, places, block)
            ground.progress(bought * len(places))

    def _make_law(self, place: int) -> Law:
        ground = self._ground
        config = ground.config_at(place)
        finer = ground.finer.get(config.finer_timeframe) if config.finer_timeframe else None
        return Law(
            rules=rules_of(config, ground.timeframe),
            options=options_of(config, ground.timeframe),
            costs=costs_of(config),
            account=account_of(config, ground.timeframe),
            runner=CallRunner(self._book, config, ground.timeframe, 1, finer),
        )

    def _decide(self, chunk: Chunk, place: int, block: Block, lock: threading.Lock) -> None:
        """Decide a block by its tables, and what they leave over by the kernel."""
        cells, noted, sets = self._ground.cells, self._ground.noted, len(block.hold)
        room = self._ground.room
        tallies = Tallies(np.zeros((sets, REASON_CODES), np.int64), np.zeros(sets, np.int64), np.zeros(sets, np.int64))
        entered, by_kernel = np.zeros(sets, np.int64), np.zeros(sets, np.int64)
        finer = []
        step = PAIRS_AT_ONCE // sets
        for begin in range(0, len(chunk.ranks), step):
            self._ground.require_wanted()
            end = min(begin + step, len(chunk.ranks))
            net = room.net(end - begin, sets)
            left = evaluate(
                chunk.shard.columns,
                chunk.entries,
                chunk.index,
                chunk.ranges,
                chunk.plans,
                block,
                self._ground.timeframe,
                begin,
                net,
                tallies,
                room.pairs,
            )
            pairs = room.pairs[:left]
            looks_closer = block.policy[pairs[:, 1]] == kernel.FINER
            finer.append(pairs[looks_closer])
            trades = self._simulate_pairs(chunk, place, block, pairs[~looks_closer], tallies)
            later = trades[trades["trade_no"] > 1]
            first = trades[trades["trade_no"] == 1]
            net[first["call"] - begin, first["set"]] = first["net_return"]
            entered += np.count_nonzero(~np.isnan(net), axis=0)
            by_kernel += np.bincount(pairs[~looks_closer, 1], minlength=sets)
            if noted is not None:
                noted.put(chunk.ranks[begin:end], place, net)
                noted.add_later(chunk.ranks[later["call"]], place + later["set"], later)
            with lock:
                self._add(chunk, begin, place, net)
                for number in range(2, int(later["trade_no"].max(initial=1)) + 1):
                    some = later[later["trade_no"] == number]
                    net[:] = np.nan
                    net[some["call"] - begin, some["set"]] = some["net_return"]
                    self._add(chunk, begin, place, net)
        placed = slice(place, place + sets)
        with lock:
            cells.entered[placed] += entered
            cells.by_kernel[placed] += by_kernel
            cells.reasons[placed] += tallies.reasons
            cells.held[placed] += tallies.held
            cells.ambiguous[placed] += tallies.ambiguous
        for number, calls in _by_set(np.concatenate(finer)):
            self._ground.require_wanted()
            self._simulate(chunk, place + number, calls, lock)

    def _add(self, chunk: Chunk, begin: int, place: int, net: Floats) -> None:
        """Count returns by call, from `begin` on, and set, from `place` on; NaN for none."""
        cells, end = self._ground.cells, begin + len(net)
        days, callers = chunk.days[begin:end], chunk.callers[begin:end]
        accumulate(net, days, callers, place, cells.by_day, cells.by_caller, cells.tail)

    def _simulate_pairs(self, chunk: Chunk, place: int, block: Block, pairs: Pairs, tallies: Tallies) -> Records:
        """Simulate pairs of a call and a set, ascending by call; return records of `kernel.RETURN`."""
        if not len(pairs):
            return np.empty(0, kernel.RETURN)
        return kernel.simulate_sets(
            chunk.shard.columns,
            self._laws(place, len(block.hold)),
            chunk.calls,
            chunk.entries,
            np.ascontiguousarray(pairs),
            tallies.reasons,
            tallies.ambiguous,
            tallies.held,
        )

    def _make_laws(self, place: int, sets: int) -> kernel.Laws:
        """Put the sets of a block together, the first of which is at a place of the plan."""
        timeframe = self._ground.timeframe
        configs = map(self._ground.config_at, range(place, place + sets))
        return kernel.laws_of([(rules_of(config, timeframe), options_of(config, timeframe)) for config in configs])

    def _settle(self, chunk: Chunk, places: range, block: Block) -> None:
        """Find the fills that some sets share by their tables, and what each pays for them."""
        ground, columns = self._ground, chunk.shard.columns
        trades, fills, unclear, pairs = record_trades(
            columns, chunk.entries, chunk.index, chunk.ranges, chunk.plans, block, ground.timeframe
        )
        left = pairs[:, 0].astype(np.int64)
        for place in places:
            ground.require_wanted()
            law = self._law(place)
            own, own_fills = trades.copy(), fills.copy()
            paid = kernel.note_impact(
                columns, chunk.shard.liquidity, law.rules, law.options, chunk.calls, chunk.entries, own, own_fills
            )
            settle(own, own_fills, law.costs, law.account)
            with self._locks[-1]:
                self._count(chunk, place, own[paid], own["call"][paid], int(paid.sum()), int(unclear[paid].sum()))
            if len(left):
                self._simulate(chunk, place, left, self._locks[-1])

    def _simulate(self, chunk: Chunk, place: int, calls: Integers, lock: threading.Lock) -> None:
        """Simulate one set on some calls of a chunk."""
        law = self._law(place)
        made, _ = law.runner.run(chunk.shard, chunk.ranks[calls], picked(chunk.calls, calls))
        if law.costs.by_size:
            settle(made.trades, made.fills, law.costs, law.account)
        entered, ambiguous = int((made.records["trades"] > 0).sum()), int(made.records["ambiguous"].sum())
        with lock:
            self._count(chunk, place, made.trades, calls[made.trades["call"]], entered, ambiguous)
            self._ground.cells.by_kernel[place] += len(calls)

    def _count(self, chunk: Chunk, place: int, trades: Records, calls: Integers, entered: int, ambiguous: int) -> None:  # noqa: PLR0917 - what its callers hold
        """Count trades of one set; `calls` are theirs."""
        cells = self._ground.cells
        net = np.ascontiguousarray(trades["net_return"]).reshape(-1, 1)
        days, callers = chunk.days[calls], chunk.callers[calls]
        accumulate(net, days, callers, place, cells.by_day, cells.by_caller, cells.tail)
        if self._ground.noted is not None:
            self._ground.noted.add(chunk.ranks[calls], place, trades)
        cells.entered[place] += entered
        cells.reasons[place] += np.bincount(trades["reason"], minlength=REASON_CODES)
        cells.held[place] += int((trades["exit_time"] - trades["entry_time"]).sum())
        cells.ambiguous[place] += ambiguous


def plans_of(options: kernel.Options, calls: kernel.Calls, entries: Records) -> Plans:
    """Return what the callers of some calls posted, if rules ask for it; `entries` are of `kernel.ENTRY_FOUND`."""
    if not options.plan:
        return NO_PLANS
    most = int((calls.last_target - calls.first_target).max(initial=0))
    options = options._replace(plan_fractions=readonly(np.empty(0)))  # of each set its own
    kind, targets, multiples, stop = kernel.find_plans(options, calls, entries, most)
    return Plans(readonly(kind), readonly(targets), readonly(multiples), readonly(stop))


def _by_set(pairs: Pairs) -> Iterator[tuple[int, Integers]]:
    """Return the calls of each set among pairs of a call and a set."""
    ordered = pairs[np.argsort(pairs[:, 1], kind="stable")].astype(np.int64)
    sets, begins = np.unique(ordered[:, 1], return_index=True)
    yield from zip(sets.tolist(), np.split(np.ascontiguousarray(ordered[:, 0]), begins[1:]), strict=False)
