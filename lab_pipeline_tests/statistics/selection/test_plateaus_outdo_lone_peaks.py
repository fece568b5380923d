import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_pipeline.statistics.selection.plateau import plateau

GRID = np.indices((6, 7)).reshape(2, -1).T


def at(row, column):
    return 7 * row + column


def test_a_lone_peak_is_not_the_plateau():
    values = np.full((6, 7), 0.01)
    values[0, 0] = 1.0
    values[2:5, 3:6] = 0.4
    told = plateau(values.ravel(), np.ones(42, bool), GRID, grid=True)
    assert told.peak == at(0, 0)
    assert told.chosen == at(3, 4)
    assert told.scores[told.chosen] == pytest.approx(0.4)
    assert told.ratio == pytest.approx(0.4)


def test_a_broad_top_is_its_own_plateau():
    values = 1 - ((GRID - (3, 3)) ** 2).sum(axis=1) / 100
    told = plateau(values, np.ones(42, bool), GRID, grid=True)
    assert told.peak == told.chosen == at(3, 3)
    assert told.ratio > 0.95


@settings(deadline=None)  # a busy machine is no failure
@given(seed=st.integers(0, 10_000))
def test_a_score_is_the_quantile_of_the_neighbours_that_could_win(seed):
    random = np.random.default_rng(seed)
    values, allowed = random.normal(size=42), random.random(42) < 0.7
    told = plateau(values, allowed, GRID, grid=True)
    for number in range(42):
        near = (np.abs(GRID - GRID[number]).max(axis=1) <= 1) & allowed
        if allowed[number] and near.sum() > 1:
            assert told.scores[number] == pytest.approx(np.quantile(values[near], 0.2))
        else:
            assert told.scores[number] == -math.inf


def test_without_a_grid_the_nearest_by_rank_are_neighbours():
    random = np.random.default_rng(5)
    levels = random.permutation(60).reshape(30, 2)
    values = random.normal(size=30)
    told = plateau(values, np.ones(30, bool), levels, grid=False)
    places = levels.argsort(axis=0).argsort(axis=0) / 29
    for number in range(30):
        nearest = np.linalg.norm(places - places[number], axis=1).argsort()[:5]
        assert told.scores[number] == pytest.approx(np.quantile(values[nearest], 0.2))


def test_the_unit_of_a_dimension_does_not_decide_who_is_near():
    random = np.random.default_rng(6)
    levels = np.stack([random.permutation(20), random.permutation(20)], axis=1)
    values, all_ = random.normal(size=20), np.ones(20, bool)
    stretched = levels * [1, 1000]
    same = plateau(values, all_, stretched, grid=False).scores
    np.testing.assert_array_equal(plateau(values, all_, levels, grid=False).scores, same)


def test_a_set_without_neighbours_is_no_plateau():
    told = plateau(np.array([1.0, 0.5]), np.ones(2, bool), np.array([[0], [5]]), grid=True)
    assert (told.peak, told.chosen) == (0, -1)
    assert math.isnan(told.ratio)


def test_a_peak_below_zero_has_no_ratio():
    told = plateau(np.array([-1.0, -0.5, -2.0]), np.ones(3, bool), np.arange(3)[:, None], grid=True)
    assert told.peak == 1
    assert math.isnan(told.ratio)


def test_where_no_set_can_win_there_is_neither():
    told = plateau(np.full(42, -math.inf), np.ones(42, bool), GRID, grid=True)
    assert (told.peak, told.chosen) == (-1, -1)


def test_ten_thousand_sets_are_looked_at_in_parts(monkeypatch):
    values = np.random.default_rng(1).normal(size=42)
    whole = plateau(values, np.ones(42, bool), GRID, grid=True).scores
    monkeypatch.setattr("lab_pipeline.statistics.selection.plateau.SETS_AT_ONCE", 5)
    np.testing.assert_array_equal(plateau(values, np.ones(42, bool), GRID, grid=True).scores, whole)
