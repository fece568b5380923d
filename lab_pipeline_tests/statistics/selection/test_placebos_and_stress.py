import math

import numpy as np
import pytest
from scipy.stats import permutation_test

from lab_pipeline.domain.stress_lanes import STRESS_LANES
from lab_pipeline.statistics.selection.cells import Minimum, Objective
from lab_pipeline.statistics.selection.placebo import against_placebos, best_objective
from lab_pipeline.statistics.selection.selecting import choose
from lab_pipeline.statistics.selection.stress import stop_fill_sensitivity, weakest_lane
from lab_pipeline_tests.statistics.selection.worlds import some_cells


def test_the_rank_among_placebos_counts_the_real_calls_too():
    placebos = np.array([0.1, 0.2, 0.3, 0.4, -math.inf])
    assert against_placebos(0.35, placebos).p_value == pytest.approx(2 / 6)
    assert against_placebos(0.3, placebos).p_value == pytest.approx(3 / 6)
    assert against_placebos(0.5, placebos).p_value == pytest.approx(1 / 6)
    assert against_placebos(0.5, placebos).median == 0.2
    assert against_placebos(0.5, placebos).number == 5


def test_the_p_value_is_that_of_scipys_permutation_test():
    random = np.random.default_rng(2)
    sample = random.normal(0.3, 1, 12), random.normal(0, 1, 12)
    theirs = permutation_test(
        sample, lambda x, y: x.mean() - y.mean(), n_resamples=999, alternative="greater", random_state=1
    )
    assert against_placebos(theirs.statistic, theirs.null_distribution).p_value == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("placebos", [[], [0.1, math.nan]])
def test_placebos_that_are_no_numbers_are_refused(placebos):
    with pytest.raises(ValueError, match="at least one"):
        against_placebos(0.1, np.array(placebos))


def test_a_placebo_is_selected_as_the_real_calls_are():
    cells, minimum = some_cells(), Minimum(trades=20, days=5, callers=0)
    choice = choose(cells, minimum=minimum)
    assert best_objective(cells, Objective.EXPECTANCY_LOWER, minimum) == choice.scores[choice.winner]
    assert best_objective(cells, Objective.EXPECTANCY_LOWER, Minimum(trades=9999)) == -math.inf


def test_a_set_is_as_robust_as_its_worst_lane():
    told = weakest_lane({"baseline": 0.1, "worse": 0.04, "full": 0.02, "ugly": 0.05})
    assert (told.weakest, told.expectancy) == ("full", 0.02)
    assert weakest_lane({"baseline": 0.1, "one_candle_late": math.nan}).expectancy == 0.0
    with pytest.raises(ValueError, match="at least one"):
        weakest_lane({})


def test_every_lane_but_the_first_is_worse_than_it():
    first, *others = STRESS_LANES
    assert len({lane.name for lane in STRESS_LANES}) == len(STRESS_LANES)
    for lane in others:
        costs = (lane.fee_bps, lane.slippage_bps, lane.delay_candles)
        floor = (first.fee_bps, first.slippage_bps, first.delay_candles)
        assert all(cost >= least for cost, least in zip(costs, floor, strict=True))
        assert costs != floor


def test_stops_at_the_low_may_make_another_winner():
    objectives = {"at_level": np.array([0.3, 0.2, 0.9]), "at_low": np.array([-0.1, 0.15, 0.8])}
    told = stop_fill_sensitivity(objectives, np.array([True, True, False]), winner=0)
    assert told.winners == {"at_level": 0, "at_low": 1}
    assert told.objective == {"at_level": 0.3, "at_low": -0.1}
    assert told.places_lost == 1
    assert not told.survives
    assert stop_fill_sensitivity(objectives, np.ones(3, bool), winner=1).survives
    with pytest.raises(ValueError, match="a winner that may win"):
        stop_fill_sensitivity(objectives, np.array([True, True, False]), winner=2)
