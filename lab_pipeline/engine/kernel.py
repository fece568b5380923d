"""The simulation of many calls over columns of candles, compiled.

`reference` is the same in plain Python, to be read; the two agree bit for bit. What makes this one fast: the rows of a
call's window are read once, on vector registers, for the highest high and lowest low of every block of rows
(`_summarise`). Most blocks touch neither the stop nor a target and make no difference to the path, which their two
numbers tell; only the others are looked at row by row. Levels are scalars that are computed again only when the state
changes; times become rows by binary search, once a call or trade.
"""
# ruff: noqa: PLR0917 - scalars by position are what compiled functions pass in registers

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import LARGEST, SMALLEST_PRICE, Floats, Integers
from lab_pipeline.domain.enums import FillReason, Outcome
from lab_pipeline.engine.compiled import compiled, inner

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
BLOCK = 64
"""Rows whose extremes are looked at together."""
REMAINDER = 1e-12
"""What is left of a position up to this fraction counts as nothing."""

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
)
ENTRY, REENTRY, TARGET, STOP_LOSS, BREAK_EVEN, TRAILING_STOP, TIME, HORIZON, END_OF_DATA = range(9)
OUTCOMES = (Outcome.NO_CANDLES, Outcome.NO_ENTRY, Outcome.ENTERED)
NO_CANDLES, NO_ENTRY, ENTERED = range(3)
MARKET, DIP, REBOUND = range(3)
STOP_FIRST, TARGET_FIRST, NEAREST_OPEN = range(3)

Records = npt.NDArray[np.void]

CALL = np.dtype(
    [
        ("outcome", np.int8),
        ("trades", np.int32),
        ("ambiguous", np.int32),
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
        ("shard", np.int64),
        ("mark", np.int64),
        ("mark_time", np.int64),
        ("reason", np.int8),
    ]
)
"""One record a trade. `fills` counts its fills, buy included; `proceeds` is net of costs, per unit bought;
`shard`, `mark` and `mark_time` are of `marks`."""

FILL = np.dtype([("time", np.int64), ("price", np.float64), ("fraction", np.float64), ("reason", np.int8)])


class Candles(NamedTuple):
    """Columns of a shard in which `first_bad_row` finds none: the kernel relies on what it checks."""

    timestamp: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


class Rules(NamedTuple):
    """A strategy as scalars. Times in milliseconds; 0.0 or 0 for a rule that is not set, -1 for no `max_hold`."""

    delay: int
    max_wait: int
    horizon: int
    timeframe: int
    entry_kind: int
    entry_fraction: float
    stop_loss: float
    trail_activation: float
    trail_distance: float
    break_even_after: int
    max_hold: int
    reentry_retrace: float
    reentry_count: int
    policy: int
    fee: float
    slip: float
    multiples: Floats
    fractions: Floats


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
    candles: Candles, rules: Rules, called_at: Integers, first_row: Integers, last_row: Integers
) -> tuple[Records, Records, Records]:
    """Simulate calls, each on the rows `first_row[k]:last_row[k]` of its mint.

    Returns:
        Records of `CALL` (one a call), `TRADE` and `FILL` (in order of call, trade, fill).
    """
    calls = np.zeros(len(called_at), CALL)
    trades = np.empty(len(called_at) + 1, TRADE)
    fills = np.empty(2 * len(called_at) + len(rules.multiples) + 2, FILL)
    trade_count = 0
    fill_count = 0
    tops, bottoms = np.empty(BLOCK, np.float64), np.empty(BLOCK, np.float64)
    for k in range(len(called_at)):
        call = calls[k]
        end = called_at[k] + rules.horizon
        start = called_at[k] + rules.delay
        begin = _first_at(candles.timestamp, first_row[k], last_row[k], start, rules.timeframe)
        end_row = _first_at(candles.timestamp, begin, last_row[k], end, rules.timeframe)
        if begin == end_row:
            continue
        deadline = _first_at(candles.timestamp, begin, end_row, start + rules.max_wait, rules.timeframe)
        row, price, inside = _find_entry(candles, rules, begin, deadline)
        if row < 0:
            call["outcome"] = NO_ENTRY
            continue
        call["outcome"] = ENTERED
        call["entry_time"] = candles.timestamp[row]
        blocks = (end_row - row) // BLOCK + 1
        if blocks > len(tops):
            tops, bottoms = np.empty(2 * blocks, np.float64), np.empty(2 * blocks, np.float64)
        window = Window(row + inside, end_row, tops, bottoms)
        _summarise(candles.high, candles.low, window)
        _measure_path(candles, window, row, price, call)
        _measure_before(candles, first_row[k], row, rules.timeframe, call)
        while row >= 0:
            if trade_count == len(trades):
                trades = _doubled(trades)
            if fill_count + len(rules.multiples) + 2 > len(fills):
                fills = _doubled(fills)
            trade = trades[trade_count]
            trade["call"] = k
            call["trades"] += 1
            trade["trade_no"] = call["trades"]
            call["ambiguous"] += _run_trade(candles, rules, window, row, end, price, inside, trade, fills, fill_count)
            trade_count += 1
            fill_count += trade["fills"]
            row = -1
            if call["trades"] <= rules.reentry_count and TARGET <= trade["reason"] <= TRAILING_STOP:
                limit = fills[fill_count - 1]["price"] * (1.0 - rules.reentry_retrace)
                row, price, inside = _find_dip(candles, trade["exit_row"] + 1, end_row, limit)
    return calls, trades[:trade_count], fills[:fill_count]


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
def _find_entry(candles: Candles, rules: Rules, begin: int, deadline: int) -> tuple[int, float, bool]:
    """Return row, price and whether the fill is inside the candle; row -1 if nothing fills before `deadline`."""
    if begin == deadline:
        return -1, 0.0, False
    first_open = candles.open[begin]
    if rules.entry_kind == MARKET:
        return begin, first_open, False
    if rules.entry_kind == DIP:
        return _find_dip(candles, begin, deadline, first_open * (1.0 - rules.entry_fraction))
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
def _find_dip(candles: Candles, begin: int, end_row: int, limit: float) -> tuple[int, float, bool]:
    for row in range(begin, end_row):
        if candles.low[row] <= limit:
            if candles.open[row] <= limit:
                return row, candles.open[row], False
            return row, limit, True
    return -1, 0.0, False


@inner
def _run_trade(
    candles: Candles,
    rules: Rules,
    window: Window,
    row: int,
    end: int,
    entry: float,
    inside: bool,  # noqa: FBT001 - compiled functions take positional arguments
    trade: np.void,
    fills: Records,
    first_fill: int,
) -> int:
    """Run one trade from its entry candle, write its record and its fills, and return the ambiguous candles."""
    entry_row, end_row = row, window.end
    time = candles.timestamp[row]
    count = _fill(fills, first_fill, time, entry, 1.0, ENTRY if trade["trade_no"] == 1 else REENTRY)
    hold_row = end_row
    if rules.max_hold >= 0:
        held = _first_at(candles.timestamp, row, end_row, time + rules.max_hold, rules.timeframe)
        hold_row = max(row + 1, held)
    stop, reason = _stop_level(rules, entry, entry, 0)
    remaining, filled, ambiguous = 1.0, 0, 0
    peak, highest, lowest = entry, entry, entry
    if inside:
        highest = max(entry, candles.close[row])
        lowest = min(entry, candles.low[row])
        if candles.low[row] <= stop:
            count = _fill(fills, count, time, stop, remaining, reason)
            remaining = 0.0
        else:
            row += 1
    while remaining > 0.0:
        target = _target_level(rules, entry, filled)
        row, peak, lowest, stop, reason = _skip_quiet(
            candles, rules, window, row, hold_row, entry, filled, target, peak, lowest, stop, reason
        )
        if row == hold_row:
            break
        count, filled, remaining, both = _touch(
            candles, rules, row, entry, stop, reason, fills, count, filled, remaining
        )
        ambiguous += both
        peak = max(peak, candles.high[row])
        lowest = min(lowest, candles.low[row])
        if remaining > 0.0:
            stop, reason = _stop_level(rules, entry, peak, filled)
            row += 1
    highest = max(highest, peak)
    if remaining > 0.0 and row < end_row:
        opened = candles.open[row]
        highest = max(highest, opened)
        lowest = min(lowest, opened)
        count = _fill(fills, count, candles.timestamp[row], opened, remaining, TIME)
    elif remaining > 0.0:
        row = end_row - 1
        reason = HORIZON if candles.timestamp[row] >= end - rules.timeframe else END_OF_DATA
        count = _fill(fills, count, candles.timestamp[row], candles.close[row], remaining, reason)
    trade["entry_row"] = entry_row
    trade["exit_row"] = row
    trade["entry_time"] = time
    trade["exit_time"] = candles.timestamp[row]
    trade["fills"] = count - first_fill
    trade["mfe"] = highest / entry - 1.0
    trade["mae"] = lowest / entry - 1.0
    _settle(rules, entry, fills, first_fill, count, trade)
    return ambiguous


@inner
def _skip_quiet(
    candles: Candles,
    rules: Rules,
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
    trailing = rules.trail_distance > 0.0
    while row < end_row:
        block = (row - window.begin) // BLOCK
        block_end = window.begin + (block + 1) * BLOCK
        if row == block_end - BLOCK and min(block_end, window.end) <= end_row and tops[block] < target:
            level, name = stop, reason
            if trailing and tops[block] > peak:
                level, name = _stop_level(rules, entry, tops[block], filled)
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
                    stop, reason = _stop_level(rules, entry, peak, filled)
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
    rules: Rules,
    row: int,
    entry: float,
    stop: float,
    reason: int,
    fills: Records,
    count: int,
    filled: int,
    remaining: float,
) -> tuple[int, int, float, bool]:
    """Fill what a candle that touches the stop or a target fills.

    Returns:
        Fills written so far, targets filled, fraction remaining, and whether the candle is ambiguous.
    """
    time, opened, high, low = candles.timestamp[row], candles.open[row], candles.high[row], candles.low[row]
    if opened <= stop:
        return _fill(fills, count, time, opened, remaining, reason), filled, 0.0, False
    count, filled, remaining = _fill_targets(rules, entry, opened, opened, time, fills, count, filled, remaining)
    if remaining == 0.0:
        return count, filled, remaining, False
    stop_hit = low <= stop
    target_hit = high >= _target_level(rules, entry, filled)
    if target_hit and (not stop_hit or _target_comes_first(rules.policy, opened, high, low)):
        count, filled, remaining = _fill_targets(rules, entry, high, opened, time, fills, count, filled, remaining)
    if stop_hit and remaining > 0.0:
        count = _fill(fills, count, time, stop, remaining, reason)
        remaining = 0.0
    return count, filled, remaining, stop_hit and target_hit


@inner
def _stop_level(rules: Rules, entry: float, peak: float, filled: int) -> tuple[float, int]:
    """Return the highest stop and its reason; of equal levels the first in the contract's order names it."""
    level, reason = -np.inf, STOP_LOSS
    if rules.stop_loss > 0.0:
        level = entry * (1.0 - rules.stop_loss)
    if 0 < rules.break_even_after <= filled and entry > level:
        level, reason = entry, BREAK_EVEN
    if rules.trail_distance > 0.0 and peak >= entry * rules.trail_activation:
        trail = peak * (1.0 - rules.trail_distance)
        if trail > level:
            level, reason = trail, TRAILING_STOP
    return level, reason


@inner
def _target_level(rules: Rules, entry: float, filled: int) -> float:
    return entry * rules.multiples[filled] if filled < len(rules.multiples) else np.inf


@inner
def _target_comes_first(policy: int, opened: float, high: float, low: float) -> bool:
    if policy == NEAREST_OPEN:
        return abs(opened - high) < abs(opened - low)
    return policy == TARGET_FIRST


@inner
def _fill(fills: Records, count: int, time: int, price: float, fraction: float, reason: int) -> int:
    fill = fills[count]
    fill["time"] = time
    fill["price"] = price
    fill["fraction"] = fraction
    fill["reason"] = reason
    return count + 1


@inner
def _fill_targets(
    rules: Rules,
    entry: float,
    reached: float,
    opened: float,
    time: int,
    fills: Records,
    count: int,
    filled: int,
    remaining: float,
) -> tuple[int, int, float]:
    """Fill every target up to `reached`, each at its level or, if the candle opened above it, at the open."""
    while remaining > 0.0 and filled < len(rules.multiples):
        level = _target_level(rules, entry, filled)
        if reached < level:
            break
        fraction = min(rules.fractions[filled], remaining)
        count = _fill(fills, count, time, max(level, opened), fraction, TARGET)
        filled += 1
        remaining -= fraction
        if remaining <= REMAINDER:
            remaining = 0.0
    return count, filled, remaining


@inner
def _settle(rules: Rules, entry: float, fills: Records, first_fill: int, end_fill: int, trade: np.void) -> None:
    gross, proceeds, sold = 0.0, 0.0, 0.0
    for index in range(first_fill + 1, end_fill):
        price, fraction = fills[index]["price"], fills[index]["fraction"]
        sold += fraction
        gross += fraction * price
        proceeds += fraction * price * (1.0 - rules.slip) * (1.0 - rules.fee)
    trade["entry_price"] = entry
    trade["exit_price"] = gross / sold
    trade["reason"] = fills[end_fill - 1]["reason"]
    trade["proceeds"] = proceeds
    trade["gross_return"] = gross / entry - 1.0
    trade["net_return"] = proceeds / (entry * (1.0 + rules.slip) * (1.0 + rules.fee)) - 1.0


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
