"""Many exit rules on one call at once: tables of first touches, and what they decide.

That no candle need be looked at for a single set of rules follows from the contract:

- The peak, whether a trail is armed and which targets have filled change only in candles with a new high since the
  entry, here *records*. Between two records the stop level is one number.
- The first candle that reaches a target is a record. The first that reaches a fixed level below is a record of the
  running minimum, here a *floor*.
- `low <= max(a, b)` is `low <= a or low <= b`: stop, break-even and trail are touched each for itself, and at the first
  of them the level is the highest of those touched in that candle.

So a call is read once (`build_index`); then every distinct target, stop, trail and time has its row (`_touch`), and a
set is a few comparisons and the arithmetic of its fills (`_decide`), operation for operation that of the kernel. What
rows cannot decide - a candle that finer ones must be asked about, a dip after the trade that a set would buy again - is
handed back as a pair of call and set, for the kernel.
"""
# ruff: noqa: PLR0917 - scalars by position are what compiled functions pass in registers
# ruff: noqa: C901, PLR0912, PLR0915 - a function called for each set would cost thirty times the set

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.engine.compiled import compiled, inner
from lab_pipeline.engine.kernel import (
    BREAK_EVEN,
    END_OF_DATA,
    ENTRY,
    FILL,
    FINER,
    HORIZON,
    LOWEST_LEVEL,
    NEAREST_OPEN,
    NO_PLAN,
    PLAN,
    REMAINDER,
    SIGNAL,
    STOP_LOSS,
    TARGET,
    TARGET_FIRST,
    TIME,
    TRADE,
    TRAILING_STOP,
    Candles,
    Flags,
    Records,
)

NEVER = 2**62
"""Row of what is not touched."""
BLOCK = 64
"""Rows whose extremes are looked at together."""
REASON_CODES = 10
AT_PRICE, IN_RANGE, AT_END = range(3)
"""How the last fill is priced: as it is; at a stop inside a candle, with its low; at the last close."""

T = TypeVar("T", bound=np.generic)
Pairs = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.int32]
"""Of what is read for every set: as short as can be."""


class Index(NamedTuple):
    """What of the windows of some calls decides when levels are touched; one run of each array a call.

    Attributes:
        first_record: of each call, and the end of the last. A call that enters has its entry as its first record, and
            one more at the end of its window, which only bounds.
        record_row: where the high rises above all since the entry; the row before the window for the entry.
        peak: the high there.
        first_low: of each record: its lows follow it, up to the next record's candle.
        after: lowest low after each record.
        low_row: where the low falls below all since the record before; `low` is how far.
        first_floor: of each call, and the end of the last.
        floor_row: where the low falls below all since the entry; `floor` is how far.
    """

    first_record: Integers
    record_row: Integers
    peak: Floats
    first_low: Integers
    after: Floats
    low_row: Integers
    low: Floats
    first_floor: Integers
    floor_row: Integers
    floor: Floats


class Block(NamedTuple):
    """Some sets, and the distinct levels that they sell at.

    A *decision* is all that decides the rows and levels of a trade; the sets that share one differ in what their fills
    are worth. Where a rule is not set its number is -1, or 0 for `even`.

    Attributes:
        multiples: of the entry price, for targets.
        stop_range: by stop, which true range its distance counts in, -1 for a fraction; `trail_range` by trail.
        stop_size: the fraction, or how many true ranges; `trail_size` by trail, ascending where activation and range
            are the same.
        trail_activation: by trail, as a multiple of the entry price, ascending.
        holds: times in milliseconds.
        stop: by decision, number of its stop; so are `trail` and `hold`.
        even: by decision, number of filled targets from which on the entry price is a stop.
        policy: by decision, of the kernel.
        planned: by decision, whether what the caller posted holds; `own` whether there are rules for a call without it.
        first_share: by decision, and the end of the last, of what the caller's targets sell, none for equal parts.
        shares: of all decisions.
        first_step: by decision, and the end of the last, of its targets.
        step_multiple: by step of a ladder, number of its multiple; `step_fraction` what it sells.
        first_set: by decision, and the end of the last.
        worth: by set, number of what its fills are worth.
        bought_at: by worth, 1 + slippage; `bought_fee` 1 + fee.
        sold_at: by worth, 1 - slippage; `sold_fee` 1 - fee.
        through: by worth, how far a stop fills below its level; `haircut` what the end of the candles takes.
        retrace: by worth, of its next entry; `again` whether it has one.
    """

    multiples: Floats
    stop_range: Integers
    stop_size: Floats
    trail_activation: Floats
    trail_range: Integers
    trail_size: Floats
    holds: Integers
    stop: Numbers
    trail: Numbers
    hold: Numbers
    even: Numbers
    policy: Numbers
    planned: Flags
    own: Flags
    first_share: Numbers
    shares: Floats
    first_step: Numbers
    step_multiple: Numbers
    step_fraction: Floats
    first_set: Numbers
    worth: Numbers
    bought_at: Floats
    bought_fee: Floats
    sold_at: Floats
    sold_fee: Floats
    through: Floats
    haircut: Floats
    retrace: Floats
    again: Flags


class Plans(NamedTuple):
    """What the callers posted: by call, as `kernel.find_plans` tells it. Empty where no set asks for it."""

    kind: npt.NDArray[np.int8]
    targets: Integers
    multiples: Floats
    stop: Floats


class Touches(NamedTuple):
    """When one call touches the levels of a block: rows, `NEVER` for not at all, and prices.

    The caller's targets come after the block's multiples, and the caller's stop after its stops.

    Attributes:
        target_row: by multiple; `target_level` its price, `target_fill` that of a fill at that row.
        even_row: by multiple, the first row after it was reached whose low is at the entry price or below.
        stop_row: by stop; `stop_level` its price, NaN where there is no true range to count in.
        trail_row: by trail; `trail_level` its price there, NaN where there is no true range to count in.
        hold_row: by time, the row at whose open it is over.
        step_multiple: of the block, and room for the steps of a caller's ladder; so is `step_fraction`.
        spent: by worth, on a unit that is bought.
        price: of the fills of one trade; `fraction` what they sell, `row` where. Room for the longest ladder and one.
    """

    target_row: Integers
    target_level: Floats
    target_fill: Floats
    even_row: Integers
    stop_row: Integers
    stop_level: Floats
    trail_row: Integers
    trail_level: Floats
    hold_row: Integers
    step_multiple: Integers
    step_fraction: Floats
    spent: Floats
    price: Floats
    fraction: Floats
    row: Integers


class Tallies(NamedTuple):
    """What is counted by set: trades by reason (two-dimensional), milliseconds held, ambiguous candles."""

    reasons: Integers
    held: Integers
    ambiguous: Integers


@compiled
def build_index(candles: Candles, entries: Records) -> Index:
    """Read the windows of calls that enter (`kernel.ENTRY_FOUND`) for what decides touches."""
    calls = len(entries)
    first_record, first_floor = np.zeros(calls + 1, np.int64), np.zeros(calls + 1, np.int64)
    record_row, peak, first_low = np.empty(BLOCK, np.int64), np.empty(BLOCK), np.empty(BLOCK, np.int64)
    low_row, low = np.empty(BLOCK, np.int64), np.empty(BLOCK)
    floor_row, floor = np.empty(BLOCK, np.int64), np.empty(BLOCK)
    high_bits, low_bits = candles.high.view(np.int64), candles.low.view(np.int64)
    extremes = np.empty(2)
    records, lows, floors = 0, 0, 0
    for k in range(calls):
        entry = entries[k]
        if entry["row"] >= 0:
            begin, end = entry["row"] + entry["inside"], entry["end_row"]
            room = end - begin + 2
            if records + room > len(peak):
                size = max(records + room, 2 * len(peak))
                record_row, peak = _longer(record_row, size), _longer(peak, size)
                first_low = _longer(first_low, size)
            if lows + room > len(low):
                size = max(lows + room, 2 * len(low))
                low_row, low = _longer(low_row, size), _longer(low, size)
            if floors + room > len(floor):
                size = max(floors + room, 2 * len(floor))
                floor_row, floor = _longer(floor_row, size), _longer(floor, size)
            records, lows, floors = _read_window(
                candles.high,
                candles.low,
                high_bits,
                low_bits,
                extremes,
                extremes.view(np.int64),
                begin,
                end,
                entry["price"],
                record_row,
                peak,
                first_low,
                records,
                low_row,
                low,
                lows,
                floor_row,
                floor,
                floors,
            )
        first_record[k + 1] = records
        first_floor[k + 1] = floors
    after = np.empty(records)
    for k in range(calls):
        lowest = np.inf
        for record in range(first_record[k + 1] - 1, first_record[k] - 1, -1):
            after[record] = lowest
            if record > first_record[k]:
                begin_low, end_low = first_low[record - 1], first_low[record]
                if end_low > begin_low:
                    lowest = min(lowest, low[end_low - 1])
    return Index(
        first_record,
        record_row[:records].copy(),
        peak[:records].copy(),
        first_low[:records].copy(),
        after,
        low_row[:lows].copy(),
        low[:lows].copy(),
        first_floor,
        floor_row[:floors].copy(),
        floor[:floors].copy(),
    )


@compiled
def _longer(values: npt.NDArray[T], size: int) -> npt.NDArray[T]:
    longer = np.empty(size, values.dtype)
    longer[: len(values)] = values
    return longer


@inner
def _read_window(
    highs: Floats,
    lows: Floats,
    high_bits: Integers,
    low_bits: Integers,
    extremes: Floats,
    extreme_bits: Integers,
    begin: int,
    end: int,
    entry: float,
    record_row: Integers,
    peaks: Floats,
    first_low: Integers,
    record: int,
    low_row: Integers,
    low: Floats,
    low_count: int,
    floor_row: Integers,
    floor: Floats,
    floor_count: int,
) -> tuple[int, int, int]:
    """Write the records, lows and floors of one window; return how many there are then.

    Blocks of rows without any are passed by their extremes, which are found on vector registers: positive floats have
    the order of their bits read as integers.
    """
    record_row[record], peaks[record], first_low[record] = begin - 1, entry, low_count
    record += 1
    peak, since, lowest = entry, np.inf, np.inf
    for base in range(begin, end, BLOCK):
        rows = min(BLOCK, end - base)
        high_block, low_block = high_bits[base : base + rows], low_bits[base : base + rows]
        top, bottom = high_block[0], low_block[0]
        for index in range(rows):
            top = max(top, high_block[index])
            bottom = min(bottom, low_block[index])
        extreme_bits[0], extreme_bits[1] = top, bottom
        if extremes[0] <= peak and extremes[1] >= since:
            continue
        for row in range(base, base + rows):
            if lows[row] < since:
                since = lows[row]
                low_row[low_count], low[low_count] = row, since
                low_count += 1
                if since < lowest:
                    lowest = since
                    floor_row[floor_count], floor[floor_count] = row, since
                    floor_count += 1
            if highs[row] > peak:
                peak, since = highs[row], np.inf
                record_row[record], peaks[record], first_low[record] = row, peak, low_count
                record += 1
    record_row[record], peaks[record], first_low[record] = end, np.inf, low_count
    return record + 1, low_count, floor_count


@compiled
def evaluate(
    candles: Candles,
    entries: Records,
    index: Index,
    true_ranges: Floats,
    plans: Plans,
    block: Block,
    timeframe: int,
    net: Floats,
    tallies: Tallies,
    pairs: Pairs,
) -> int:
    """Decide every set of a block on calls.

    Args:
        candles: of the shard.
        entries: records of `kernel.ENTRY_FOUND`, row -1 for a call that is not to be bought.
        index: of the calls.
        true_ranges: by range and call.
        plans: by call.
        block: the sets.
        timeframe: length of a candle in milliseconds.
        net: by call and set, written to: the net return, NaN without a trade and for pairs that are handed back.
        tallies: by set, counted up.
        pairs: room for a row (call, set) of every pair; those that the kernel must decide are written.

    Returns:
        How many pairs are handed back.
    """
    touches = _room(block, plans)
    none_unclear, no_trades, no_fills = np.empty(0, np.bool_), np.empty(0, TRADE), np.empty(0, FILL)
    handed_back = 0
    for k in range(len(entries)):
        net[k, :] = np.nan
        if entries[k]["row"] >= 0:
            _touch(candles, entries[k], index, k, true_ranges, plans, block, timeframe, touches)
            handed_back, _, _ = _decide(
                candles,
                entries[k],
                index,
                k,
                plans,
                block,
                timeframe,
                touches,
                net,
                tallies,
                pairs,
                handed_back,
                False,  # noqa: FBT003
                none_unclear,
                no_trades,
                0,
                no_fills,
                0,
            )
    return handed_back


@compiled
def record_trades(
    candles: Candles,
    entries: Records,
    index: Index,
    true_ranges: Floats,
    plans: Plans,
    block: Block,
    timeframe: int,
) -> tuple[Records, Records, Flags, Pairs]:
    """Write out the first trades of the sets of a block on calls; arguments as of `evaluate`.

    Returns:
        Records of `kernel.TRADE` and `kernel.FILL`, in order of call, then set, without what values a position
        (`shard`, `mark`, `mark_time`) and what impact is measured by; which trades met an ambiguous candle; and the
        pairs (call, set) that the kernel must decide.
    """
    touches, sets = _room(block, plans), len(block.worth)
    count = len(entries) * sets
    net = np.empty((len(entries), sets))
    tallies = Tallies(np.zeros((sets, REASON_CODES), np.int64), np.zeros(sets, np.int64), np.zeros(sets, np.int64))
    pairs = np.empty((count, 2), np.int32)
    trades, fills = np.zeros(count, TRADE), np.zeros(count * (len(touches.price) + 1), FILL)
    unclear = np.zeros(count, np.bool_)
    handed_back, trade_count, fill_count = 0, 0, 0
    for k in range(len(entries)):
        if entries[k]["row"] >= 0:
            _touch(candles, entries[k], index, k, true_ranges, plans, block, timeframe, touches)
            handed_back, trade_count, fill_count = _decide(
                candles,
                entries[k],
                index,
                k,
                plans,
                block,
                timeframe,
                touches,
                net,
                tallies,
                pairs,
                handed_back,
                True,  # noqa: FBT003
                unclear,
                trades,
                trade_count,
                fills,
                fill_count,
            )
    return trades[:trade_count], fills[:fill_count], unclear[:trade_count], pairs[:handed_back]


@compiled
def _room(block: Block, plans: Plans) -> Touches:
    posted = plans.multiples.shape[1]
    multiples, stops, trails = len(block.multiples) + posted, len(block.stop_size) + 1, len(block.trail_size)
    steps = len(block.step_multiple)
    longest = posted
    for decision in range(len(block.stop)):
        longest = max(longest, block.first_step[decision + 1] - block.first_step[decision])
    touches = Touches(
        np.empty(multiples, np.int64),
        np.empty(multiples),
        np.empty(multiples),
        np.empty(multiples, np.int64),
        np.empty(stops, np.int64),
        np.empty(stops),
        np.empty(trails, np.int64),
        np.empty(trails),
        np.empty(len(block.holds), np.int64),
        np.empty(steps + posted, np.int64),
        np.empty(steps + posted),
        np.empty(len(block.again)),
        np.empty(longest + 1),
        np.empty(longest + 1),
        np.empty(longest + 1, np.int64),
    )
    touches.step_multiple[:steps] = block.step_multiple
    touches.step_fraction[:steps] = block.step_fraction
    for step in range(posted):
        touches.step_multiple[steps + step] = len(block.multiples) + step
    return touches


@inner
def _touch(
    candles: Candles,
    found: np.void,
    index: Index,
    k: int,
    true_ranges: Floats,
    plans: Plans,
    block: Block,
    timeframe: int,
    touches: Touches,
) -> None:
    """Find when one call touches each level of a block."""
    row, entry, inside = found["row"], found["price"], found["inside"]
    first, last = index.first_record[k], index.first_record[k + 1] - 1
    lowest_inside = candles.low[row] if inside else np.inf
    own = len(block.multiples)
    _touch_targets(candles, index, first, last, entry, block.multiples, own, 0, touches)
    if len(plans.kind) > 0 and plans.kind[k] == PLAN:
        _touch_targets(candles, index, first, last, entry, plans.multiples[k], plans.targets[k], own, touches)
        _touch_stop(index, k, row, lowest_inside, plans.stop[k], len(block.stop_size), touches)
    for number in range(len(block.stop_size)):
        if block.stop_range[number] < 0:
            level = entry * (1.0 - block.stop_size[number])
        else:
            level = max(
                entry - block.stop_size[number] * true_ranges[block.stop_range[number], k], entry * LOWEST_LEVEL
            )
            if np.isnan(true_ranges[block.stop_range[number], k]):
                level = np.nan
        _touch_stop(index, k, row, lowest_inside, level, number, touches)
    record, armed = first, first
    for number in range(len(block.trail_size)):
        begins_anew = (
            number == 0
            or block.trail_activation[number] != block.trail_activation[number - 1]
            or block.trail_range[number] != block.trail_range[number - 1]
        )
        if begins_anew:
            arming = entry * block.trail_activation[number]
            while armed < last and index.peak[armed] < arming:
                armed += 1
            record = armed
        fraction, distance = 1.0 - block.trail_size[number], 0.0
        by_range = block.trail_range[number] >= 0
        if by_range:
            distance = block.trail_size[number] * true_ranges[block.trail_range[number], k]
        touches.trail_row[number], touches.trail_level[number] = NEVER, 0.0
        if np.isnan(distance):
            touches.trail_level[number] = np.nan
            continue
        if inside and armed == first:
            level = max(entry - distance, entry * LOWEST_LEVEL) if by_range else entry * fraction
            if lowest_inside <= level:
                touches.trail_row[number], touches.trail_level[number] = row, level
                continue
        while record < last:  # a wider trail is touched no earlier than the one before
            level = index.peak[record] * fraction
            if by_range:
                level = max(index.peak[record] - distance, entry * LOWEST_LEVEL)
            begin, end = index.first_low[record], index.first_low[record + 1]
            if begin < end and index.low[end - 1] <= level:
                touches.trail_row[number] = _first_below(index.low_row, index.low, begin, end, level)
                touches.trail_level[number] = level
                break
            record += 1
    time, end_row = candles.timestamp[row], found["end_row"]
    for number in range(len(block.holds)):
        over = time + block.holds[number]
        begin, end = row + 1, min(end_row, row + 1 + block.holds[number] // timeframe)
        while begin < end:
            middle = (begin + end) // 2
            if candles.timestamp[middle] < over:
                begin = middle + 1
            else:
                end = middle
        touches.hold_row[number] = begin


@inner
def _touch_stop(
    index: Index, k: int, row: int, lowest_inside: float, level: float, number: int, touches: Touches
) -> None:
    """Find when a fixed level below the entry is touched, in a candle that is entered inside or in a later one."""
    touches.stop_level[number] = level
    touches.stop_row[number] = NEVER
    begin, end = index.first_floor[k], index.first_floor[k + 1]
    if lowest_inside <= level:
        touches.stop_row[number] = row
    elif begin < end and index.floor[end - 1] <= level:
        touches.stop_row[number] = _first_below(index.floor_row, index.floor, begin, end, level)


@inner
def _touch_targets(
    candles: Candles,
    index: Index,
    first: int,
    last: int,
    entry: float,
    multiples: Floats,
    count: int,
    offset: int,
    touches: Touches,
) -> None:
    """Find when ascending targets are reached, and from then on the entry price; written from `offset` on."""
    record = first + 1
    for number in range(count):
        level = entry * multiples[number]
        while record < last and index.peak[record] < level:
            record += 1
        place = offset + number
        touches.target_level[place] = level
        touches.target_row[place] = NEVER
        touches.even_row[place] = record  # for now: its row is found from the last record back
        if record < last:
            reached = index.record_row[record]
            touches.target_row[place] = reached
            touches.target_fill[place] = max(level, candles.open[reached])
    following, record = NEVER, last
    for place in range(offset + count - 1, offset - 1, -1):
        while record > touches.even_row[place]:
            record -= 1
            begin, end = index.first_low[record], index.first_low[record + 1]
            if begin < end and index.low[end - 1] <= entry:
                following = _first_below(index.low_row, index.low, begin, end, entry)
        touches.even_row[place] = following


@inner
def _first_below(rows: Integers, values: Floats, begin: int, end: int, level: float) -> int:
    """Return the row of the first of some descending values that is at most `level`; there is one."""
    while begin < end:
        middle = (begin + end) // 2
        if values[middle] <= level:
            end = middle
        else:
            begin = middle + 1
    row: int = rows[begin]
    return row


@inner
def _last_until(rows: Integers, begin: int, end: int, row: int) -> int:
    """Return the place of the last of some ascending rows that is at most `row`, or the place before `begin`."""
    while begin < end:
        middle = (begin + end) // 2
        if rows[middle] <= row:
            begin = middle + 1
        else:
            end = middle
    return begin - 1


@inner
def _decide(
    candles: Candles,
    found: np.void,
    index: Index,
    k: int,
    plans: Plans,
    block: Block,
    timeframe: int,
    touches: Touches,
    net: Floats,
    tallies: Tallies,
    pairs: Pairs,
    handed_back: int,
    recording: bool,  # noqa: FBT001 - compiled functions take positional arguments
    unclear: Flags,
    trades: Records,
    trade_count: int,
    fills: Records,
    fill_count: int,
) -> tuple[int, int, int]:
    """Decide every set of a block on one call, and write its trades if `recording`.

    Returns:
        Pairs handed back, trades and fills written so far.
    """
    entry_row, entry, inside = found["row"], found["price"], found["inside"]
    end_row, leave_row = found["end_row"], found["leave_row"]
    opens, highs, lows, times = candles.open, candles.high, candles.low, candles.timestamp
    target_row, target_level, target_fill = touches.target_row, touches.target_level, touches.target_fill
    step_multiple, step_fraction = touches.step_multiple, touches.step_fraction
    sold_for, sold, sold_in = touches.price, touches.fraction, touches.row
    time = times[entry_row]
    last_row = end_row - 1
    ending = HORIZON if times[last_row] >= found["end"] - timeframe else END_OF_DATA
    posted = len(plans.kind) > 0
    for number in range(len(block.again)):
        touches.spent[number] = entry * block.bought_at[number] * block.bought_fee[number]
    for decision in range(len(block.stop)):
        stop, trail, even = block.stop[decision], block.trail[decision], block.even[decision]
        step, last_step = block.first_step[decision], block.first_step[decision + 1]
        cut, reason = end_row, TIME
        if block.hold[decision] >= 0:
            cut = touches.hold_row[block.hold[decision]]
        if leave_row < cut:
            cut, reason = leave_row, SIGNAL
        if (stop >= 0 and np.isnan(touches.stop_level[stop])) or (trail >= 0 and np.isnan(touches.trail_level[trail])):
            continue  # too few candles before the entry
        to_kernel = False
        if posted and block.planned[decision]:
            if plans.kind[k] == PLAN:
                first_share = block.first_share[decision]
                stop = -1 if np.isnan(plans.stop[k]) else len(block.stop_size)
                step = len(block.step_multiple)
                last_step = step + _share_out(
                    block, first_share, block.first_share[decision + 1], plans.targets[k], touches
                )
                to_kernel = plans.targets[k] > 0 and touches.target_level[len(block.multiples)] <= entry
            elif plans.kind[k] != NO_PLAN or not block.own[decision]:
                continue
        stopped, even_row = NEVER, NEVER
        if stop >= 0:
            stopped = touches.stop_row[stop]
        if trail >= 0:
            stopped = min(stopped, touches.trail_row[trail])
        if 0 < even <= last_step - step:
            even_row = touches.even_row[step_multiple[step + even - 1]]
            stopped = min(stopped, even_row)
        hit = stopped < cut
        limit = stopped if hit else cut
        remaining, count, row = 1.0, 0, entry_row
        while remaining > 0.0 and step < last_step:
            multiple = step_multiple[step]
            if target_row[multiple] >= limit:
                break
            row = target_row[multiple]
            fraction = min(step_fraction[step], remaining)
            sold_for[count], sold[count], sold_in[count] = target_fill[multiple], fraction, row
            count += 1
            step += 1
            remaining -= fraction
            if remaining <= REMAINDER:
                remaining = 0.0
        pricing, level, low, ambiguous = AT_PRICE, 0.0, 0.0, False
        if remaining == 0.0:
            reason = TARGET
        elif hit:
            row, level, reason = stopped, -np.inf, STOP_LOSS
            if stop >= 0 and touches.stop_row[stop] == row:
                level = touches.stop_level[stop]
            if even_row == row and entry > level:
                level, reason = entry, BREAK_EVEN
            if trail >= 0 and touches.trail_row[trail] == row and touches.trail_level[trail] > level:
                level, reason = touches.trail_level[trail], TRAILING_STOP
            opened, high, low = opens[row], highs[row], lows[row]
            price, pricing = level, IN_RANGE
            if not (inside and row == entry_row):
                if opened <= level:
                    price, pricing = opened, AT_PRICE
                else:
                    reached = opened
                    while remaining > 0.0 and step < last_step:
                        multiple = step_multiple[step]
                        if reached < target_level[multiple]:
                            if ambiguous or high < target_level[multiple]:
                                break
                            ambiguous = True
                            policy = block.policy[decision]
                            if policy == NEAREST_OPEN:
                                if not abs(opened - high) < abs(opened - low):
                                    break
                            elif policy != TARGET_FIRST:
                                break
                            reached = high
                        fraction = min(step_fraction[step], remaining)
                        sold_for[count], sold[count], sold_in[count] = (
                            max(target_level[multiple], opened),
                            fraction,
                            row,
                        )
                        count += 1
                        step += 1
                        remaining -= fraction
                        if remaining <= REMAINDER:
                            remaining = 0.0
                    if remaining == 0.0:
                        reason, pricing = TARGET, AT_PRICE
            if remaining > 0.0:
                sold_for[count], sold[count], sold_in[count] = price, remaining, row
                count += 1
        else:
            if cut < end_row:
                row, price = cut, opens[cut]
            else:
                row, price, reason = last_row, candles.close[last_row], ending
                if ending == END_OF_DATA:
                    pricing = AT_END
            sold_for[count], sold[count], sold_in[count] = price, remaining, row
            count += 1
        to_kernel = to_kernel or (ambiguous and block.policy[decision] == FINER)
        held = times[row] - time
        last_fill = count - 1
        for number in range(block.first_set[decision], block.first_set[decision + 1]):
            worth, price = block.worth[number], sold_for[last_fill]
            if pricing == IN_RANGE:
                price = max(level - block.through[worth] * (level - low), low)
            elif pricing == AT_END:
                price = price * (1.0 - block.haircut[worth])
            if to_kernel or (
                block.again[worth]
                and TARGET <= reason <= TRAILING_STOP
                and _dips(index, k, row, price * (1.0 - block.retrace[worth]))
            ):
                pairs[handed_back, 0], pairs[handed_back, 1] = k, number
                handed_back += 1
                continue
            sold_at, sold_fee = block.sold_at[worth], block.sold_fee[worth]
            proceeds = 0.0
            for fill in range(last_fill):
                proceeds += sold[fill] * sold_for[fill] * sold_at * sold_fee
            proceeds += sold[last_fill] * price * sold_at * sold_fee
            spent = touches.spent[worth]
            net[k, number] = proceeds / spent - 1.0
            tallies.reasons[number, reason] += 1
            tallies.held[number] += held
            tallies.ambiguous[number] += ambiguous
            if recording:
                _record(
                    candles,
                    found,
                    index,
                    k,
                    touches,
                    row,
                    count,
                    reason,
                    pricing,
                    level,
                    low,
                    price,
                    sold_at,
                    sold_fee,
                    spent,
                    1.0 if stop < 0 else _distance(block, touches, stop, entry),
                    trades[trade_count],
                    fills,
                    fill_count,
                )
                unclear[trade_count] = ambiguous
                trade_count += 1
                fill_count += count + 1
    return handed_back, trade_count, fill_count


@inner
def _share_out(block: Block, begin: int, end: int, count: int, touches: Touches) -> int:
    """Write what each of a caller's targets sells, after the block's steps; return how many sell."""
    steps = len(block.step_fraction)
    if begin == end:
        for step in range(count):
            touches.step_fraction[steps + step] = 1.0 / count
        return count
    count = min(count, end - begin)
    total = 0.0
    for step in range(count):
        total += block.shares[begin + step]
    for step in range(count):
        touches.step_fraction[steps + step] = block.shares[begin + step] / total
    return count


@inner
def _dips(index: Index, k: int, row: int, limit: float) -> bool:
    """Tell whether the low falls to a limit after a row, or in the candles since the record before it."""
    first, last = index.first_record[k], index.first_record[k + 1] - 1
    record = max(first, _last_until(index.record_row, first, last, row))
    dips: bool = index.after[record] <= limit
    return dips


@inner
def _distance(block: Block, touches: Touches, stop: int, entry: float) -> float:
    """Return the part of the entry price that is lost at a stop."""
    if stop < len(block.stop_size) and block.stop_range[stop] < 0:
        fraction: float = block.stop_size[stop]
        return fraction
    distance: float = 1.0 - touches.stop_level[stop] / entry
    return distance


@inner
def _record(
    candles: Candles,
    found: np.void,
    index: Index,
    k: int,
    touches: Touches,
    row: int,
    count: int,
    reason: int,
    pricing: int,
    level: float,
    low: float,
    price: float,
    sold_at: float,
    sold_fee: float,
    spent: float,
    distance: float,
    trade: np.void,
    fills: Records,
    fill_count: int,
) -> None:
    """Write a trade and its fills: all that the kernel writes of it."""
    entry_row, entry, inside = found["row"], found["price"], found["inside"]
    fill = fills[fill_count]
    fill["time"] = candles.timestamp[entry_row]
    fill["row"] = entry_row
    fill["price"] = entry
    fill["fraction"] = 1.0
    fill["reason"] = ENTRY
    gross, proceeds, before, sold = 0.0, 0.0, 0.0, 0.0
    for number in range(count):
        fraction, paid = touches.fraction[number], price if number == count - 1 else touches.price[number]
        fill = fills[fill_count + 1 + number]
        fill["time"] = candles.timestamp[touches.row[number]]
        fill["row"] = touches.row[number]
        fill["price"] = paid
        fill["fraction"] = fraction
        fill["reason"] = reason if number == count - 1 else TARGET
        before = proceeds
        sold += fraction
        gross += fraction * paid
        proceeds += fraction * paid * sold_at * sold_fee
    fraction = touches.fraction[count - 1]
    at_level, at_low, dead = price, price, price
    if pricing == IN_RANGE:
        at_level, at_low = level, max(level - (level - low), low)
    if reason == END_OF_DATA:
        dead = 0.0
    trade["call"] = k
    trade["trade_no"] = 1
    trade["fills"] = count + 1
    trade["entry_row"] = entry_row
    trade["exit_row"] = row
    trade["entry_time"] = candles.timestamp[entry_row]
    trade["exit_time"] = candles.timestamp[row]
    trade["entry_price"] = entry
    trade["exit_price"] = gross / sold
    trade["proceeds"] = proceeds
    trade["gross_return"] = gross / entry - 1.0
    trade["net_return"] = proceeds / spent - 1.0
    trade["at_level"] = at_level
    trade["at_low"] = at_low
    trade["if_dead"] = dead
    trade["net_at_level"] = (before + fraction * at_level * sold_at * sold_fee) / spent - 1.0
    trade["net_at_low"] = (before + fraction * at_low * sold_at * sold_fee) / spent - 1.0
    trade["net_if_dead"] = (before + fraction * dead * sold_at * sold_fee) / spent - 1.0
    trade["stop_distance"] = distance
    trade["reason"] = reason
    at_open = reason == TIME or reason == SIGNAL  # noqa: PLR1714 - numba has no sets of integers
    until = row - 1 if at_open else row
    highest, lowest = entry, entry
    if inside:
        highest, lowest = max(entry, candles.close[entry_row]), min(entry, candles.low[entry_row])
    first, last = index.first_record[k], index.first_record[k + 1] - 1
    record = _last_until(index.record_row, first, last, until)
    if record >= first:
        highest = max(highest, index.peak[record])
    place = _last_until(index.floor_row, index.first_floor[k], index.first_floor[k + 1], until)
    if place >= index.first_floor[k]:
        lowest = min(lowest, index.floor[place])
    if at_open:
        highest, lowest = max(highest, candles.open[row]), min(lowest, candles.open[row])
    trade["mfe"] = highest / entry - 1.0
    trade["mae"] = lowest / entry - 1.0
