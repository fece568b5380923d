"""What chance would have made of the calls: other moments on the same tokens, other names on the same calls. Compiled.

Of one strategy: what chance makes of the best of many is asked of placebos (`lab_pipeline.statistics.selection`).

Numbers are drawn outside, 32 bits each, so that neither threads nor memory decide what is drawn.
"""
# ruff: noqa: PLR0917 - columns by position are what compiled functions take

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.engine.compiled import compiled, inner

Drawn = npt.NDArray[np.uint32]
FEWEST_MOMENTS = 20
"""Candles among which a call can be moved; with fewer, nothing is said of it."""


@compiled
def find_moments(
    timestamp: Integers,
    called_at: Integers,
    first_row: Integers,
    last_row: Integers,
    horizon: int,
    around: int,
    earliest: int,
    latest: int,
    drawn: Drawn,
) -> tuple[Integers, Integers]:
    """Choose candles of the call's token, from a horizon up to `around` away from the call, before it or after.

    Args:
        timestamp: of the candles of a shard.
        called_at: of each call.
        first_row: of its token.
        last_row: the row after its last.
        horizon: milliseconds within which of the call there is none.
        around: milliseconds within which of the call they are.
        earliest: milliseconds before which none opens.
        latest: milliseconds after which none opens.
        drawn: numbers, one for each candle to be chosen, by call.

    Returns:
        Rows of the candles, by call, and the row of the first candle from the call on: -1 for a call that is not
        moved, because it has no candle or too few to choose among.
    """
    rows, at_call = np.zeros(drawn.shape, np.int64), np.full(len(called_at), -1)
    for k in range(len(called_at)):
        called, first, last = called_at[k], first_row[k], last_row[k]
        here = _at_or_after(timestamp, first, last, called)
        begin = _at_or_after(timestamp, first, last, max(called - around, earliest))
        before = max(0, _at_or_after(timestamp, first, last, min(called - horizon, latest) + 1) - begin)
        again = _at_or_after(timestamp, first, last, max(called + horizon, earliest))
        after = max(0, _at_or_after(timestamp, first, last, min(called + around, latest) + 1) - again)
        if here == last or timestamp[here] >= called + horizon or before + after < FEWEST_MOMENTS:
            continue
        at_call[k] = here
        for draw in range(drawn.shape[1]):
            chosen = (np.int64(drawn[k, draw]) * (before + after)) >> 32
            rows[k, draw] = begin + chosen if chosen < before else again + chosen - before
    return rows, at_call


@compiled
def sums_of_moments(
    sums: Floats,
    counts: npt.NDArray[np.int32],
    own: Floats,
    traded: Integers,
    callers: Integers,
    names: int,
    drawn: Drawn,
) -> tuple[Floats, Floats]:
    """Take one moment of each call, its own among them, and add up what it made, by caller; once for each row drawn.

    Args:
        sums: net returns of the trades at each moment of each call.
        counts: how many there were.
        own: net returns at the call's own moment.
        traded: how many those were.
        callers: of the calls.
        names: how many callers there are.
        drawn: numbers, by draw and call.

    Returns:
        Sums and trades, by draw and caller; the last column is of all callers.
    """
    made, number = np.zeros((len(drawn), names + 1)), np.zeros((len(drawn), names + 1))
    moments = sums.shape[1]
    for draw in range(len(drawn)):
        for k in range(len(own)):
            chosen = (np.int64(drawn[draw, k]) * (moments + 1)) >> 32
            total, count = own[k], traded[k]
            if chosen < moments:
                total, count = sums[k, chosen], np.int64(counts[k, chosen])
            made[draw, callers[k]] += total
            number[draw, callers[k]] += count
        for name in range(names):
            made[draw, names] += made[draw, name]
            number[draw, names] += number[draw, name]
    return made, number


@compiled
def sums_of_shuffles(
    own: Floats, traded: Integers, days: Integers, callers: Integers, names: int, drawn: Drawn
) -> tuple[Floats, Floats]:
    """Hand out the calls of each day to its callers anew, as many to each; once for each row drawn.

    Arguments and result as of `sums_of_moments`; the days ascend.
    """
    made, number = np.zeros((len(drawn), names + 1)), np.zeros((len(drawn), names + 1))
    order = np.empty(len(own), np.int64)
    for draw in range(len(drawn)):
        begin = 0
        for k in range(len(own)):
            if days[k] != days[begin]:
                begin = k
            order[k] = k  # Fisher and Yates, inside out
            chosen = begin + ((np.int64(drawn[draw, k]) * (k - begin + 1)) >> 32)
            order[k], order[chosen] = order[chosen], k
        for k in range(len(own)):
            made[draw, callers[k]] += own[order[k]]
            number[draw, callers[k]] += traded[order[k]]
        for name in range(names):
            made[draw, names] += made[draw, name]
            number[draw, names] += number[draw, name]
    return made, number


@inner
def _at_or_after(timestamp: Integers, begin: int, end: int, time: int) -> int:
    while begin < end:
        middle = (begin + end) // 2
        if timestamp[middle] < time:
            begin = middle + 1
        else:
            end = middle
    return begin
