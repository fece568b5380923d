"""Whether the calls were better than chance: three things to compare them with.

- *Hold*: the same entries, held to the horizon.
- *Random*: the same calls at random candles of their tokens, in the days around them.
- *Shuffled*: the calls of each day, handed out to its callers anew.

A p-value is the part of the draws, the calls as they were among them, that are no worse than the calls as they were.
Each draw takes for each call one of the moments to which it was moved, or its own: if its own is like any of them,
every draw is as likely as what was seen, so the p-value keeps its promise however few the moments are.
"""
# ruff: noqa: PLR0917 - columns by position, as the compiled functions take them

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.clusters import adjusted, mean_interval
from lab_pipeline.engine.chance import Drawn, sums_of_moments, sums_of_shuffles
from lab_pipeline.engine.kernel import Records
from lab_pipeline.engine.witness import Evidence

MOST_DRAWS, FEWEST_DRAWS = 2_000, 200
NUMBERS_DRAWN = 20_000_000
"""Draws times calls: with more calls there are fewer draws."""
DRAWS_AT_ONCE = 50
ROUNDING = 1e-12
"""Means that differ by less are the same, added up in another order."""
RANDOM, SHUFFLED = 1, 2
"""Streams of the generator; that of the moments is 0."""
INTERVAL = (0.025, 0.975)


class _Compared(NamedTuple):
    """What the callers made, and what chance made of their calls, by caller; the last is all callers together."""

    mean: Floats
    low: Floats
    high: Floats
    chance: Floats


def nulls_frame(
    trades: Records, evidence: Evidence, calls: pl.DataFrame, *, days: Integers, seed: int, threads: int
) -> pl.DataFrame:
    """Return the table of the nulls: columns of `frames.NULLS`; null where nothing can be said.

    Args:
        trades: of the run, as the portfolio has settled them.
        evidence: of all its calls.
        calls: columns of `frames.CALLS`, by called_at and call_id.
        days: of the calls.
        seed: of the draws.
        threads: that draw; the result does not depend on it.
    """
    order = np.argsort(evidence.ranks)
    known = evidence.ranks[order]
    held, moved = np.full(len(calls), np.nan), np.zeros(len(calls), np.bool_)
    held[known], moved[known] = evidence.held[order], evidence.moved[order]
    names = calls["caller"].unique().sort()
    callers = calls["caller"].rank("dense").cast(pl.Int64).to_numpy() - 1
    own: Floats = np.bincount(trades["call"], weights=trades["net_return"], minlength=len(calls)).astype(np.float64)
    traded = np.bincount(trades["call"], minlength=len(calls)).astype(np.int64)
    tried = np.flatnonzero(moved)
    place = np.zeros(len(calls), np.int64)
    place[known] = order
    random = _by_random(evidence, place[tried], own[tried], traded[tried], callers[tried], len(names), seed, threads)
    entered = np.flatnonzero(traded)
    shuffled = _by_shuffle(own[entered], traded[entered], days[entered], callers[entered], len(names), seed, threads)
    of_call = trades["call"].copy()
    rows = []
    for group in (None, *range(len(names))):
        mine = callers == group if group is not None else np.ones(len(calls), np.bool_)
        chosen = mine[of_call]
        column = len(names) if group is None else group
        row = {"caller": None if group is None else names[group], "calls": int(mine.sum())}
        row |= _of_trades(trades["net_return"][chosen], held[of_call[chosen]], days, callers, of_call[chosen], group)
        together = mine & moved
        count = int(traded[together].sum())
        row |= {
            "moved_calls": int(together.sum()),
            "moved_trades": count,
            "moved_expectancy": float(own[together].sum()) / count if count else None,
            "random_expectancy": _said(random.mean[column]),
            "random_low": _said(random.low[column]),
            "random_high": _said(random.high[column]),
            "p_random": _said(random.chance[column]),
            "shuffled_expectancy": _said(shuffled.mean[column]),
            "p_shuffled": _said(shuffled.chance[column]),
        }
        rows.append(row)
    table = pl.DataFrame(rows, schema={name: frames.NULLS[name] for name in rows[0]})
    return table.with_columns(
        _corrected(table, "p_random").alias("q_random"), _corrected(table, "p_shuffled").alias("q_shuffled")
    ).select(frames.NULLS.names())


def _of_trades(
    net: Floats, held: Floats, days: Integers, callers: Integers, calls: Integers, group: int | None
) -> dict[str, float | int | None]:
    """Describe some trades: those of one caller, or all."""
    clusters = days[calls], callers[calls] if group is None else None
    low, high = mean_interval(net, *clusters)
    both = ~np.isnan(held)
    over = net[both] - held[both]
    of_day, of_caller = clusters[0][both], None if clusters[1] is None else clusters[1][both]
    over_low, over_high = mean_interval(over, of_day, of_caller, least=-np.inf)
    return {
        "trades": len(net),
        "expectancy": float(net.mean()) if len(net) else None,
        "expectancy_low": low,
        "expectancy_high": high,
        "hold_expectancy": float(held[both].mean()) if both.any() else None,
        "over_hold_low": over_low,
        "over_hold_high": over_high,
    }


def _by_random(
    evidence: Evidence,
    place: Integers,
    own: Floats,
    traded: Integers,
    callers: Integers,
    names: int,
    seed: int,
    threads: int,
) -> _Compared:
    sums, counts = evidence.sums[place], evidence.counts[place]
    made, number = _drawn(
        lambda drawn: sums_of_moments(sums, counts, own, traded, callers, names, drawn), len(own), RANDOM, seed, threads
    )
    return _compare(_means(own, traded, callers, names), _divided(made, number))


def _by_shuffle(
    own: Floats, traded: Integers, days: Integers, callers: Integers, names: int, seed: int, threads: int
) -> _Compared:
    made, number = _drawn(
        lambda drawn: sums_of_shuffles(own, traded, days, callers, names, drawn), len(own), SHUFFLED, seed, threads
    )
    seen, means = _means(own, traded, callers, names), _divided(made, number)
    compared = _compare(seen, means)
    near = np.abs(means - seen) <= ROUNDING * np.maximum(1.0, np.abs(seen))
    alone = np.asarray(near.all(axis=0))  # no other name for any of his calls
    chance = np.where(alone, np.nan, compared.chance)
    # of all together the mean is what it was: asked is whether callers differ by more than chance
    if not alone[:names].all():
        each: Floats = np.bincount(callers, weights=traded, minlength=names + 1).astype(np.float64)[np.newaxis]
        chance[names] = _part_no_worse(_spread(means, number), float(_spread(seen[np.newaxis], each)[0]))
    return compared._replace(chance=chance)


def _drawn(
    add_up: Callable[[Drawn], tuple[Floats, Floats]], calls: int, stream: int, seed: int, threads: int
) -> tuple[Floats, Floats]:
    """Draw in blocks, each from a stream of its own, and put together what they add up to."""
    draws = min(MOST_DRAWS, max(FEWEST_DRAWS, NUMBERS_DRAWN // max(1, calls)))
    blocks = -(-draws // DRAWS_AT_ONCE)

    def block(number: int) -> tuple[Floats, Floats]:
        generator = np.random.Generator(np.random.PCG64([seed, stream, number]))
        return add_up(generator.integers(0, 2**32, size=(DRAWS_AT_ONCE, calls), dtype=np.uint32))

    with ThreadPoolExecutor(threads) as pool:
        made, number = zip(*pool.map(block, range(blocks)), strict=True)
    return np.concatenate(made), np.concatenate(number)


def _means(own: Floats, traded: Integers, callers: Integers, names: int) -> Floats:
    """Return the mean of each caller's trades, and of all."""
    made = np.bincount(callers, weights=own, minlength=names)
    number = np.bincount(callers, weights=traded, minlength=names)
    return _divided(np.append(made, own.sum()), np.append(number, traded.sum()))


def _divided(made: Floats, number: npt.NDArray[Any]) -> Floats:
    means: Floats = np.divide(made, number, out=np.full(made.shape, np.nan), where=number > 0)
    return means


def _compare(seen: Floats, drawn: Floats) -> _Compared:
    """Compare means with those of the draws, by caller; NaN where a caller made no trade, or chance never did."""
    traded = ~np.isnan(drawn)
    known = traded.any(axis=0) & ~np.isnan(seen)
    low, high, mean = (np.full(len(seen), np.nan) for _ in range(3))
    if known.any():
        mean[known] = np.nanmean(drawn[:, known], axis=0)
        low[known], high[known] = np.nanquantile(drawn[:, known], INTERVAL, axis=0)
    chance = np.array(
        [
            _part_no_worse(drawn[traded[:, column], column], seen[column]) if known[column] else np.nan
            for column in range(len(seen))
        ]
    )
    return _Compared(mean, low, high, chance)


def _part_no_worse(drawn: Floats, seen: float) -> float:
    """Return the p-value of what was seen among draws, itself one of them."""
    reached = drawn >= seen - ROUNDING * max(1.0, abs(seen))
    return float(1 + reached.sum()) / (1 + len(drawn))


def _spread(means: Floats, number: Floats) -> Floats:
    """Return how far the callers' means lie from that of all, by trades."""
    apart = np.nan_to_num(means[:, :-1] - means[:, -1:])
    spread: Floats = (number[:, :-1] * apart**2).sum(axis=1)
    return spread


def _corrected(table: pl.DataFrame, column: str) -> pl.Series:
    """Correct the p-values of the callers, of which there are many, for their number."""
    chances = table[column].to_numpy().copy()
    asked = ~np.isnan(chances) & table["caller"].is_not_null().to_numpy()
    found = np.full(len(chances), np.nan)
    if asked.any():
        found[asked] = adjusted(chances[asked])
    return pl.Series(found).fill_nan(None)


def _said(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
