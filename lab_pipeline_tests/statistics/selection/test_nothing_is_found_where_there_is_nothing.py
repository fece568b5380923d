"""What the selection stands for: a world without an edge supports no rule, and a world with one shows it.

Every world is a grid of 500 rules on 120 days, swept and selected as a researcher would. The short versions look at a
few worlds with fewer resamples, the long ones at 200.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
from scipy.stats import kstest

from lab_pipeline.statistics.selection.selecting import Validation
from lab_pipeline_tests.statistics.selection.worlds import QUICK, World, swept

THOROUGH = Validation()
EDGE = 0.1
ALPHA = 0.01
"""Of the Kolmogorov-Smirnov tests: that many uniform samples are taken for something else."""


def told(seed, world, placebos, validation):
    selection = swept(world, seed, placebos, validation)
    winner = selection.choice.winner
    return (
        selection.verdict.supported,
        selection.superiority.consistent,
        selection.superiority.reality_check,
        selection.placebo.p_value,
        world.edges[winner] > world.edge / 2,
        selection.verdict.words,
    )


def worlds(world, seeds, placebos, validation):
    """Return a row a world: supported, p-values of superiority, reality check and placebos, whether rightly."""
    of_seed = partial(told, world=world, placebos=placebos, validation=validation)
    if seeds < 100:
        return list(zip(*map(of_seed, range(seeds)), strict=True))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return list(zip(*pool.map(of_seed, range(seeds), chunksize=5), strict=True))


def nothing_is_found(seeds, placebos, validation):
    supported, superiority, reality, placebo, *_ = worlds(World(), seeds, placebos, validation)
    assert np.mean(supported) <= 0.05
    assert kstest(superiority, "uniform").pvalue > ALPHA
    assert kstest(reality, "uniform").pvalue > ALPHA
    # Ranks among placebos are whole numbers: spread evenly within their step, they are uniform as a whole.
    within = np.random.default_rng(0).random(seeds) / (placebos + 1)
    assert kstest(np.array(placebo) - within, "uniform").pvalue > ALPHA


def the_edge_is_found(seeds, placebos, validation):
    supported, *_, rightly, words = worlds(World(edge=EDGE), seeds, placebos, validation)
    assert np.mean(np.array(supported) & rightly) >= 0.8, words


@pytest.mark.slow
def test_random_worlds_support_no_rule():
    nothing_is_found(24, 19, QUICK)


@pytest.mark.slow
def test_a_planted_edge_is_found():
    the_edge_is_found(15, 19, QUICK)


@pytest.mark.long
def test_two_hundred_random_worlds_support_no_rule():
    nothing_is_found(200, 99, THOROUGH)


@pytest.mark.long
def test_a_planted_edge_is_found_in_two_hundred_worlds():
    the_edge_is_found(200, 99, THOROUGH)
