"""What is kept of the trades of every set: sums by day and by caller that do not depend on the order of the trades.

A float64 sum depends on its order in the last digits. These do not: a net return is what is left of a float64 when 1 is
subtracted, so a whole number of 2**-53. It is split into a coarse part, a multiple of 2**-20, and the rest, and both
add up without rounding as long as the returns of a set sum to less than 8 billion and are fewer than two million.
Squares are rounded to multiples of 2**-43 and split likewise, for sums up to 8 trillion. So threads, shards and parts
may add in any order, and the sum of returns that is told is the exact one, rounded once: what `math.fsum` gives of the
trades of a backtest.
"""
# ruff: noqa: PLR0917 - compiled functions take positional arguments

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.engine.compiled import compiled
from lab_pipeline.engine.sweep.touch import REASON_CODES

COARSE = 1.5 * 2.0**32
"""Added and subtracted again, it rounds to a multiple of 2**-20."""
COARSE_SQUARE = 1.5 * 2.0**42
"""Likewise to a multiple of 2**-10."""
FINE_SQUARE = 768.0
"""Added to less than 2**-10 and subtracted again, it rounds to a multiple of 2**-43."""
TILE = 16
"""Sets whose bins stay in the nearest memory."""
BINS = 256
BINS_AN_OCTAVE_BITS = 3
LOWEST_EXPONENT = -10
"""Returns nearer to 0 than two to the power of this share the bins next to it."""
MANTISSA_BITS = 52
EXPONENT_BIAS = 1023
HALF = BINS // 2

Counts = npt.NDArray[np.int32]


class Sums(NamedTuple):
    """Sums of net returns and of their squares, in two parts each, by bucket and set."""

    trades: Counts
    whole: Floats
    rest: Floats
    square: Floats
    square_rest: Floats


class Tail(NamedTuple):
    """What is counted of the gains by set: wins by caller and set, sum of the gains, bins of the returns."""

    wins: Counts
    gain: Floats
    gain_rest: Floats
    bins: Counts


@dataclass(eq=False)
class Cells:
    """The accumulators of a sweep; sets lie in the order of its plan. It can be pickled.

    Attributes:
        by_day: shape (days, sets).
        by_caller: shape (callers, sets).
        tail: wins of shape (callers, sets), gains (sets), bins (sets, `BINS`).
        entered: calls with a trade, by set.
        reasons: trades by reason, shape (sets, reasons).
        held: milliseconds.
        ambiguous: candles that were.
        by_kernel: pairs of call and set that the kernel decided.
    """

    by_day: Sums
    by_caller: Sums
    tail: Tail
    entered: Integers
    reasons: Integers
    held: Integers
    ambiguous: Integers
    by_kernel: Integers

    @classmethod
    def empty(cls, sets: int, days: int, callers: int) -> "Cells":
        """Return accumulators in which nothing was counted."""
        return cls(
            by_day=_sums(days, sets),
            by_caller=_sums(callers, sets),
            tail=Tail(
                np.zeros((callers, sets), np.int32), np.zeros(sets), np.zeros(sets), np.zeros((sets, BINS), np.int32)
            ),
            entered=np.zeros(sets, np.int64),
            reasons=np.zeros((sets, REASON_CODES), np.int64),
            held=np.zeros(sets, np.int64),
            ambiguous=np.zeros(sets, np.int64),
            by_kernel=np.zeros(sets, np.int64),
        )

    def merge(self, other: "Cells") -> None:
        """Add what another sweep of the same sets and calls counted."""
        for one in fields(self):
            mine, others = getattr(self, one.name), getattr(other, one.name)
            for own, new in zip(_arrays(mine), _arrays(others), strict=True):
                np.add(own, new, out=own)


def bytes_needed(sets: int, days: int, callers: int) -> int:
    """Return how much memory the accumulators of a sweep take."""
    a_bucket = 4 + 4 * 8
    return sets * (days * a_bucket + callers * (a_bucket + 4) + 2 * 8 + 4 * BINS + 8 * (REASON_CODES + 4))


@compiled
def accumulate(
    net: Floats, days: Integers, callers: Integers, first_set: int, by_day: Sums, by_caller: Sums, tail: Tail
) -> None:
    """Count net returns by call and set, NaN for none, in the cells of the calls' days and callers.

    `first_set` is the place of the first set among those of the cells.
    """
    end = first_set + net.shape[1]
    gain, gain_rest = tail.gain[first_set:end], tail.gain_rest[first_set:end]
    for call in range(len(net)):
        day, caller, returns = days[call], callers[call], net[call]
        day_trades, caller_trades = by_day.trades[day, first_set:end], by_caller.trades[caller, first_set:end]
        day_whole, caller_whole = by_day.whole[day, first_set:end], by_caller.whole[caller, first_set:end]
        day_rest, caller_rest = by_day.rest[day, first_set:end], by_caller.rest[caller, first_set:end]
        day_square, caller_square = by_day.square[day, first_set:end], by_caller.square[caller, first_set:end]
        day_left, caller_left = by_day.square_rest[day, first_set:end], by_caller.square_rest[caller, first_set:end]
        wins = tail.wins[caller, first_set:end]
        for place in range(len(returns)):
            traded = returns[place] == returns[place]  # NaN is not itself
            value = returns[place] if traded else 0.0
            whole = (value + COARSE) - COARSE
            rest = value - whole
            square = value * value
            whole_square = (square + COARSE_SQUARE) - COARSE_SQUARE
            rest_square = ((square - whole_square) + FINE_SQUARE) - FINE_SQUARE
            day_trades[place] += np.int32(traded)
            day_whole[place] += whole
            day_rest[place] += rest
            day_square[place] += whole_square
            day_left[place] += rest_square
            caller_trades[place] += np.int32(traded)
            caller_whole[place] += whole
            caller_rest[place] += rest
            caller_square[place] += whole_square
            caller_left[place] += rest_square
            won = value > 0.0
            wins[place] += np.int32(won)
            gain[place] += whole if won else 0.0
            gain_rest[place] += rest if won else 0.0
    bits = net.view(np.int64)
    for tile in range(0, net.shape[1], TILE):
        for call in range(len(net)):
            for place in range(tile, min(tile + TILE, net.shape[1])):
                if net[call, place] == net[call, place]:
                    tail.bins[first_set + place, _bin(bits[call, place])] += 1


@compiled
def _bin(bits: int) -> int:
    """Return the bin of a value by the bits of its float64: its sign, its power of two, an eighth of that."""
    magnitude = bits & 0x7FFFFFFFFFFFFFFF
    lowest = (EXPONENT_BIAS + LOWEST_EXPONENT) << BINS_AN_OCTAVE_BITS
    place = min(max((magnitude >> (MANTISSA_BITS - BINS_AN_OCTAVE_BITS)) - lowest, 0), HALF - 1)
    return HALF + place if bits >= 0 else HALF - 1 - place


def bin_edges() -> Floats:
    """Return the ends of the bins, ascending: eighths of powers of two from 2**-10 to 2**6 on both sides of 0.

    The two bins next to 0 reach to it, and the outermost ones hold whatever lies beyond.
    """
    exponents = np.arange(1, HALF + 1)
    octave, eighth = np.divmod(exponents, 1 << BINS_AN_OCTAVE_BITS)
    ends = 2.0 ** (LOWEST_EXPONENT + octave) * (1 + eighth / (1 << BINS_AN_OCTAVE_BITS))
    return np.concatenate([-ends[::-1], np.zeros(1), ends])


def medians(bins: Counts) -> Floats:
    """Return the approximate median of each row of bins, NaN of an empty one: by where in its bin it would lie."""
    edges, totals = bin_edges(), bins.sum(axis=1)
    upto = bins.cumsum(axis=1)
    half = totals / 2
    place = np.minimum((upto < half[:, None]).sum(axis=1), BINS - 1)
    rows = np.arange(len(bins))
    held = bins[rows, place]
    before = upto[rows, place] - held
    share = np.divide(half - before, held, out=np.zeros(len(bins)), where=held > 0)
    found: Floats = edges[place] + share * (edges[place + 1] - edges[place])
    found[totals == 0] = np.nan
    return found


def totals(whole: Floats, rest: Floats) -> Floats:
    """Return the sums of two-part sums over the first axis: each part without rounding, both together rounded once."""
    summed: Floats = whole.sum(axis=0) + rest.sum(axis=0)
    return summed


def _sums(buckets: int, sets: int) -> Sums:
    shape = (buckets, sets)
    return Sums(np.zeros(shape, np.int32), *(np.zeros(shape) for _ in range(4)))


def _arrays(value: Sums | Tail | Integers) -> tuple[npt.NDArray[np.generic], ...]:
    return (value,) if isinstance(value, np.ndarray) else tuple(value)
