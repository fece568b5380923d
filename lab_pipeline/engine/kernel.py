"""The simulation of many calls over columns of candles, compiled.

`reference` is the same in plain Python, to be read; the two agree bit for bit. What makes this one fast: nearly
every candle neither touches the stop nor a target, and `_skip_quiet` asks only that; levels are scalars that are
computed again only when the state changes; times become rows by binary search, once a call or trade.
"""
# ruff: noqa: PLR0917 - scalars by position are what compiled functions pass in registers

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.enums import FillReason, Outcome
from lab_pipeline.engine.compiled import compiled

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
BLOCK = 32
"""Rows that are looked at together."""
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

SMALLEST_PRICE, LARGEST = 1e-100, 1e100
"""Bounds of prices and volumes: within them no ratio and no sum overflows."""

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
        ("mark", np.int64),
        ("mark_time", np.int64),
        ("reason", np.int8),
    ]
)
"""One record a trade. `fills` counts its fills, buy included; `proceeds` is net of costs, per unit bought;
`mark` and `mark_time` are where `keep_marks` put its closes and their times."""

FILL = np.dtype([("time", np.int64), ("price", np.float64), ("fraction", np.float64), ("reason", np.int8)])


class Candles(NamedTuple):
    """Columns of a shard; what `_validate` passed: the kernel relies on low <= open, close <= high."""

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
    for k in range(len(called_at)):
        call = calls[k]
        end = called_at[k] + rules.horizon
        start = called_at[k] + rules.delay
        begin = _first_at(candles.timestamp, first_row[k], last_row[k], start)
        end_row = _first_at(candles.timestamp, begin, last_row[k], end)
        if begin == end_row:
            continue
        deadline = _first_at(candles.timestamp, begin, end_row, start + rules.max_wait)
        row, price, inside = _find_entry(candles, rules, begin, deadline)
        if row < 0:
            call["outcome"] = NO_ENTRY
            continue
        call["outcome"] = ENTERED
        call["entry_time"] = candles.timestamp[row]
        _measure_path(candles, row, end_row, price, inside, call)
        _measure_before(candles, first_row[k], row, call)
        while row >= 0:
            if trade_count == len(trades):
                trades = _doubled(trades)
            if fill_count + len(rules.multiples) + 2 > len(fills):
                fills = _doubled(fills)
            trade = trades[trade_count]
            trade["call"] = k
            call["trades"] += 1
            trade["trade_no"] = call["trades"]
            call["ambiguous"] += _run_trade(candles, rules, row, end_row, end, price, inside, trade, fills, fill_count)
            trade_count += 1
            fill_count += trade["fills"]
            row = -1
            if call["trades"] <= rules.reentry_count and TARGET <= trade["reason"] <= TRAILING_STOP:
                limit = fills[fill_count - 1]["price"] * (1.0 - rules.reentry_retrace)
                row, price, inside = _find_dip(candles, trade["exit_row"] + 1, end_row, limit)
    return calls, trades[:trade_count], fills[:fill_count]


@compiled
def first_bad_row(candles: Candles, offsets: Integers) -> int:
    """Return the first row that breaks a rule of candles, or -1.

    Rules: times ascend strictly within a mint, low <= open, close <= high, prices and volume in bounds.
    """
    for mint in range(len(offsets) - 1):
        begin, end = offsets[mint], offsets[mint + 1]
        good = True
        for row in range(begin, end):  # no way out of the loop, so that it runs on vector registers
            good &= _holds(candles, row)
        for row in range(begin + 1, end):
            good &= candles.timestamp[row] > candles.timestamp[row - 1]
        if not good:
            for row in range(begin, end):
                if not _holds(candles, row):
                    return row
                if row > begin and candles.timestamp[row] <= candles.timestamp[row - 1]:
                    return row
    return -1


@compiled
def keep_marks(
    timestamp: Integers, close: Floats, timeframe: int, trades: Records, by_entry: Integers
) -> tuple[Floats, Integers]:
    """Copy the closes that value the trades' positions, once where trades overlap, and tell the trades where.

    Args:
        timestamp: column of the shard the trades were simulated on.
        close: likewise.
        timeframe: length of a candle in milliseconds.
        trades: records of `TRADE`; `mark` and `mark_time` are set: the indices of the entry candle's close and
            time in what is returned. `mark_time` is -1 where candles follow each other without a gap.
        by_entry: indices of `trades`, ascending by `entry_row`.

    Returns:
        The closes, and the times of those that lie in stretches with gaps.
    """
    first, last, gaps = _stretches(timestamp, timeframe, trades, by_entry)
    lengths = last - first + 1
    closes = np.empty(lengths.sum(), np.float64)
    times = np.empty(lengths[gaps].sum(), np.int64)
    begin = 0
    begin_time = 0
    position = 0
    for stretch in range(len(first)):
        rows = lengths[stretch]
        closes[begin : begin + rows] = close[first[stretch] : last[stretch] + 1]
        if gaps[stretch]:
            times[begin_time : begin_time + rows] = timestamp[first[stretch] : last[stretch] + 1]
        while position < len(by_entry) and trades[by_entry[position]]["entry_row"] <= last[stretch]:
            trade = trades[by_entry[position]]
            trade["mark"] = begin + trade["entry_row"] - first[stretch]
            trade["mark_time"] = begin_time + trade["entry_row"] - first[stretch] if gaps[stretch] else -1
            position += 1
        begin += rows
        begin_time += rows if gaps[stretch] else 0
    return closes, times


@compiled
def _stretches(
    timestamp: Integers, timeframe: int, trades: Records, by_entry: Integers
) -> tuple[Integers, Integers, npt.NDArray[np.bool_]]:
    first = np.empty(len(trades), np.int64)
    last = np.empty(len(trades), np.int64)
    gaps = np.zeros(len(trades), np.bool_)
    count = 0
    for index in by_entry:
        trade = trades[index]
        if count > 0 and trade["entry_row"] <= last[count - 1]:
            last[count - 1] = max(last[count - 1], trade["exit_row"])
        else:
            first[count] = trade["entry_row"]
            last[count] = trade["exit_row"]
            count += 1
    for stretch in range(count):
        for row in range(first[stretch], last[stretch]):
            gaps[stretch] |= timestamp[row + 1] - timestamp[row] != timeframe
    return first[:count], last[:count], gaps[:count]


@compiled
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


@compiled
def _first_at(timestamp: Integers, begin: int, end: int, time: int) -> int:
    """Return the first row of begin:end that is not before `time`, or `end`."""
    while begin < end:
        middle = (begin + end) // 2
        if timestamp[middle] < time:
            begin = middle + 1
        else:
            end = middle
    return begin


@compiled
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


@compiled
def _find_dip(candles: Candles, begin: int, end_row: int, limit: float) -> tuple[int, float, bool]:
    for row in range(begin, end_row):
        if candles.low[row] <= limit:
            if candles.open[row] <= limit:
                return row, candles.open[row], False
            return row, limit, True
    return -1, 0.0, False


@compiled
def _run_trade(
    candles: Candles,
    rules: Rules,
    row: int,
    end_row: int,
    end: int,
    entry: float,
    inside: bool,  # noqa: FBT001 - compiled functions take positional arguments
    trade: np.void,
    fills: Records,
    first_fill: int,
) -> int:
    """Run one trade from its entry candle, write its record and its fills, and return the ambiguous candles."""
    entry_row = row
    highs, lows = candles.high, candles.low
    time = candles.timestamp[row]
    count = _fill(fills, first_fill, time, entry, 1.0, ENTRY if trade["trade_no"] == 1 else REENTRY)
    hold_row = end_row
    if rules.max_hold >= 0:
        hold_row = max(row + 1, _first_at(candles.timestamp, row, end_row, time + rules.max_hold))
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
            highs, lows, rules, row, hold_row, entry, filled, target, peak, lowest, stop, reason
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


@compiled
def _skip_quiet(
    highs: Floats,
    lows: Floats,
    rules: Rules,
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

    Because low <= open <= high, a candle with low > stop and high < target does not reach them at its open either.

    Returns:
        The row of the first candle that does, or `end_row`, with peak, lowest low, stop level and its reason.
    """
    trailing = rules.trail_distance > 0.0
    while row < end_row:
        if row + BLOCK <= end_row:
            top, bottom = _extremes(highs, lows, row)
            if bottom > stop and top < target and not (trailing and top > peak):
                peak = max(peak, top)
                lowest = min(lowest, bottom)
                row += BLOCK
                continue
        for near in range(row, min(row + BLOCK, end_row)):
            high, low = highs[near], lows[near]
            if low <= stop or high >= target:
                return near, peak, lowest, stop, reason
            lowest = min(lowest, low)
            if high > peak:
                peak = high
                if trailing:
                    stop, reason = _stop_level(rules, entry, peak, filled)
        row = min(row + BLOCK, end_row)
    return row, peak, lowest, stop, reason


@compiled
def _extremes(highs: Floats, lows: Floats, row: int) -> tuple[float, float]:
    """Return the highest high and the lowest low of `BLOCK` rows.

    Positive floats have the order of their bits read as integers, and the maximum of integers runs on vector
    registers, which that of floats does only under fast-math.
    """
    high_bits, low_bits = highs[row : row + BLOCK].view(np.int64), lows[row : row + BLOCK].view(np.int64)
    top_bits, bottom_bits = high_bits[0], low_bits[0]
    for index in range(BLOCK):
        top_bits = max(top_bits, high_bits[index])
        bottom_bits = min(bottom_bits, low_bits[index])
    top: float = np.int64(top_bits).view(np.float64)
    bottom: float = np.int64(bottom_bits).view(np.float64)
    return top, bottom


@compiled
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


@compiled
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


@compiled
def _target_level(rules: Rules, entry: float, filled: int) -> float:
    return entry * rules.multiples[filled] if filled < len(rules.multiples) else np.inf


@compiled
def _target_comes_first(policy: int, opened: float, high: float, low: float) -> bool:
    if policy == NEAREST_OPEN:
        return abs(opened - high) < abs(opened - low)
    return policy == TARGET_FIRST


@compiled
def _fill(fills: Records, count: int, time: int, price: float, fraction: float, reason: int) -> int:
    fill = fills[count]
    fill["time"] = time
    fill["price"] = price
    fill["fraction"] = fraction
    fill["reason"] = reason
    return count + 1


@compiled
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


@compiled
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


@compiled
def _measure_path(
    candles: Candles,
    entry_row: int,
    end_row: int,
    entry: float,
    inside: bool,  # noqa: FBT001 - compiled functions take positional arguments
    call: np.void,
) -> None:
    entry_time = candles.timestamp[entry_row]
    call["time_to_2x_minutes"] = np.nan
    call["time_to_3x_minutes"] = np.nan
    call["time_to_5x_minutes"] = np.nan
    call["time_to_10x_minutes"] = np.nan
    times, highs, lows = candles.timestamp, candles.high, candles.low
    best, best_row, lowest, doubled = entry, entry_row, entry, False
    row = entry_row
    while row < end_row:
        if entry_row < row <= end_row - BLOCK:
            top, bottom = _extremes(highs, highs if doubled else lows, row)
            if top <= best:
                lowest = lowest if doubled else min(lowest, bottom)
                row += BLOCK
                continue
        block_end = min(row + BLOCK, end_row)
        while row < block_end:
            high = candles.close[row] if inside and row == entry_row else highs[row]
            if not doubled:
                lowest = min(lowest, lows[row])
            if high > best:
                doubled |= _note_multiples(call, entry, best, high, (times[row] - entry_time) / MINUTE_MS)
                best, best_row = high, row
            row += 1
    call["ath_multiple"] = best / entry
    call["time_to_ath_minutes"] = (candles.timestamp[best_row] - entry_time) / MINUTE_MS
    call["min_multiple_before_2x"] = lowest / entry if doubled else np.nan
    call["final_multiple"] = candles.close[end_row - 1] / entry


@compiled
def _note_multiples(call: np.void, entry: float, before: float, high: float, minutes: float) -> bool:
    """Note the multiples that a rise of the maximum from `before` to `high` reaches, and return whether 2 is one."""
    if before < entry * 3.0 <= high:
        call["time_to_3x_minutes"] = minutes
    if before < entry * 5.0 <= high:
        call["time_to_5x_minutes"] = minutes
    if before < entry * 10.0 <= high:
        call["time_to_10x_minutes"] = minutes
    if before < entry * 2.0 <= high:
        call["time_to_2x_minutes"] = minutes
        return True
    return False


@compiled
def _measure_before(candles: Candles, first_row: int, entry_row: int, call: np.void) -> None:
    """Measure the hour before the entry, on candles before the entry candle only."""
    call["pre_return_1h"] = np.nan
    call["pre_volatility_1h"] = np.nan
    call["pre_volume_1h"] = np.nan
    begin = _first_at(candles.timestamp, first_row, entry_row, candles.timestamp[entry_row] - HOUR_MS)
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
