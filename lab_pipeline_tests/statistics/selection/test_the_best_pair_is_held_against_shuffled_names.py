"""Pairs of callers and sets, and what is best when the names of the callers are shuffled."""

import math

import numpy as np
import pytest

from lab_pipeline.statistics.selection.caller_pairs import CallerReturns, pair_p_values, shuffle_callers
from lab_pipeline.statistics.selection.caller_rules import p_values
from lab_pipeline.statistics.selection.cells import DayCells, Minimum, Objective, score, whole
from lab_pipeline_tests.statistics.selection.worlds import midnights

ANY = Minimum(trades=5, days=5)


def returns(seed=0, *, calls=400, sets=12, callers=4, days=25, edge=0.0, special=None, best=0.0):
    """Return calls in the order of days; `special` earns `best` more under set 3."""
    random = np.random.default_rng(seed)
    day, caller = np.sort(random.integers(0, days, calls)), random.integers(0, callers, calls)
    trades = random.integers(0, 3, (calls, sets)).astype(np.int16)
    net = np.where(trades > 0, random.normal(edge, 0.3, (calls, sets)), 0.0)
    if special is not None:
        net[:, 3] += best * ((caller == special) & (trades[:, 3] > 0))
    return CallerReturns(net, trades, day, caller, callers, days)


def cells_of(some, caller, names=None):
    """Return the cells by set and day of one caller."""
    mine = (some.caller if names is None else names) == caller
    trades, net = np.zeros((some.net.shape[1], some.days)), np.zeros((some.net.shape[1], some.days))
    np.add.at(trades.T, some.day[mine], some.trades[mine])
    np.add.at(net.T, some.day[mine], some.net[mine])
    return DayCells.of(midnights(some.days), trades, net)


def test_a_pair_is_tested_as_its_cells_by_day_are():
    some = returns()
    for caller, told in enumerate(pair_p_values(some)):
        np.testing.assert_allclose(told, p_values(cells_of(some, caller)), rtol=1e-9)


def test_the_best_pair_has_the_best_objective_of_all_callers_cells():
    some = returns(seed=1)
    best = shuffle_callers(some, Objective.EXPECTANCY_LOWER, ANY, 0, 0)
    values = np.array([score(whole(cells_of(some, one)), Objective.EXPECTANCY_LOWER)[0] for one in range(4)])
    assert (best.best.caller, best.best.set) == np.unravel_index(values.argmax(), values.shape)
    assert best.best.objective == pytest.approx(values.max())
    assert best.shuffled == ()
    assert math.isnan(best.p_value)


def test_names_are_shuffled_within_each_day():
    some = returns(seed=2, callers=3)
    told = shuffle_callers(some, Objective.EXPECTANCY, ANY, 50, seed=4)
    generator = np.random.Generator(np.random.PCG64([4, 2]))
    names = np.empty_like(some.caller)
    names[:] = some.caller[np.lexsort((generator.random(len(names)), some.day))]
    assert names.tolist() != some.caller.tolist()
    for day in range(some.days):
        assert sorted(names[some.day == day]) == sorted(some.caller[some.day == day])
    values = [score(whole(cells_of(some, one, names)), Objective.EXPECTANCY)[0].max() for one in range(3)]
    assert told.shuffled[0].objective == pytest.approx(max(values))
    at_least = sum(one.objective >= told.best.objective for one in told.shuffled)
    assert told.p_value == (1 + at_least) / 51


def test_neither_threads_nor_chance_decide():
    some = returns(seed=3)
    first, again, other = (
        shuffle_callers(some, Objective.EXPECTANCY_LOWER, ANY, 9, seed, threads)
        for seed, threads in ((1, 1), (1, 3), (2, 1))
    )
    assert first == again != other


def test_a_caller_who_knows_more_is_told_from_a_market_that_gives_to_all():
    knowing = shuffle_callers(returns(seed=5, special=2, best=0.4), Objective.EXPECTANCY_LOWER, ANY, 99, 0)
    assert (knowing.best.caller, knowing.best.set, knowing.p_value) == (2, 3, 0.01)
    given = [
        shuffle_callers(returns(seed=seed, edge=0.4), Objective.EXPECTANCY_LOWER, ANY, 39, 0).p_value
        for seed in range(20)
    ]
    assert sum(p <= 0.05 for p in given) <= 3
    assert 0.3 < np.mean(given) < 0.7


def test_a_caller_with_a_handful_of_days_cannot_be_best():
    some = returns(seed=6)
    told = shuffle_callers(some, Objective.EXPECTANCY, Minimum(trades=5, days=26), 3, 0)
    assert (told.best.caller, told.best.set, told.best.objective) == (-1, -1, -math.inf)
    assert math.isnan(told.p_value)
    rare = CallerReturns(some.net, some.trades, some.day, np.where(some.day < 2, 0, some.caller % 3 + 1), 4, 25)
    told = shuffle_callers(rare, Objective.EXPECTANCY, ANY, 9, 0)
    assert {one.caller for one in (told.best, *told.shuffled)} <= {1, 2, 3}
