"""CSCV by products of matrices, against a library that goes split by split, and against the definition."""

import math
from itertools import combinations

import numpy as np
import pytest
from purgedcv import probability_of_backtest_overfitting
from scipy.stats import rankdata

from lab_pipeline.statistics.selection.cells import DayCells, Objective, score, whole
from lab_pipeline.statistics.selection.overfitting import blocks_for, overfitting
from lab_pipeline_tests.statistics.selection.worlds import World, midnights, some_cells


@pytest.mark.parametrize(("days", "blocks"), [(40, 8), (41, 6), (23, 2)])
def test_the_halves_of_a_random_sweep(days, blocks):
    cells = some_cells(days=days)
    theirs = probability_of_backtest_overfitting(cells.net, n_splits=blocks)
    ours = overfitting(cells, Objective.SHARPE, blocks)
    inside, outside = theirs.is_oos_performance[::-1].T  # they choose the half that tests, we the one that trains
    np.testing.assert_allclose(ours.logits, theirs.logits[::-1], atol=1e-10)
    np.testing.assert_allclose(ours.in_sample, inside, atol=1e-10)
    np.testing.assert_allclose(ours.out_of_sample, outside, atol=1e-10)
    assert ours.slope == pytest.approx(theirs.slope, abs=1e-10, nan_ok=True)
    assert ours.probability == pytest.approx(np.mean(theirs.logits <= 0))


def test_every_split_of_the_default_objective_is_what_its_days_say():
    cells = some_cells(days=33, sets=7)
    ours = overfitting(cells, Objective.EXPECTANCY_LOWER, 6)
    parts = np.array_split(np.arange(33), 6)
    for number, half in enumerate(combinations(range(6), 3)):
        inside = np.isin(np.arange(33), np.concatenate([parts[block] for block in half]))
        train, test = (score(whole(cells.within(days)), Objective.EXPECTANCY_LOWER)[0] for days in (inside, ~inside))
        winner = train.argmax()
        relative = rankdata(test)[winner] / 8
        assert ours.chosen[number] == winner
        assert ours.in_sample[number] == pytest.approx(train[winner], abs=1e-10)
        assert ours.out_of_sample[number] == pytest.approx(test[winner], abs=1e-10)
        assert ours.logits[number] == pytest.approx(math.log(relative / (1 - relative)), abs=1e-10)


def test_all_12870_splits_of_sixteen_blocks_are_there():
    told = overfitting(some_cells(days=64), Objective.EXPECTANCY_LOWER)
    assert told.blocks == 16
    assert len(told.logits) == 12_870


def test_a_loss_is_a_winner_that_loses_on_the_other_half():
    days = np.tile([1.0, 1.2], 8)
    net = np.array([np.where(np.arange(16) < 8, 1, -1) * days, np.where(np.arange(16) < 8, -1, 1) * days])
    told = overfitting(DayCells.of(midnights(16), np.ones((2, 16)), net), Objective.EXPECTANCY, 2)
    assert told.chosen.tolist() == [0, 1]
    assert (told.loss, told.probability) == (1.0, 1.0)
    assert overfitting(DayCells.of(midnights(16), np.ones((2, 16)), abs(net)), Objective.EXPECTANCY, 2).loss == 0.0


def test_noise_overfits_and_an_edge_does_not():
    noise = overfitting(World().draw(1), Objective.EXPECTANCY_LOWER, 8)
    edge = overfitting(World(edge=0.15).draw(1), Objective.EXPECTANCY_LOWER, 8)
    assert noise.probability > 0.2
    assert edge.probability == 0.0
    assert edge.loss == 0.0


def test_few_days_have_few_blocks_and_fewer_none():
    assert [blocks_for(days) for days in (15, 16, 63, 64, 365)] == [0, 8, 8, 16, 16]


@pytest.mark.parametrize("blocks", [0, 3, 42])
def test_blocks_that_do_not_halve_the_days_are_refused(blocks):
    with pytest.raises(ValueError, match=f"are {blocks} with 40 days"):
        overfitting(some_cells(), Objective.SHARPE, blocks)


def test_a_single_set_is_not_ranked():
    with pytest.raises(ValueError, match="two sets"):
        overfitting(some_cells(sets=1), Objective.SHARPE, 4)
