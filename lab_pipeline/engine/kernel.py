"""The simulation of many calls over columns of candles, compiled.

`reference` is the same in plain Python, to be read; the two agree bit for bit. What makes this one fast: the rows of a
call's window are read once, on vector registers, for the highest high and lowest low of every block of rows
(`_summarise`). Most blocks touch neither the stop nor a target and make no difference to the path, which their two
numbers tell; only the others are looked at row by row. Levels are scalars that are computed again only when the state
changes; times become rows by binary search, once a call or trade.

What size does to costs is no business of this file: it notes by what the impact of a fill is measured, for `portfolio`.
"""
# ruff: noqa: PLR0917 - scalars by position are what compiled functions pass in registers
# ruff: noqa: C901, PLR0912, PLR0915 - state that would be handed from function to function and back stays in one

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import LARGEST, SMALLEST_PRICE, Floats, Integers
from lab_pipeline.domain.enums import FillReason, Outcome
from lab_pipeline.engine.compiled import compiled, inner, readonly

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
BLOCK = 64
"""Rows whose extremes are looked at together."""
REMAINDER = 1e-12
"""What is left of a position up to this fraction counts as nothing."""
LOWEST_LEVEL = 0.01
"""Part of the entry price below which no level lies that follows the true range."""

REASONS = (
    FillReason.ENTRY,
    FillReason.REENTRY,
    FillReason.TARGET,
    FillReason.STOP_LOSS,
    FillReason.BREAK_EVEN,
    FillReason.TRAILING_STOP,
    FillReason.TIME,
    FillReason.HORIZON,
    FillReason.END_OF_DATA,
    FillReason.SIGNAL,
)
ENTRY, REENTRY, TARGET, STOP_LOSS, BREAK_EVEN, TRAILING_STOP, TIME, HORIZON, END_OF_DATA, SIGNAL = range(10)
OUTCOMES = (
    Outcome.NO_CANDLES,
    Outcome.NO_ENTRY,
    Outcome.ENTERED,
    Outcome.NOT_LONG,
    Outcome.FILTERED,
    Outcome.NO_HISTORY,
    Outcome.INVALID_PLAN,
    Outcome.STAKE_TOO_SMALL,
    Outcome.NO_LIQUIDITY,
)
(
    NO_CANDLES,
    NO_ENTRY,
    ENTERED,
    NOT_LONG,
    FILTERED,
    NO_HISTORY,
    INVALID_PLAN,
    STAKE_TOO_SMALL,
    NO_LIQUIDITY,
) = range(9)
MARKET, DIP, REBOUND, LIMIT = range(4)
STOP_FIRST, TARGET_FIRST, NEAREST_OPEN, FINER = range(4)
NO_IMPACT, VOLUME_SHARE, AMM = range(3)
NO_PLAN, PLAN, BAD_PLAN = range(3)
CLEAR, UNRESOLVED, RESOLVED = range(3)
"""What a candle that touches is: one side alone, or both, of which finer candles may tell the first."""

Flags = npt.NDArray[np.bool_]
Records = npt.NDArray[np.void]

CALL = np.dtype(
    [
        ("outcome", np.int8),
        ("trades", np.int32),
        ("ambiguous", np.int32),
        ("resolved", np.int32),
        ("entry_time", np.int64),
        ("ath_multiple", np.float64),
        ("time_to_ath_minutes", np.float64),
        ("time_to_2x_minutes", np.float64),
        ("time_to_3x_minutes", np.float64),
        ("time_to_5x_minutes", np.float64),
        ("time_to_10x_minutes", np.float64),
        ("min_multiple_before_2x", np.float64),
        ("final_multiple", np.float64),
        ("pre_return_1h", np.float64),
        ("pre_volatility_1h", np.float64),
        ("pre_volume_1h", np.float64),
    ]
)
"""One record a call; NaN stands for null. All zero is a call without candles."""

TRADE = np.dtype(
    [
        ("call", np.int64),
        ("trade_no", np.int32),
        ("fills", np.int32),
        ("entry_row", np.int64),
        ("exit_row", np.int64),
        ("entry_time", np.int64),
        ("exit_time", np.int64),
        ("entry_price", np.float64),
        ("exit_price", np.float64),
        ("proceeds", np.float64),
        ("gross_return", np.float64),
        ("net_return", np.float64),
        ("mfe", np.float64),
        ("mae", np.float64),
        ("net_at_level", np.float64),
        ("net_at_low", np.float64),
        ("net_if_dead", np.float64),
        ("at_level", np.float64),
        ("at_low", np.float64),
        ("if_dead", np.float64),
        ("depth_at_level", np.float64),
        ("depth_at_low", np.float64),
        ("stop_distance", np.float64),
        ("shard", np.int64),
        ("mark", np.int64),
        ("mark_time", np.int64),
        ("reason", np.int8),
    ]
)
"""One record a trade. `fills` counts its fills, buy included; `proceeds` is net of costs, per unit bought; `at_level`,
`at_low` and `if_dead` are prices of the last fill if a stop filled at its level or at the candle's low, and if a token
whose candles end were worth nothing, with the returns that they would give; `stop_distance` is the
part of the entry price that is lost at the stop; `shard`, `mark` and `mark_time` are of `marks`."""

FILL = np.dtype(
    [
        ("time", np.int64),
        ("row", np.int64),
        ("price", np.float64),
        ("fraction", np.float64),
        ("depth", np.float64),
        ("reason", np.int8),
    ]
)
"""One record a fill. `depth` is by what its impact is measured: the value that the candle traded, or half of the
pool's; NaN where nobody tells it."""

OPENED = np.dtype([("call", np.int64), ("row", np.int64)])
"""One record a candle that is ambiguous, where finer candles decide."""

ENTRY_FOUND = np.dtype(
    [
        ("begin", np.int64),
        ("row", np.int64),
        ("end_row", np.int64),
        ("leave_row", np.int64),
        ("end", np.int64),
        ("price", np.float64),
        ("inside", np.bool_),
    ]
)
"""One record a call: where its window begins and ends (row and time), where and at what price it is first bought, the
row at whose open a condition sells. `row` is -1 if it is not bought."""


class Candles(NamedTuple):
    """Columns of a shard in which `first_bad_row` finds none: the kernel relies on what it checks."""

    timestamp: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


class FinerCandles(NamedTuple):
    """Columns of shorter candles of the same mints."""

    timestamp: Integers
    open: Floats
    high: Floats
    low: Floats


class Heard(NamedTuple):
    """What conditions say at the close of candles.

    Attributes:
        first_row: by call, from which on they were asked.
        place: by call, of the answer for that row.
        said: the answers, of all calls; calls may share them.
    """

    first_row: Integers
    place: Integers
    said: Flags


class Calls(NamedTuple):
    """What is known of each call; arrays that the rules do not ask for are empty.

    Attributes:
        called_at: in milliseconds.
        first_row: of its mint's candles; `last_row` is the row after the last.
        entry_price: that the caller posted, NaN for none; `stop_price` likewise.
        first_target: of the caller's targets; `last_target` is the index after the last.
        targets: prices, of all calls.
        liquidity: value of the pool at the call, NaN where nobody told it.
        enter: what the conditions of the entry say; `leave` those of the exit.
        first_finer: row of its mint's finer candles; `last_finer` is the row after the last.
    """

    called_at: Integers
    first_row: Integers
    last_row: Integers
    entry_price: Floats
    stop_price: Floats
    first_target: Integers
    last_target: Integers
    targets: Floats
    liquidity: Floats
    enter: Heard
    leave: Heard
    first_finer: Integers
    last_finer: Integers


class Rules(NamedTuple):
    """What of a strategy every trade is run by, as scalars.

    Times in milliseconds; 0.0 or 0 for a rule that is not set, -1 for no `max_hold`.
    """

    delay: int
    max_wait: int
    horizon: int
    timeframe: int
    entry_kind: int
    entry_fraction: float
    stop_loss: float
    trailing: bool
    trail_activation: float
    trail_distance: float
    break_even_after: int
    max_hold: int
    reentry_retrace: float
    reentry_count: int
    policy: int
    through: float
    haircut: float
    fee: float
    slip: float


class Options(NamedTuple):
    """What else a strategy may ask for: kept apart, so that what runs trades hands on less.

    Attributes:
        stop_ranges: candles of the true range that the stop follows, 0 if it does not; `trail_ranges` likewise.
        stop_factor: how many of them; `trail_factor` likewise.
        stop_reach: milliseconds before the entry candle in which they may open; `trail_reach` likewise.
        plan: whether the caller's targets and stop hold.
        own: whether there are rules for a call without them.
        enter_on_signal: whether conditions are waited for; `leave_on_signal` likewise.
        fixed_fee: per fill.
        impact: what a fill's impact is measured by.
        max_share: of the candle's traded value that a buy may be, 0 for no limit.
        pool: value at the first open, NaN where the strategy does not tell it.
        pool_age: milliseconds for which a candle's liquidity is believed.
        stake: that the sizing gives, at the most.
        at_risk: what may be lost at the stop where that decides the stake, else 0.
        multiples: of the targets.
        fractions: that they sell.
        plan_fractions: that the caller's targets sell, empty for equal parts.
    """

    stop_ranges: int
    stop_factor: float
    stop_reach: int
    trail_ranges: int
    trail_factor: float
    trail_reach: int
    plan: bool
    own: bool
    enter_on_signal: bool
    leave_on_signal: bool
    fixed_fee: float
    impact: int
    max_share: float
    pool: float
    pool_age: int
    stake: float
    at_risk: float
    multiples: Floats
    fractions: Floats
    plan_fractions: Floats


class Levels(NamedTuple):
    """What a trade is sold at.

    Attributes:
        targets: how many there are.
        multiples: of the entry price, ascending, and room for more.
        fractions: that they sell.
        stop: price of the stop loss, minus infinity without one.
        trail: distance of the trail below the peak as a price, -1 if it is a fraction of the peak.
    """

    targets: int
    multiples: Floats
    fractions: Floats
    stop: float
    trail: float


RULES_SAID = Rules._fields
OPTIONS_SAID = tuple(name for name, type_ in Options.__annotations__.items() if type_ is not Floats)
LAW = np.dtype(
    [
        (name, {int: np.int64, float: np.float64, bool: np.bool_}[type_])
        for one in (Rules, Options)
        for name, type_ in one.__annotations__.items()
        if type_ is not Floats
    ]
)
"""One record a set: what `Rules` and `Options` say of it as numbers."""

RETURN = np.dtype([("call", np.int64), ("set", np.int64), ("trade_no", np.int32), ("net_return", np.float64)])
"""One record a trade of some set."""


class Pool(NamedTuple):
    """What is known of a call's pool: where its candles begin, the window's first open, and its value there or NaN."""

    first_row: int
    first_open: float
    liquidity: float


class Window(NamedTuple):
    """The rows after a call's first entry in blocks of `BLOCK`, the last one shorter.

    Attributes:
        begin: first row that counts as a whole: that of the entry, or the next if the entry fills inside its candle.
        end: row after the last.
        tops: highest high of every block, and room for more.
        bottoms: lowest low.
    """

    begin: int
    end: int
    tops: Floats
    bottoms: Floats


@compiled
def simulate_calls(
    candles: Candles, liquidity: Floats, finer: FinerCandles, rules: Rules, options: Options, calls: Calls
) -> tuple[Records, Records, Records, Records]:
    """Simulate calls, each on the rows of its mint.

    `liquidity` is of the candles, NaN where it is not known, and empty where nobody knows it.

    Returns:
        Records of `CALL` (one a call), `TRADE` and `FILL` (in order of call, trade, fill), and `OPENED`.
    """
    times, first_rows, last_rows = calls.called_at, calls.first_row, calls.last_row
    count = len(times)
    records = np.zeros(count, CALL)
    trades = np.empty(count + 1, TRADE)
    opened = np.empty(1, OPENED)
    trade_count, fill_count, opened_count = 0, 0, 0
    tops, bottoms = np.empty(BLOCK, np.float64), np.empty(BLOCK, np.float64)
    most = len(options.multiples)
    for k in range(len(calls.first_target)):
        most = max(most, calls.last_target[k] - calls.first_target[k])
    fills = np.empty(2 * count + most + 2, FILL)
    multiples, fractions = np.empty(most, np.float64), np.empty(most, np.float64)
    followed = options.plan or options.stop_ranges > 0 or options.trail_ranges > 0
    if not followed:
        multiples[:] = options.multiples
        fractions[:] = options.fractions
    for k in range(count):
        record = records[k]
        first_row, end = first_rows[k], times[k] + rules.horizon
        begin, end_row, row, price, inside = _enter(
            candles, rules, calls, k, first_row, last_rows[k], times[k], options.enter_on_signal
        )
        if begin == end_row:
            continue
        if row < 0:
            record["outcome"] = NO_ENTRY
            continue
        record["outcome"] = ENTERED
        record["entry_time"] = candles.timestamp[row]
        blocks = (end_row - row) // BLOCK + 1
        if blocks > len(tops):
            tops, bottoms = np.empty(2 * blocks, np.float64), np.empty(2 * blocks, np.float64)
        window = Window(row + inside, end_row, tops, bottoms)
        _summarise(candles.high, candles.low, window)
        _measure_path(candles, window, row, price, record)
        _measure_before(candles, first_row, row, rules.timeframe, record)
        pool = Pool(first_row, candles.open[begin], calls.liquidity[k] if options.impact == AMM else np.nan)
        while row >= 0:
            outcome, targets, stop, trail, distance = ENTERED, most, -np.inf, -1.0, 1.0
            if followed:
                outcome, targets, stop, trail, distance = _find_levels(
                    candles, rules, options, calls, k, first_row, row, price, multiples, fractions
                )
            elif rules.stop_loss > 0.0:
                stop, distance = price * (1.0 - rules.stop_loss), rules.stop_loss
            if outcome == ENTERED and (options.fixed_fee > 0.0 or options.impact != NO_IMPACT):
                outcome = _afford(candles, liquidity, rules, options, pool, row, price, distance)
            if outcome != ENTERED:
                if record["trades"] == 0:
                    record["outcome"] = outcome
                break
            levels = Levels(targets, multiples, fractions, stop, trail)
            if trade_count == len(trades):
                trades = _doubled(trades)
            if fill_count + targets + 2 > len(fills):
                fills = _doubled(fills)
            if opened_count == len(opened):
                opened = _doubled(opened)
            trade = trades[trade_count]
            trade["call"] = k
            trade["stop_distance"] = distance
            record["trades"] += 1
            trade["trade_no"] = record["trades"]
            first_finer, last_finer = 0, 0
            if rules.policy == FINER:
                first_finer, last_finer = calls.first_finer[k], calls.last_finer[k]
            leave_row = _row_heard(calls.leave, k, row + 1, end_row) if options.leave_on_signal else end_row
            ambiguous, resolved = _run_trade(
                candles,
                finer,
                rules,
                levels,
                window,
                row,
                leave_row,
                end,
                price,
                inside,
                trade,
                fills,
                fill_count,
                first_finer,
                last_finer,
            )
            record["ambiguous"] += ambiguous
            record["resolved"] += resolved
            if rules.policy == FINER and ambiguous:  # it sold all that remained
                opened[opened_count]["call"] = k
                opened[opened_count]["row"] = trade["exit_row"]
                opened_count += 1
            trade_count += 1
            last_fill = fill_count + trade["fills"]
            if options.impact != NO_IMPACT:
                _note_depths(candles, liquidity, rules, options, pool, fills, fill_count, last_fill, trade)
            fill_count = last_fill
            row = -1
            if record["trades"] <= rules.reentry_count and TARGET <= trade["reason"] <= TRAILING_STOP:
                limit = fills[fill_count - 1]["price"] * (1.0 - rules.reentry_retrace)
                row, price, inside = _find_dip(candles, trade["exit_row"] + 1, end_row, limit)
    return records, trades[:trade_count], fills[:fill_count], opened[:opened_count]


class Laws(NamedTuple):
    """Sets as compiled functions read them: any number, of one type.

    Attributes:
        rules: a record of `LAW` for each, what `Rules` and `Options` say as numbers.
        first_target: of each set, and the end of the last.
        multiples: of the targets of all sets; `fractions` what they sell.
        first_part: of each set, and the end of the last, of what the caller's targets sell.
        parts: of all sets.
    """

    rules: Records
    first_target: Integers
    multiples: Floats
    fractions: Floats
    first_part: Integers
    parts: Floats


def laws_of(sets: Sequence[tuple[Rules, Options]]) -> Laws:
    """Put sets together for `simulate_sets`."""
    rules = np.zeros(len(sets), LAW)
    for name in RULES_SAID:
        rules[name] = [getattr(one, name) for one, _ in sets]
    for name in OPTIONS_SAID:
        rules[name] = [getattr(one, name) for _, one in sets]
    targets, parts = ([getattr(one, name) for _, one in sets] for name in ("multiples", "plan_fractions"))
    return Laws(
        rules=readonly(rules),
        first_target=readonly(np.cumsum([0, *map(len, targets)])),
        multiples=readonly(np.concatenate(targets)),
        fractions=readonly(np.concatenate([one.fractions for _, one in sets])),
        first_part=readonly(np.cumsum([0, *map(len, parts)])),
        parts=readonly(np.concatenate(parts)),
    )


@compiled
def simulate_sets(
    candles: Candles,
    laws: Laws,
    calls: Calls,
    entries: Records,
    pairs: npt.NDArray[np.int32],
    reasons: Integers,
    ambiguous: Integers,
    held: Integers,
) -> Records:
    """Simulate sets whose costs do not depend on sizes and that ask for no finer candles, each on some calls.

    What `simulate_calls` does, but that a window is read once for all sets, and that of trades their returns are told.

    Args:
        candles: of the shard.
        laws: of the sets.
        calls: of the shard.
        entries: where they are bought (`ENTRY_FOUND`).
        pairs: call and set of each, ascending by call; the call is bought.
        reasons: trades by set and reason, counted up.
        ambiguous: candles by set, likewise.
        held: milliseconds by set, likewise.

    Returns:
        Records of `RETURN`, in order of pair and trade.
    """
    made = np.empty(2 * len(pairs) + 1, RETURN)
    count = 0
    most = 0
    for number in range(len(laws.rules)):
        most = max(most, laws.first_target[number + 1] - laws.first_target[number])
    for k in range(len(calls.first_target)):
        most = max(most, calls.last_target[k] - calls.first_target[k])
    trades, fills = np.empty(1, TRADE), np.empty(most + 2, FILL)
    trade = trades[0]
    multiples, fractions = np.empty(most), np.empty(most)
    tops, bottoms = np.empty(BLOCK), np.empty(BLOCK)
    nothing = np.empty(0, np.int64)
    finer = FinerCandles(nothing, np.empty(0), np.empty(0), np.empty(0))
    window, before = Window(0, 0, tops, bottoms), -1
    for pair in range(len(pairs)):
        k, number = pairs[pair, 0], pairs[pair, 1]
        found = entries[k]
        row, price, inside, end_row, end = found["row"], found["price"], found["inside"], found["end_row"], found["end"]
        if k != before:
            blocks = (end_row - row) // BLOCK + 1
            if blocks > len(tops):
                tops, bottoms = np.empty(2 * blocks), np.empty(2 * blocks)
            window, before = Window(row + inside, end_row, tops, bottoms), k
            _summarise(candles.high, candles.low, window)
        rules = _rules_of(laws.rules[number])
        options = _options_of(laws, number)
        trade_no = 0
        while row >= 0:
            outcome, targets, stop, trail, _ = _find_levels(
                candles, rules, options, calls, k, calls.first_row[k], row, price, multiples, fractions
            )
            if outcome != ENTERED:
                break
            trade_no += 1
            trade["trade_no"] = trade_no
            leave_row = _row_heard(calls.leave, k, row + 1, end_row) if options.leave_on_signal else end_row
            unclear, _ = _run_trade(
                candles,
                finer,
                rules,
                Levels(targets, multiples, fractions, stop, trail),
                window,
                row,
                leave_row,
                end,
                price,
                inside,
                trade,
                fills,
                0,
                0,
                0,
            )
            if count == len(made):
                made = _doubled(made)
            one = made[count]
            one["call"] = k
            one["set"] = number
            one["trade_no"] = trade_no
            one["net_return"] = trade["net_return"]
            count += 1
            reasons[number, trade["reason"]] += 1
            ambiguous[number] += unclear
            held[number] += trade["exit_time"] - trade["entry_time"]
            row = -1
            if trade_no <= rules.reentry_count and TARGET <= trade["reason"] <= TRAILING_STOP:
                limit = fills[trade["fills"] - 1]["price"] * (1.0 - rules.reentry_retrace)
                row, price, inside = _find_dip(candles, trade["exit_row"] + 1, end_row, limit)
    return made[:count]


@inner
def _rules_of(law: np.void) -> Rules:
    return Rules(
        law["delay"],
        law["max_wait"],
        law["horizon"],
        law["timeframe"],
        law["entry_kind"],
        law["entry_fraction"],
        law["stop_loss"],
        law["trailing"],
        law["trail_activation"],
        law["trail_distance"],
        law["break_even_after"],
        law["max_hold"],
        law["reentry_retrace"],
        law["reentry_count"],
        law["policy"],
        law["through"],
        law["haircut"],
        law["fee"],
        law["slip"],
    )


@compiled
def _options_of(laws: Laws, number: int) -> Options:
    law = laws.rules[number]
    first, last = laws.first_target[number], laws.first_target[number + 1]
    return Options(
        law["stop_ranges"],
        law["stop_factor"],
        law["stop_reach"],
        law["trail_ranges"],
        law["trail_factor"],
        law["trail_reach"],
        law["plan"],
        law["own"],
        law["enter_on_signal"],
        law["leave_on_signal"],
        law["fixed_fee"],
        law["impact"],
        law["max_share"],
        law["pool"],
        law["pool_age"],
        law["stake"],
        law["at_risk"],
        laws.multiples[first:last],
        laws.fractions[first:last],
        laws.parts[laws.first_part[number] : laws.first_part[number + 1]],
    )


@compiled
def find_entries(
    candles: Candles,
    rules: Rules,
    options: Options,
    calls: Calls,
    measured: bool,  # noqa: FBT001 - compiled functions take positional arguments
) -> tuple[Records, Records]:
    """Find where calls are bought first, as `simulate_calls` does, and go no further.

    Returns:
        Records of `CALL` with outcome, entry time and, if `measured`, what is known before the entry; and of
        `ENTRY_FOUND`.
    """
    count = len(calls.called_at)
    records, entries = np.zeros(count, CALL), np.zeros(count, ENTRY_FOUND)
    for k in range(count):
        record, entry, called_at = records[k], entries[k], calls.called_at[k]
        begin, end_row, row, price, inside = _enter(
            candles, rules, calls, k, calls.first_row[k], calls.last_row[k], called_at, options.enter_on_signal
        )
        entry["begin"] = begin
        entry["end_row"] = end_row
        entry["end"] = called_at + rules.horizon
        entry["row"] = row
        if row < 0:
            record["outcome"] = NO_CANDLES if begin == end_row else NO_ENTRY
            continue
        entry["price"] = price
        entry["inside"] = inside
        entry["leave_row"] = _row_heard(calls.leave, k, row + 1, end_row) if options.leave_on_signal else end_row
        record["outcome"] = ENTERED
        record["entry_time"] = candles.timestamp[row]
        if measured:
            _measure_before(candles, calls.first_row[k], row, rules.timeframe, record)
    return records, entries


@compiled
def find_plans(
    options: Options, calls: Calls, entries: Records, most: int
) -> tuple[npt.NDArray[np.int8], Integers, Floats, Floats]:
    """Read what the callers of calls that are bought (`ENTRY_FOUND`) posted; `most` targets of a call, at the most.

    Returns:
        By call whether there is a plan (`NO_PLAN`, `PLAN`, `BAD_PLAN` whose stop is no stop), how many targets are
        above the entry price, their multiples of it, ascending, in a row as long as `most`, and the stop, NaN for none.
    """
    count = len(entries)
    kinds, counts = np.zeros(count, np.int8), np.zeros(count, np.int64)
    multiples, fractions = np.empty((count, most)), np.empty(most)
    stops = np.full(count, np.nan)
    for k in range(count):
        if entries[k]["row"] < 0 or (calls.last_target[k] == calls.first_target[k] and np.isnan(calls.stop_price[k])):
            continue
        stops[k] = calls.stop_price[k]
        kinds[k] = BAD_PLAN if stops[k] >= entries[k]["price"] else PLAN
        counts[k] = _plan_targets(options, calls, k, entries[k]["price"], multiples[k], fractions)
    return kinds, counts, multiples, stops


@compiled
def note_impact(
    candles: Candles,
    liquidity: Floats,
    rules: Rules,
    options: Options,
    calls: Calls,
    entries: Records,
    trades: Records,
    fills: Records,
) -> Flags:
    """Note by what the impact of fills is measured, as `simulate_calls` does, and tell which trades can be paid.

    `entries` are of `ENTRY_FOUND`; `trades` with their fills, which are written to, are first trades of those calls.
    """
    paid = np.zeros(len(trades), np.bool_)
    first_fill = 0
    for number in range(len(trades)):
        trade = trades[number]
        k, end_fill = trade["call"], first_fill + trade["fills"]
        known = calls.liquidity[k] if options.impact == AMM else np.nan
        pool = Pool(calls.first_row[k], candles.open[entries[k]["begin"]], known)
        row, entry, distance = trade["entry_row"], trade["entry_price"], trade["stop_distance"]
        paid[number] = _afford(candles, liquidity, rules, options, pool, row, entry, distance) == ENTERED
        if paid[number] and options.impact != NO_IMPACT:
            _note_depths(candles, liquidity, rules, options, pool, fills, first_fill, end_fill, trade)
        first_fill = end_fill
    return paid


@compiled
def true_ranges(candles: Candles, calls: Calls, entries: Records, count: int, reach: int) -> Floats:
    """Return the mean true range before each entry (`ENTRY_FOUND`), NaN if there is none or too few candles."""
    means = np.full(len(entries), np.nan)
    for k in range(len(entries)):
        if entries[k]["row"] >= 0:
            means[k] = _true_range(candles, calls.first_row[k], entries[k]["row"], count, reach)
    return means


@compiled
def first_bad_row(candles: Candles, offsets: Integers, timeframe: int) -> int:
    """Return the first row that breaks a rule of candles, or -1.

    Rules: no candle of a mint opens before the one before it closes; low <= open, close <= high; prices and volume
    in bounds.
    """
    for mint in range(len(offsets) - 1):
        begin, end = offsets[mint], offsets[mint + 1]
        good = True
        for row in range(begin, end):  # no way out of the loop, so that it runs on vector registers
            good &= _holds(candles, row)
        for row in range(begin + 1, end):
            good &= candles.timestamp[row] - candles.timestamp[row - 1] >= timeframe
        if not good:
            for row in range(begin, end):
                if not _holds(candles, row):
                    return row
                if row > begin and candles.timestamp[row] - candles.timestamp[row - 1] < timeframe:
                    return row
    return -1


@inner
def _holds(candles: Candles, row: int) -> bool:
    low, high = candles.low[row], candles.high[row]
    holds: bool = (
        (low >= SMALLEST_PRICE)
        & (low <= candles.open[row])
        & (low <= candles.close[row])
        & (high >= candles.open[row])
        & (high >= candles.close[row])
        & (high <= LARGEST)
        & (candles.volume[row] >= 0.0)
        & (candles.volume[row] <= LARGEST)
    )
    return holds


@compiled
def _doubled(records: Records) -> Records:
    larger = np.empty(2 * len(records), records.dtype)
    larger[: len(records)] = records
    return larger


@inner
def _first_at(timestamp: Integers, begin: int, end: int, time: int, timeframe: int) -> int:
    """Return the first row of begin:end that is not before `time`, or `end`.

    Candles do not overlap: no more than fit open before `time`. Without gaps just as many do, and nothing need be
    searched, which matters because every look at a far row waits for memory.
    """
    if begin == end or timestamp[begin] >= time:
        return begin
    end = min(end, begin + (time - timestamp[begin] + timeframe - 1) // timeframe)
    if timestamp[end - 1] < time:
        return end
    while begin < end:
        middle = (begin + end) // 2
        if timestamp[middle] < time:
            begin = middle + 1
        else:
            end = middle
    return begin


@inner
def _enter(
    candles: Candles,
    rules: Rules,
    calls: Calls,
    k: int,
    first_row: int,
    last_row: int,
    called_at: int,
    on_signal: bool,  # noqa: FBT001 - compiled functions take positional arguments
) -> tuple[int, int, int, float, bool]:
    """Find a call's window and first entry.

    Returns:
        The window's first row and the row after its last, the same if it is empty; then as of `_find_entry`.
    """
    end = called_at + rules.horizon
    start = called_at + rules.delay
    begin = _first_at(candles.timestamp, first_row, last_row, start, rules.timeframe)
    end_row = _first_at(candles.timestamp, begin, last_row, end, rules.timeframe)
    if begin == end_row:
        return begin, end_row, -1, 0.0, False
    deadline = _first_at(candles.timestamp, begin, end_row, start + rules.max_wait, rules.timeframe)
    limit = calls.entry_price[k] if rules.entry_kind == LIMIT else np.nan
    first = _row_heard(calls.enter, k, begin, deadline) if on_signal else begin
    row, price, inside = _find_entry(candles, rules, limit, first, deadline)
    return begin, end_row, row, price, inside


@inner
def _find_entry(candles: Candles, rules: Rules, limit: float, begin: int, deadline: int) -> tuple[int, float, bool]:
    """Return row, price and whether the fill is inside the candle; row -1 if nothing fills before `deadline`."""
    if begin == deadline:
        return -1, 0.0, False
    first_open = candles.open[begin]
    if rules.entry_kind == MARKET:
        return begin, first_open, False
    if rules.entry_kind == DIP:
        return _find_dip(candles, begin, deadline, first_open * (1.0 - rules.entry_fraction))
    if rules.entry_kind == LIMIT:
        return (begin, first_open, False) if np.isnan(limit) else _find_dip(candles, begin, deadline, limit)
    trough = first_open
    for row in range(begin, deadline):
        level = trough * (1.0 + rules.entry_fraction)
        if candles.open[row] >= level:
            return row, candles.open[row], False
        if candles.high[row] >= level:
            return row, level, True
        trough = min(trough, candles.low[row])
    return -1, 0.0, False


@inner
def _row_heard(heard: Heard, k: int, begin: int, end: int) -> int:
    """Return the first row of begin:end before which conditions held at a close, or `end`."""
    for row in range(begin, end):
        asked = row - 1 - heard.first_row[k]
        if asked >= 0 and heard.said[heard.place[k] + asked]:
            return row
    return end


@inner
def _find_dip(candles: Candles, begin: int, end_row: int, limit: float) -> tuple[int, float, bool]:
    for row in range(begin, end_row):
        if candles.low[row] <= limit:
            if candles.open[row] <= limit:
                return row, candles.open[row], False
            return row, limit, True
    return -1, 0.0, False


@inner
def _find_levels(
    candles: Candles,
    rules: Rules,
    options: Options,
    calls: Calls,
    k: int,
    first_row: int,
    row: int,
    entry: float,
    multiples: Floats,
    fractions: Floats,
) -> tuple[int, int, float, float, float]:
    """Find what a trade is sold at; `multiples` and `fractions` are written to.

    Returns:
        Outcome, number of targets, stop, trail (both as in `Levels`) and the distance of the stop.
    """
    stop, trail, distance = -np.inf, -1.0, 1.0
    if rules.stop_loss > 0.0:
        stop, distance = entry * (1.0 - rules.stop_loss), rules.stop_loss
    if options.stop_ranges > 0:
        true_range = _true_range(candles, first_row, row, options.stop_ranges, options.stop_reach)
        if np.isnan(true_range):
            return NO_HISTORY, 0, stop, trail, distance
        stop = max(entry - options.stop_factor * true_range, entry * LOWEST_LEVEL)
        distance = 1.0 - stop / entry
    if options.trail_ranges > 0:
        true_range = _true_range(candles, first_row, row, options.trail_ranges, options.trail_reach)
        if np.isnan(true_range):
            return NO_HISTORY, 0, stop, trail, distance
        trail = options.trail_factor * true_range
    if options.plan:
        stop_price = calls.stop_price[k]
        posted = calls.last_target[k] > calls.first_target[k]
        if posted or not np.isnan(stop_price):
            if stop_price >= entry:
                return INVALID_PLAN, 0, stop, trail, distance
            count = _plan_targets(options, calls, k, entry, multiples, fractions)
            if np.isnan(stop_price):
                return ENTERED, count, -np.inf, trail, 1.0
            return ENTERED, count, stop_price, trail, 1.0 - stop_price / entry
        if not options.own:
            return INVALID_PLAN, 0, stop, trail, distance
    for index in range(len(options.multiples)):
        multiples[index] = options.multiples[index]
        fractions[index] = options.fractions[index]
    return ENTERED, len(options.multiples), stop, trail, distance


@inner
def _plan_targets(options: Options, calls: Calls, k: int, entry: float, multiples: Floats, fractions: Floats) -> int:
    """Write the caller's targets above the entry price, ascending, with what each sells; return how many sell."""
    count = 0
    for index in range(calls.first_target[k], calls.last_target[k]):
        price = calls.targets[index]
        if price > entry:
            multiple = price / entry
            place = count
            while place > 0 and multiples[place - 1] > multiple:
                multiples[place] = multiples[place - 1]
                place -= 1
            multiples[place] = multiple
            count += 1
    if len(options.plan_fractions) == 0:
        for index in range(count):
            fractions[index] = 1.0 / count
        return count
    count = min(count, len(options.plan_fractions))
    total = 0.0
    for index in range(count):
        total += options.plan_fractions[index]
    for index in range(count):
        fractions[index] = options.plan_fractions[index] / total
    return count


@inner
def _true_range(candles: Candles, first_row: int, row: int, count: int, reach: int) -> float:
    """Return the mean true range of the candles before a row, NaN if there are too few."""
    before = row - count - 1
    if before < first_row or candles.timestamp[before] < candles.timestamp[row] - reach:
        return np.nan
    total = 0.0
    for index in range(before + 1, row):
        close = candles.close[index - 1]
        total += max(candles.high[index], close) - min(candles.low[index], close)
    return total / count


@inner
def _afford(
    candles: Candles,
    liquidity: Floats,
    rules: Rules,
    options: Options,
    pool: Pool,
    row: int,
    entry: float,
    distance: float,
) -> int:
    """Return `ENTERED` if the stake buys something, else why not."""
    if options.fixed_fee > 0.0:
        stake = options.stake
        if options.at_risk > 0.0 and distance > 0.0:
            stake = min(options.at_risk / distance, stake)
        if stake <= options.fixed_fee:
            return STAKE_TOO_SMALL
    if options.impact == NO_IMPACT:
        return ENTERED
    depth = _depth(candles, liquidity, rules, options, pool, row, entry, False)  # noqa: FBT003
    if np.isnan(depth) or (options.max_share > 0.0 and options.max_share * depth == 0.0):
        return NO_LIQUIDITY
    return ENTERED


@inner
def _depth(
    candles: Candles,
    liquidity: Floats,
    rules: Rules,
    options: Options,
    pool: Pool,
    row: int,
    price: float,
    at_close: bool,  # noqa: FBT001 - compiled functions take positional arguments
) -> float:
    """Return the value that a candle traded, or half of the pool's value; NaN where nobody tells it."""
    if options.impact == VOLUME_SHARE:
        prices = candles.open[row] + candles.high[row] + candles.low[row] + candles.close[row]
        traded: float = candles.volume[row] * prices / 4.0
        return traded
    moment = candles.timestamp[row] - rules.timeframe
    near = row - 1
    if at_close:
        moment += rules.timeframe
        near = row
    if len(liquidity) > 0:
        while near >= pool.first_row and moment - candles.timestamp[near] <= options.pool_age:
            told: float = liquidity[near]
            if not np.isnan(told):
                return told / 2.0
            near -= 1
    first = options.pool if np.isnan(pool.liquidity) else pool.liquidity
    half: float = first * np.sqrt(price / pool.first_open) / 2.0
    return half


@inner
def _note_depths(
    candles: Candles,
    liquidity: Floats,
    rules: Rules,
    options: Options,
    pool: Pool,
    fills: Records,
    first_fill: int,
    end_fill: int,
    trade: np.void,
) -> None:
    """Note by what the impact of a trade's fills is measured, and of what its last might have been."""
    row, at_close = 0, False
    for index in range(first_fill, end_fill):
        fill = fills[index]
        row, at_close = fill["row"], fill["reason"] == HORIZON or fill["reason"] == END_OF_DATA
        fill["depth"] = _depth(candles, liquidity, rules, options, pool, row, fill["price"], at_close)
    trade["depth_at_level"] = _depth(candles, liquidity, rules, options, pool, row, trade["at_level"], at_close)
    trade["depth_at_low"] = _depth(candles, liquidity, rules, options, pool, row, trade["at_low"], at_close)


@inner
def _run_trade(
    candles: Candles,
    finer: FinerCandles,
    rules: Rules,
    levels: Levels,
    window: Window,
    row: int,
    leave_row: int,
    end: int,
    entry: float,
    inside: bool,  # noqa: FBT001 - compiled functions take positional arguments
    trade: np.void,
    fills: Records,
    first_fill: int,
    first_finer: int,
    last_finer: int,
) -> tuple[int, int]:
    """Run one trade from its entry candle, write its record and its fills.

    Returns:
        How many candles were ambiguous, and how many of them finer candles resolved.
    """
    entry_row, end_row = row, window.end
    time = candles.timestamp[row]
    count = _fill(fills, first_fill, time, row, entry, 1.0, ENTRY if trade["trade_no"] == 1 else REENTRY)
    hold_row, leaving = end_row, TIME
    if rules.max_hold >= 0:
        held = _first_at(candles.timestamp, row, end_row, time + rules.max_hold, rules.timeframe)
        hold_row = max(row + 1, held)
    if leave_row < hold_row:
        hold_row, leaving = leave_row, SIGNAL
    trade["at_level"] = np.nan
    trade["depth_at_level"] = 0.0
    trade["depth_at_low"] = 0.0
    stop, reason = _stop_level(rules, levels, entry, entry, 0)
    remaining, filled, ambiguous, resolved = 1.0, 0, 0, 0
    peak, highest, lowest = entry, entry, entry
    if inside:
        low = candles.low[row]
        highest = max(entry, candles.close[row])
        lowest = min(entry, low)
        if low <= stop:
            count = _fill_stop(rules, trade, fills, count, time, row, low, stop, remaining, reason)
            remaining = 0.0
        else:
            row += 1
    while remaining > 0.0:
        target = _target_level(levels, entry, filled)
        row, peak, lowest, stop, reason = _skip_quiet(
            candles, rules, levels, window, row, hold_row, entry, filled, target, peak, lowest, stop, reason
        )
        if row == hold_row:
            break
        count, filled, remaining, found = _touch(
            candles,
            finer,
            rules,
            levels,
            row,
            entry,
            stop,
            reason,
            trade,
            fills,
            count,
            filled,
            remaining,
            first_finer,
            last_finer,
        )
        ambiguous += found != CLEAR
        resolved += found == RESOLVED
        peak = max(peak, candles.high[row])
        lowest = min(lowest, candles.low[row])
        if remaining > 0.0:
            stop, reason = _stop_level(rules, levels, entry, peak, filled)
            row += 1
    highest = max(highest, peak)
    if remaining > 0.0 and row < end_row:
        first = candles.open[row]
        highest = max(highest, first)
        lowest = min(lowest, first)
        count = _fill(fills, count, candles.timestamp[row], row, first, remaining, leaving)
    elif remaining > 0.0:
        row = end_row - 1
        price, reason = candles.close[row], HORIZON
        if candles.timestamp[row] < end - rules.timeframe:
            price, reason = price * (1.0 - rules.haircut), END_OF_DATA
        count = _fill(fills, count, candles.timestamp[row], row, price, remaining, reason)
    trade["entry_row"] = entry_row
    trade["exit_row"] = row
    trade["entry_time"] = time
    trade["exit_time"] = candles.timestamp[row]
    trade["fills"] = count - first_fill
    trade["mfe"] = highest / entry - 1.0
    trade["mae"] = lowest / entry - 1.0
    _settle(rules, entry, fills, first_fill, count, trade)
    return ambiguous, resolved


@inner
def _skip_quiet(
    candles: Candles,
    rules: Rules,
    levels: Levels,
    window: Window,
    row: int,
    end_row: int,
    entry: float,
    filled: int,
    target: float,
    peak: float,
    lowest: float,
    stop: float,
    reason: int,
) -> tuple[int, float, float, float, int]:
    """Pass the candles that touch neither stop nor target, from `row` on.

    Because low <= open <= high, a candle with low > stop and high < target does not reach them at its open either. And
    a block whose low is above the stop that its high would raise the trail to does not reach the stop anywhere.

    Returns:
        The row of the first candle that touches, or `end_row`, with peak, lowest low, stop level and its reason.
    """
    highs, lows, tops, bottoms = candles.high, candles.low, window.tops, window.bottoms
    trailing = rules.trailing
    while row < end_row:
        block = (row - window.begin) // BLOCK
        block_end = window.begin + (block + 1) * BLOCK
        if row == block_end - BLOCK and min(block_end, window.end) <= end_row and tops[block] < target:
            level, name = stop, reason
            if trailing and tops[block] > peak:
                level, name = _stop_level(rules, levels, entry, tops[block], filled)
            if bottoms[block] > level:
                stop, reason = level, name
                peak = max(peak, tops[block])
                lowest = min(lowest, bottoms[block])
                row = min(block_end, window.end)
                continue
        for near in range(row, min(block_end, end_row)):
            high, low = highs[near], lows[near]
            if low <= stop or high >= target:
                return near, peak, lowest, stop, reason
            lowest = min(lowest, low)
            if high > peak:
                peak = high
                if trailing:
                    stop, reason = _stop_level(rules, levels, entry, peak, filled)
        row = min(block_end, end_row)
    return row, peak, lowest, stop, reason


@compiled
def _summarise(highs: Floats, lows: Floats, window: Window) -> None:
    """Find the extremes of every block of the window.

    Positive floats have the order of their bits read as integers, and the maximum of integers runs on vector
    registers, which that of floats does only under fast-math.
    """
    high_bits, low_bits = highs.view(np.int64), lows.view(np.int64)
    tops, bottoms = window.tops.view(np.int64), window.bottoms.view(np.int64)
    for block, begin in enumerate(range(window.begin, window.end, BLOCK)):
        rows = min(BLOCK, window.end - begin)
        high_block, low_block = high_bits[begin : begin + rows], low_bits[begin : begin + rows]
        top, bottom = high_block[0], low_block[0]
        for index in range(rows):
            top = max(top, high_block[index])
            bottom = min(bottom, low_block[index])
        tops[block], bottoms[block] = top, bottom


@inner
def _touch(
    candles: Candles,
    finer: FinerCandles,
    rules: Rules,
    levels: Levels,
    row: int,
    entry: float,
    stop: float,
    reason: int,
    trade: np.void,
    fills: Records,
    count: int,
    filled: int,
    remaining: float,
    first_finer: int,
    last_finer: int,
) -> tuple[int, int, float, int]:
    """Fill what a candle that touches the stop or a target fills.

    Returns:
        Fills written so far, targets filled, fraction remaining, and whether the candle is `CLEAR` or ambiguous.
    """
    time, opened, high, low = candles.timestamp[row], candles.open[row], candles.high[row], candles.low[row]
    if opened <= stop:
        return _fill(fills, count, time, row, opened, remaining, reason), filled, 0.0, CLEAR
    count, filled, remaining = _fill_targets(levels, entry, opened, opened, time, row, fills, count, filled, remaining)
    if remaining == 0.0:
        return count, filled, remaining, CLEAR
    stop_hit = low <= stop
    target_hit = high >= _target_level(levels, entry, filled)
    found = UNRESOLVED if stop_hit and target_hit else CLEAR
    if found != CLEAR and rules.policy == FINER:
        return _touch_finer(
            finer,
            rules,
            levels,
            time,
            row,
            low,
            entry,
            stop,
            reason,
            trade,
            fills,
            count,
            filled,
            remaining,
            first_finer,
            last_finer,
        )
    if target_hit and (not stop_hit or _target_comes_first(rules.policy, opened, high, low)):
        count, filled, remaining = _fill_targets(
            levels, entry, high, opened, time, row, fills, count, filled, remaining
        )
    if stop_hit and remaining > 0.0:
        count = _fill_stop(rules, trade, fills, count, time, row, low, stop, remaining, reason)
        remaining = 0.0
    return count, filled, remaining, found


@inner
def _touch_finer(
    finer: FinerCandles,
    rules: Rules,
    levels: Levels,
    time: int,
    row: int,
    low: float,
    entry: float,
    stop: float,
    reason: int,
    trade: np.void,
    fills: Records,
    count: int,
    filled: int,
    remaining: float,
    first_finer: int,
    last_finer: int,
) -> tuple[int, int, float, int]:
    """Fill what the finer candles of an ambiguous candle fill; arguments and result as of `_touch`."""
    begin = _at_or_after(finer.timestamp, first_finer, last_finer, time)
    end = _at_or_after(finer.timestamp, begin, last_finer, time + rules.timeframe)
    for near in range(begin, end):
        opened = finer.open[near]
        if near > begin:
            if opened <= stop:
                return _fill(fills, count, time, row, opened, remaining, reason), filled, 0.0, RESOLVED
            count, filled, remaining = _fill_targets(
                levels, entry, opened, opened, time, row, fills, count, filled, remaining
            )
        if remaining > 0.0:
            target_hit = finer.high[near] >= _target_level(levels, entry, filled)
            if finer.low[near] <= stop:
                count = _fill_stop(rules, trade, fills, count, time, row, finer.low[near], stop, remaining, reason)
                return count, filled, 0.0, UNRESOLVED if target_hit else RESOLVED
            if target_hit:
                count, filled, remaining = _fill_targets(
                    levels, entry, finer.high[near], 0.0, time, row, fills, count, filled, remaining
                )
        if remaining == 0.0:
            return count, filled, remaining, RESOLVED
    count = _fill_stop(rules, trade, fills, count, time, row, low, stop, remaining, reason)
    return count, filled, 0.0, UNRESOLVED


@inner
def _at_or_after(timestamp: Integers, begin: int, end: int, time: int) -> int:
    while begin < end:
        middle = (begin + end) // 2
        if timestamp[middle] < time:
            begin = middle + 1
        else:
            end = middle
    return begin


@inner
def _stop_level(rules: Rules, levels: Levels, entry: float, peak: float, filled: int) -> tuple[float, int]:
    """Return the highest stop and its reason; of equal levels the first in the contract's order names it."""
    level, reason = levels.stop, STOP_LOSS
    if 0 < rules.break_even_after <= filled and entry > level:
        level, reason = entry, BREAK_EVEN
    if rules.trailing and peak >= entry * rules.trail_activation:
        if levels.trail < 0.0:
            trail = peak * (1.0 - rules.trail_distance)
        else:
            trail = max(peak - levels.trail, entry * LOWEST_LEVEL)
        if trail > level:
            level, reason = trail, TRAILING_STOP
    return level, reason


@inner
def _target_level(levels: Levels, entry: float, filled: int) -> float:
    return entry * levels.multiples[filled] if filled < levels.targets else np.inf


@inner
def _target_comes_first(policy: int, opened: float, high: float, low: float) -> bool:
    if policy == NEAREST_OPEN:
        return abs(opened - high) < abs(opened - low)
    return policy == TARGET_FIRST


@inner
def _fill(fills: Records, count: int, time: int, row: int, price: float, fraction: float, reason: int) -> int:
    fill = fills[count]
    fill["time"] = time
    fill["row"] = row
    fill["price"] = price
    fill["fraction"] = fraction
    fill["depth"] = 0.0
    fill["reason"] = reason
    fill["depth"] = 0.0
    return count + 1


@inner
def _fill_stop(
    rules: Rules,
    trade: np.void,
    fills: Records,
    count: int,
    time: int,
    row: int,
    low: float,
    stop: float,
    remaining: float,
    reason: int,
) -> int:
    """Sell all that remains at a stop that a range reaches down to its low."""
    trade["at_level"] = stop
    trade["at_low"] = max(stop - (stop - low), low)
    return _fill(fills, count, time, row, max(stop - rules.through * (stop - low), low), remaining, reason)


@inner
def _fill_targets(
    levels: Levels,
    entry: float,
    reached: float,
    opened: float,
    time: int,
    row: int,
    fills: Records,
    count: int,
    filled: int,
    remaining: float,
) -> tuple[int, int, float]:
    """Fill every target up to `reached`, each at its level or, if the candle opened above it, at the open."""
    while remaining > 0.0 and filled < levels.targets:
        level = _target_level(levels, entry, filled)
        if reached < level:
            break
        fraction = min(levels.fractions[filled], remaining)
        count = _fill(fills, count, time, row, max(level, opened), fraction, TARGET)
        filled += 1
        remaining -= fraction
        if remaining <= REMAINDER:
            remaining = 0.0
    return count, filled, remaining


@inner
def _settle(rules: Rules, entry: float, fills: Records, first_fill: int, end_fill: int, trade: np.void) -> None:
    """Work out the returns without regard to the size of the fills, and what they would be if the last were another."""
    last = fills[end_fill - 1]
    gross, proceeds, sold = 0.0, 0.0, 0.0
    for index in range(first_fill + 1, end_fill - 1):
        price, fraction = fills[index]["price"], fills[index]["fraction"]
        sold += fraction
        gross += fraction * price
        proceeds += fraction * price * (1.0 - rules.slip) * (1.0 - rules.fee)
    fraction = last["fraction"]
    spent = entry * (1.0 + rules.slip) * (1.0 + rules.fee)
    if np.isnan(trade["at_level"]):
        trade["at_level"] = last["price"]
        trade["at_low"] = last["price"]
    dead = 0.0 if last["reason"] == END_OF_DATA else last["price"]
    gross += fraction * last["price"]
    trade["if_dead"] = dead
    trade["entry_price"] = entry
    trade["exit_price"] = gross / (sold + fraction)
    trade["reason"] = last["reason"]
    trade["proceeds"] = _with_last(rules, proceeds, fraction, last["price"])
    trade["gross_return"] = gross / entry - 1.0
    trade["net_return"] = trade["proceeds"] / spent - 1.0
    trade["net_at_level"] = _with_last(rules, proceeds, fraction, trade["at_level"]) / spent - 1.0
    trade["net_at_low"] = _with_last(rules, proceeds, fraction, trade["at_low"]) / spent - 1.0
    trade["net_if_dead"] = _with_last(rules, proceeds, fraction, dead) / spent - 1.0


@inner
def _with_last(rules: Rules, proceeds: float, fraction: float, price: float) -> float:
    return proceeds + fraction * price * (1.0 - rules.slip) * (1.0 - rules.fee)


@inner
def _measure_path(candles: Candles, window: Window, entry_row: int, entry: float, call: np.void) -> None:
    call["time_to_2x_minutes"] = np.nan
    call["time_to_3x_minutes"] = np.nan
    call["time_to_5x_minutes"] = np.nan
    call["time_to_10x_minutes"] = np.nan
    times, highs, lows = candles.timestamp, candles.high, candles.low
    best, best_row, lowest = entry, entry_row, entry
    if window.begin > entry_row:
        lowest = min(entry, lows[entry_row])
        best = max(entry, candles.close[entry_row])
        _note_multiples(call, entry, entry, best, 0.0)
    double, level = entry * 2.0, _next_level(entry, best)
    for block, begin in enumerate(range(window.begin, window.end, BLOCK)):
        top = window.tops[block]
        if top >= level:
            for row in range(begin, min(begin + BLOCK, window.end)):
                if best < double:
                    lowest = min(lowest, lows[row])
                if highs[row] > best:
                    _note_multiples(call, entry, best, highs[row], (times[row] - times[entry_row]) / MINUTE_MS)
                    best, best_row = highs[row], row
            level = _next_level(entry, best)
        else:
            if best < double:
                lowest = min(lowest, window.bottoms[block])
            if top > best:
                best, best_row = top, begin
    while best > entry and best_row >= window.begin and highs[best_row] < best:
        best_row += 1  # from the first row of the block to that of the maximum
    call["ath_multiple"] = best / entry
    call["time_to_ath_minutes"] = (times[best_row] - times[entry_row]) / MINUTE_MS
    call["min_multiple_before_2x"] = lowest / entry if best >= double else np.nan
    call["final_multiple"] = candles.close[window.end - 1] / entry


@inner
def _next_level(entry: float, best: float) -> float:
    """Return the price of the first multiple that is not reached yet."""
    if best < entry * 2.0:
        return entry * 2.0
    if best < entry * 3.0:
        return entry * 3.0
    if best < entry * 5.0:
        return entry * 5.0
    return entry * 10.0 if best < entry * 10.0 else np.inf


@inner
def _note_multiples(call: np.void, entry: float, before: float, high: float, minutes: float) -> None:
    """Note the multiples that a rise of the maximum from `before` to `high` reaches."""
    if before < entry * 2.0 <= high:
        call["time_to_2x_minutes"] = minutes
    if before < entry * 3.0 <= high:
        call["time_to_3x_minutes"] = minutes
    if before < entry * 5.0 <= high:
        call["time_to_5x_minutes"] = minutes
    if before < entry * 10.0 <= high:
        call["time_to_10x_minutes"] = minutes


@inner
def _measure_before(candles: Candles, first_row: int, entry_row: int, timeframe: int, call: np.void) -> None:
    """Measure the hour before the entry, on candles before the entry candle only."""
    call["pre_return_1h"] = np.nan
    call["pre_volatility_1h"] = np.nan
    call["pre_volume_1h"] = np.nan
    hour_before = candles.timestamp[entry_row] - HOUR_MS
    begin = _first_at(candles.timestamp, first_row, entry_row, hour_before, timeframe)
    if begin == entry_row:
        return
    call["pre_return_1h"] = candles.close[entry_row - 1] / candles.open[begin] - 1.0
    volume = 0.0
    for row in range(begin, entry_row):
        volume += candles.volume[row]
    call["pre_volume_1h"] = volume
    returns = entry_row - begin - 1
    if returns < 2:  # noqa: PLR2004 - a deviation needs two
        return
    total = 0.0
    for row in range(begin + 1, entry_row):
        total += np.log(candles.close[row] / candles.close[row - 1])
    mean = total / returns
    squares = 0.0
    for row in range(begin + 1, entry_row):
        deviation = np.log(candles.close[row] / candles.close[row - 1]) - mean
        squares += deviation * deviation
    call["pre_volatility_1h"] = np.sqrt(squares / (returns - 1))
