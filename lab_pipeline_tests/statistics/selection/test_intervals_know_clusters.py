import math

import numpy as np
import pytest
from scipy.stats import norm

from lab_pipeline.statistics.selection import intervals
from lab_pipeline.statistics.selection.cells import DayCells, expectancy, expectancy_error, whole
from lab_pipeline.statistics.selection.intervals import clustered_interval, widest
from lab_pipeline_tests.statistics.selection.worlds import midnights


def clusters(count=200, seed=1):
    random = np.random.default_rng(seed)
    trades = random.integers(0, 6, count).astype(float)
    return trades, trades * (0.05 + random.normal(0, 0.2, count))


def test_many_clusters_have_the_interval_of_their_standard_error():
    trades, net = clusters(2000)
    moments = whole(DayCells.of(midnights(2000), [trades], [net]))
    mean, error = expectancy(moments)[0, 0], expectancy_error(moments)[0, 0]
    low, high = clustered_interval(trades, net, seed=3, resamples=20_000)
    assert (low, high) == pytest.approx(norm(mean, error).interval(0.95), abs=error / 20)


def test_trades_that_repeat_within_their_cluster_add_no_certainty():
    trades, net = clusters()
    assert clustered_interval(trades * 50, net * 50, seed=1) == pytest.approx(clustered_interval(trades, net, seed=1))


def test_nine_of_ten_intervals_of_ninety_percent_hold_the_truth():
    held = 0
    for seed in range(300):
        low, high = clustered_interval(*clusters(80, seed), seed=seed, resamples=400, confidence=0.9)
        held += low <= 0.05 <= high
    assert 0.84 <= held / 300 <= 0.95


def test_memory_does_not_decide_what_is_drawn(monkeypatch):
    told = clustered_interval(*clusters(), seed=4, resamples=100)
    assert told != clustered_interval(*clusters(), seed=5, resamples=100)
    monkeypatch.setattr(intervals, "DRAWS_AT_ONCE", 1001)
    assert told == clustered_interval(*clusters(), seed=4, resamples=100)


def test_a_single_cluster_has_no_interval():
    assert all(math.isnan(end) for end in clustered_interval(np.array([5.0, 0.0]), np.array([1.0, 0.0]), seed=1))


def test_the_widest_of_several_is_told():
    none = (math.nan, math.nan)
    assert widest((0.1, 0.3), (-0.1, 0.2), none) == (-0.1, 0.3)
    assert all(math.isnan(end) for end in widest(none))
