"""The best pair of a caller and a set, and whether it is more than the best of many.

That is asked of placebos: the names of the callers are shuffled within each day, as many calls to each as before, and
the best pair is sought again. What is left of a pair then is what its set earns with anybody's calls of those days.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.engine.compiled import compiled
from lab_pipeline.statistics.selection.caller_rules import p_values_of
from lab_pipeline.statistics.selection.cells import Minimum, Moments, Objective, eligible, score


@dataclass(frozen=True)
class CallerReturns:
    """What each call made under each set.

    Attributes:
        net: (C, S) sum of the net returns of the trades on a call.
        trades: (C, S) how many there were.
        day: (C,) number of each call's day, ascending.
        caller: (C,) number of its caller.
        callers: how many callers there are.
        days: how many days.
    """

    net: Floats
    trades: npt.NDArray[np.int16]
    day: Integers
    caller: Integers
    callers: int
    days: int


@dataclass(frozen=True)
class BestPair:
    """The pair of a caller and a set with the best objective; -1 for both where none has enough trades and days."""

    caller: int
    set: int
    objective: float


@dataclass(frozen=True)
class ShuffledCallers:
    """The best pair, and what is best when the names of the callers are shuffled within each day.

    Attributes:
        best: as the calls were.
        shuffled: best pair of each shuffle.
        p_value: (1 + shuffles at least as good) / (1 + shuffles); no number without a best pair or a shuffle.
    """

    best: BestPair
    shuffled: tuple[BestPair, ...]
    p_value: float


def pair_p_values(returns: CallerReturns) -> Floats:
    """Return the p-value of each caller under each set as `p_values` has it, (callers, S)."""
    return p_values_of(_moments(returns, returns.caller))


def shuffle_callers(  # noqa: PLR0917 - what decides the best pair, and how often it is sought
    returns: CallerReturns,
    objective: Objective,
    minimum: Minimum,
    number: int,
    seed: int,
    threads: int = 1,
) -> ShuffledCallers:
    """Seek the best pair of a caller and a set, and again with the names of the callers shuffled within each day.

    Args:
        returns: of every call.
        objective: what ranks the pairs.
        minimum: of trades and days of a pair; it has one caller.
        number: of shuffles.
        seed: of the shuffles.
        threads: the result does not depend on how many.
    """
    days = np.zeros((returns.callers, returns.days), np.bool_)
    days[returns.caller, returns.day] = True
    able = np.flatnonzero(days.sum(axis=1) >= minimum.days)  # shuffles within days leave each caller its days
    place = np.full(returns.callers, -1)
    place[able] = np.arange(len(able))

    def best(caller: Integers) -> BestPair:
        if not len(able):
            return BestPair(-1, -1, -np.inf)
        renumbered = place[caller]
        moments = _moments(replace(returns, callers=len(able)), renumbered, np.flatnonzero(renumbered >= 0))
        values = np.where(eligible(moments, None, minimum), score(moments, objective), -np.inf)
        found = int(values.argmax())
        if not np.isfinite(values.flat[found]):
            return BestPair(-1, -1, -np.inf)
        who, which = divmod(found, values.shape[1])
        return BestPair(int(able[who]), which, float(values.flat[found]))

    observed = best(returns.caller)
    if not number:
        return ShuffledCallers(observed, (), float("nan"))
    with ThreadPoolExecutor(threads) as pool:
        shuffled = tuple(pool.map(best, _shuffles(returns, number, seed)))
    at_least = sum(one.objective >= observed.objective for one in shuffled)
    told = (1 + at_least) / (1 + number) if observed.set >= 0 else float("nan")
    return ShuffledCallers(observed, shuffled, told)


def _shuffles(returns: CallerReturns, number: int, seed: int) -> Iterator[Integers]:
    """Iterate over the callers of the calls, shuffled within each day."""
    generator = np.random.Generator(np.random.PCG64([seed, 2]))
    for _ in range(number):
        order = np.lexsort((generator.random(len(returns.caller)), returns.day))
        shuffled = np.empty_like(returns.caller)
        shuffled[np.argsort(returns.day, kind="stable")] = returns.caller[order]
        yield shuffled


def _moments(returns: CallerReturns, caller: Integers, calls: Integers | None = None) -> Moments:
    """Return the moments of the pairs: a group a caller; of some calls alone where they are given."""
    which = np.arange(len(caller)) if calls is None else calls
    order = which[np.lexsort((returns.day[which], caller[which]))]
    key = caller[order] * returns.days + returns.day[order]
    begins = np.flatnonzero(np.diff(key, prepend=-1))
    sums = np.zeros((6, returns.callers, returns.net.shape[1]))
    _add_up(returns.net, returns.trades, order, np.append(begins, len(order)), caller, sums)
    return Moments(sums, np.full(returns.callers, float(returns.days)))


@compiled
def _add_up(  # noqa: PLR0917 - compiled functions take positional arguments
    net: Floats, trades: npt.NDArray[np.int16], order: Integers, begins: Integers, caller: Integers, sums: Floats
) -> None:
    """Add up calls by caller and day, and of these days the moments.

    `begins` are the places in `order` where the calls of another caller or day begin, and its length.
    """
    x, n = np.empty(net.shape[1]), np.empty(net.shape[1])
    for group in range(len(begins) - 1):
        x[:] = 0.0
        n[:] = 0.0
        for place in range(begins[group], begins[group + 1]):
            call = order[place]
            for number in range(len(x)):
                x[number] += net[call, number]
                n[number] += trades[call, number]
        own = sums[:, caller[order[begins[group]]]]
        for number in range(len(x)):
            own[0, number] += n[number]
            own[1, number] += x[number]
            own[2, number] += n[number] > 0.0
            own[3, number] += x[number] * x[number]
            own[4, number] += x[number] * n[number]
            own[5, number] += n[number] * n[number]
