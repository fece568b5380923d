"""What the same calls would have made under other assumptions, simulated beside them on the candles that are there.

- *Late*: every call entered 1 to `LATEST` candles later.
- *Held*: every entry held to the horizon.
- *Moved*: every call at candles of its token that are a horizon away from it or more, and `DAYS_AROUND` days (three
  horizons, if those are longer) at the most; between the first and the last call of the run, so that whatever a
  simulation looks at has been read. Prices that the call brought (entry, targets, stop) move with the token's price,
  its pool with the root of it. The strategy is asked the same of them, filters and signals included; its averages and
  extremes look back on all candles of the token that are there.

Ambiguous candles of these are taken as stop first where the strategy would open them: finer candles are read for the
run itself only. Nothing here changes what the run is.
"""
# ruff: noqa: PLR0917 - columns by position, as the kernel takes them

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.stress_lanes import STRESS_LANES
from lab_pipeline.engine import kernel
from lab_pipeline.engine.calls import NO_FINER, NO_INTEGERS, CallBook, picked, ranges
from lab_pipeline.engine.chance import find_moments
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.kernel import Candles, Options, Records, Rules
from lab_pipeline.engine.portfolio import account_of, at_least, costs_of, settle, settled
from lab_pipeline.engine.rules import options_of, rules_of

LATEST = 10
LATE_AND_DEAR = tuple(
    (lane.delay_candles, lane.fee_bps, lane.slippage_bps) for lane in STRESS_LANES if lane.delay_candles
)
"""Candles late, fee and slippage (basis points) of the stress lanes that are late, too."""
DAYS_AROUND = 7
MOST_MOMENTS, FEWEST_MOMENTS = 64, 10
"""To which a call is moved; draws take one of them for each call, over and over."""
CANDLES_MOVED = 40_000_000
"""Candles of the windows of moved calls: where all calls have more of them, each is moved to fewer moments."""
CALLS_AT_ONCE = 8_192
CALLS_A_CHUNK = 256
DAY_MS = 86_400_000

LATE = np.dtype(
    [("call", np.int64), ("trade_no", np.int32), ("delay", np.int32), ("net", np.float64)]
    + [(f"dear_{number}", np.float64) for number in range(len(LATE_AND_DEAR))]
)
"""One record a trade of a call that is entered late: its net return, and that with other costs, NaN if nobody asks."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What came of some of the calls under other assumptions. It can be pickled.

    Attributes:
        thinnest: of each trade of the run, the value that was traded in the candle of its fills that traded least.
        late: records of `LATE`.
        ranks: which calls these are.
        held: net return of each, held to the horizon; NaN for one that is not entered.
        moved: whether it was moved.
        sums: net returns of its trades at each moment that it was moved to, added up; `counts` is how many there were.
    """

    thinnest: Floats
    late: Records
    ranks: Integers
    held: Floats
    moved: npt.NDArray[np.bool_]
    sums: Floats
    counts: npt.NDArray[np.int32]


class Witness:
    """Simulates the calls of each shard under other assumptions."""

    def __init__(self, calls: pl.DataFrame, book: CallBook, config: StrategyConfig, timeframe: int, seed: int) -> None:
        """Take the calls in their order.

        Args:
            calls: columns of `frames.CALLS`, by called_at and call_id.
            book: of these calls.
            config: the strategy.
            timeframe: length of a candle in milliseconds.
            seed: of the moments to which calls are moved.
        """
        self._book, self._timeframe = book, timeframe
        self._rules, self._options = rules_of(config, timeframe), options_of(config, timeframe)
        self._account, self._costs = account_of(config, timeframe), costs_of(config)
        called_at = calls["called_at"].to_physical().to_numpy()
        self._span = (int(called_at[0]), int(called_at[-1])) if len(called_at) else (0, 0)
        window = max(1, self._rules.horizon // timeframe)
        moments = min(MOST_MOMENTS, max(FEWEST_MOMENTS, CANDLES_MOVED // (window * max(1, len(calls)))))
        generator = np.random.Generator(np.random.PCG64([seed, 0]))
        self._drawn = generator.integers(0, 2**32, size=(len(calls), moments), dtype=np.uint32)
        self._found: list[Evidence] = []

    def add(
        self,
        ranks: Integers,
        calls: kernel.Calls,
        columns: Candles,
        liquidity: Floats,
        trades: Records,
        fills: Records,
        refused: npt.NDArray[np.bool_],
        pool: ThreadPoolExecutor,
    ) -> None:
        """Simulate the calls of a shard.

        Args:
            ranks: which they are.
            calls: the same as the kernel takes them.
            columns: candles of the shard.
            liquidity: of the candles, as `kernel.simulate_calls` takes it.
            trades: of the run, `call` being the place among these.
            fills: theirs.
            refused: which calls are not entered for what they are.
            pool: on which it runs.
        """
        distance = np.ones(len(ranks))
        first = trades["trade_no"] == 1
        distance[trades["call"][first]] = trades["stop_distance"][first]
        wanted = np.flatnonzero(~refused)
        chunks = [wanted[begin : begin + CALLS_A_CHUNK] for begin in range(0, len(wanted), CALLS_A_CHUNK)]
        late = pool.map(
            lambda task: self._late(task[0], task[1], calls, columns, liquidity),
            [(chunk, delay) for chunk in chunks for delay in range(1, LATEST + 1)],
        )
        hold = partial(self._hold, calls=calls, columns=columns, liquidity=liquidity, distance=distance)
        held_chunks = pool.map(hold, chunks)
        moved, sums, counts = self._move(ranks, calls, columns, liquidity, pool)
        records = np.concatenate([np.empty(0, LATE), *late])
        records["call"] = ranks[records["call"]]
        held = np.full(len(ranks), np.nan)
        for chunk, net in zip(chunks, held_chunks, strict=True):
            held[chunk] = net
        self._found.append(Evidence(_thinnest(columns, trades, fills), records, ranks, held, moved, sums, counts))

    def take(self, evidence: Evidence) -> None:
        """Take over what another witness of the same calls found."""
        self._found.append(evidence)

    def evidence(self) -> Evidence:
        """Return all that was found, in the order in which it was."""
        moments = self._drawn.shape[1]
        none = Evidence(
            np.empty(0),
            np.empty(0, LATE),
            np.empty(0, np.int64),
            np.empty(0),
            np.empty(0, np.bool_),
            np.empty((0, moments)),
            np.empty((0, moments), np.int32),
        )
        found = [none, *self._found]
        return Evidence(
            *(np.concatenate([getattr(one, name) for one in found]) for name in Evidence.__dataclass_fields__)
        )

    def _late(self, chunk: Integers, delay: int, calls: kernel.Calls, columns: Candles, liquidity: Floats) -> Records:
        rules = self._rules._replace(delay=self._rules.delay + delay * self._timeframe)
        trades, fills = self._simulate(rules, self._options, picked(calls, chunk), columns, liquidity)
        records = np.empty(len(trades), LATE)
        records["call"], records["trade_no"], records["delay"] = chunk[trades["call"]], trades["trade_no"], delay
        records["net"] = trades["net_return"]
        last = fills[np.cumsum(trades["fills"]) - 1]
        for number, (candles, fee_bps, slippage_bps) in enumerate(LATE_AND_DEAR):
            records[f"dear_{number}"] = np.nan
            if candles == delay:
                costs = at_least(self._costs, fee_bps, slippage_bps)
                prices = last["price"].copy(), last["depth"].copy()
                records[f"dear_{number}"] = settled(trades, fills, costs, self._account, *prices)
        return records

    def _hold(
        self, chunk: Integers, *, calls: kernel.Calls, columns: Candles, liquidity: Floats, distance: Floats
    ) -> Floats:
        """Return what calls bring that are held to the horizon, staked as the run stakes them."""
        rules = self._rules._replace(stop_loss=0.0, trailing=False, break_even_after=0, max_hold=-1, reentry_count=0)
        none = readonly(np.empty(0))
        options = self._options._replace(
            stop_ranges=0, trail_ranges=0, plan=False, leave_on_signal=False, at_risk=0.0,
            multiples=none, fractions=none,
        )  # fmt: skip
        some = picked(calls, chunk)._replace(first_target=NO_INTEGERS, last_target=NO_INTEGERS)
        trades, _ = self._simulate(rules, options, some, columns, liquidity, distance[chunk])
        held = np.full(len(chunk), np.nan)
        held[trades["call"]] = trades["net_return"]
        return held

    def _simulate(
        self,
        rules: Rules,
        options: Options,
        calls: kernel.Calls,
        columns: Candles,
        liquidity: Floats,
        distance: Floats | None = None,
    ) -> tuple[Records, Records]:
        """Return trades and fills, settled with the strategy's costs; `distance` decides the stake if it is given."""
        _, trades, fills, _ = kernel.simulate_calls(columns, liquidity, NO_FINER, rules, options, calls)
        if distance is not None:
            trades["stop_distance"] = distance[trades["call"]]
        if self._costs.by_size:
            settle(trades, fills, self._costs, self._account)
        return trades, fills

    def _move(
        self, ranks: Integers, calls: kernel.Calls, columns: Candles, liquidity: Floats, pool: ThreadPoolExecutor
    ) -> tuple[npt.NDArray[np.bool_], Floats, npt.NDArray[np.int32]]:
        """Simulate the calls at other moments; returns which could be moved, and sums and counts by call and moment."""
        moments = self._drawn.shape[1]
        rows, at_call = find_moments(
            columns.timestamp,
            calls.called_at,
            calls.first_row,
            calls.last_row,
            self._rules.horizon,
            max(DAYS_AROUND * DAY_MS, 3 * self._rules.horizon),
            *self._span,
            readonly(self._drawn[ranks]),
        )
        moved = (at_call >= 0) & ~self._book.not_long[ranks]
        places = np.flatnonzero(moved)
        heard = self._book.hear_tokens(calls.first_row, calls.last_row, columns)
        calls = calls._replace(enter=heard[0], leave=heard[1])
        sums, counts = np.zeros((len(ranks), moments)), np.zeros((len(ranks), moments), np.int32)

        def simulate(some: Integers) -> None:
            which, moment = np.repeat(some, moments), rows[some].ravel()
            there = _moved_to(calls, which, moment, at_call[which], columns)
            records, trades, fills, _ = kernel.simulate_calls(
                columns, liquidity, NO_FINER, self._rules, self._options, there
            )
            if self._costs.by_size:
                settle(trades, fills, self._costs, self._account)
            bought = ~self._book.refuse(ranks[which], records)[trades["call"]]
            call, net = trades["call"][bought], trades["net_return"][bought]
            sums[some] = np.bincount(call, weights=net, minlength=len(which)).reshape(len(some), moments)
            counts[some] = np.bincount(call, minlength=len(which)).reshape(len(some), moments)

        step = max(1, CALLS_AT_ONCE // moments)
        list(pool.map(simulate, [places[begin : begin + step] for begin in range(0, len(places), step)]))
        return moved, sums, counts


def _moved_to(calls: kernel.Calls, which: Integers, row: Integers, at_call: Integers, columns: Candles) -> kernel.Calls:
    """Return calls at other moments, what they said of prices moved with the price."""
    there = picked(calls, which)
    scale = columns.open[row] / columns.open[at_call]
    targets, first, last = calls.targets, there.first_target, there.last_target
    if len(targets):
        lengths = last - first
        targets = targets[ranges(first, lengths)] * np.repeat(scale, lengths)
        last = np.cumsum(lengths)
        first = last - lengths
    return there._replace(
        called_at=readonly(columns.timestamp[row]),
        entry_price=_scaled(there.entry_price, scale),
        stop_price=_scaled(there.stop_price, scale),
        first_target=readonly(first),
        last_target=readonly(last),
        targets=readonly(targets),
        liquidity=_scaled(there.liquidity, np.sqrt(scale)),
    )


def _scaled(values: Floats, scale: Floats) -> Floats:
    return readonly(values * scale) if len(values) else values


def _thinnest(columns: Candles, trades: Records, fills: Records) -> Floats:
    """Return the least value that was traded in a candle of each trade's fills."""
    if not len(trades):
        return np.empty(0)
    row, first = fills["row"], np.cumsum(trades["fills"]) - trades["fills"]
    prices = columns.open[row] + columns.high[row] + columns.low[row] + columns.close[row]
    least: Floats = np.minimum.reduceat(columns.volume[row] * prices / 4.0, first)
    return least
