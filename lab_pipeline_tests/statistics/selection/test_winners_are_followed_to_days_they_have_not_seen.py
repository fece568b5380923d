"""Walks and paths, against choosing and adding up by hand, fold by fold."""

import math
from itertools import combinations

import numpy as np
import pytest
from purgedcv import reconstruct_paths

from lab_pipeline.statistics.selection.cells import DAY_MS, DayCells, Minimum, Objective, score, whole
from lab_pipeline.statistics.selection.folds import Walk, Windows, combinatorial, walk_forward
from lab_pipeline.statistics.selection.out_of_sample import paths, walk
from lab_pipeline_tests.statistics.selection.worlds import World, midnights, some_cells

ANY = Minimum(trades=1, days=2, callers=0)


def winner_of(cells, days):
    return int(score(whole(cells.within(days)), Objective.EXPECTANCY_LOWER)[0].argmax())


def test_each_fold_follows_its_own_winner():
    cells = some_cells(seed=3, days=50)
    folds = walk_forward(cells.days, cells.reach, Windows(Walk.ROLLING, 15, 6, 6, 1))
    told = walk(cells, folds, Objective.EXPECTANCY_LOWER, ANY)
    assert len({fold.chosen for fold in told.folds}) > 1
    net, trades, promised = 0.0, 0, 0.0
    for fold, seen in zip(folds, told.folds, strict=True):
        winner = winner_of(cells, fold.train)
        assert seen.chosen == winner
        earned, count = cells.net[winner, fold.test].sum(), cells.trades[winner, fold.test].sum()
        assert seen.test_trades == count
        assert seen.test_expectancy == pytest.approx(earned / count)
        trained = cells.net[winner, fold.train].sum() / cells.trades[winner, fold.train].sum()
        assert seen.train_expectancy == pytest.approx(trained)
        assert seen.purged_trades == cells.trades[winner, fold.purged].sum()
        net, trades, promised = net + earned, trades + count, promised + trained * count
    assert told.expectancy == pytest.approx(net / trades)
    assert told.efficiency == pytest.approx(net / promised)
    np.testing.assert_array_equal(told.days, cells.days[15:])
    np.testing.assert_array_equal(told.chosen, np.repeat([fold.chosen for fold in told.folds], [6, 6, 6, 6, 6, 5]))


def test_an_edge_goes_on_out_of_sample_and_noise_does_not():
    windows = Windows(Walk.ANCHORED, 30, 10, 10, 1)
    worlds = {edge: World(edge=edge).draw(5) for edge in (0.0, 0.2)}
    told = {
        edge: walk(
            cells, walk_forward(cells.days, cells.reach, windows), Objective.EXPECTANCY_LOWER, Minimum(callers=0)
        )
        for edge, cells in worlds.items()
    }
    assert told[0.2].expectancy > 0.1
    assert told[0.2].efficiency > 0.6
    assert abs(told[0.0].expectancy) < 0.07
    assert not told[0.0].efficiency > 0.5


def test_where_no_set_may_win_nothing_is_traded():
    cells = some_cells(days=50)
    folds = walk_forward(cells.days, cells.reach, Windows(Walk.ROLLING, 15, 6, 6, 1))
    told = walk(cells, folds, Objective.EXPECTANCY_LOWER, Minimum(trades=1000))
    assert {fold.chosen for fold in told.folds} == {-1}
    assert not told.net.any()
    assert math.isnan(told.expectancy)
    assert math.isnan(told.efficiency)
    assert walk(cells, [], Objective.EXPECTANCY_LOWER, ANY).folds == ()


def test_paths_are_laid_as_purgedcv_lays_them():
    cells = some_cells(seed=4, days=47)
    told = paths(cells, Objective.EXPECTANCY_LOWER, ANY, groups=6, tested=2, embargo_days=1)
    folds = combinatorial(cells.days, cells.reach, groups=6, tested=2, embargo_days=1)
    assert told.chosen.tolist() == [winner_of(cells, fold.train) for fold in folds]
    parts = np.array_split(np.arange(47), 6)
    tested = [np.concatenate([parts[group] for group in chosen]) for chosen in combinations(range(6), 2)]
    for ours, values in ((told.net, cells.net), (told.trades, cells.trades)):
        told_by_fold = [values[chosen, days] for chosen, days in zip(told.chosen, tested, strict=True)]
        np.testing.assert_allclose(ours, reconstruct_paths(told_by_fold, tested, 6, 2, 47))
    np.testing.assert_allclose(told.expectancies, told.net.sum(axis=1) / told.trades.sum(axis=1))


def test_paths_need_a_day_a_group():
    with pytest.raises(ValueError, match="10 groups need as many days, there are 9"):
        paths(some_cells(days=9), Objective.EXPECTANCY_LOWER, ANY)


def test_long_windows_leave_no_training_before_a_test_that_follows_at_once():
    days = midnights(12)
    cells = DayCells.of(days, np.ones((2, 12)), np.ones((2, 12)), days + 5 * DAY_MS)
    told = walk(cells, walk_forward(days, cells.reach, Windows(Walk.ROLLING, 4, 2, 2, 0)), Objective.EXPECTANCY, ANY)
    assert {fold.chosen for fold in told.folds} == {-1}
