import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lab_pipeline.reports.downsample import every_kth, extremes

SERIES = arrays(np.float64, st.integers(1, 400), elements=st.floats(-1e6, 1e6))


@given(SERIES, st.integers(1, 60))
def test_the_whole_range_and_both_ends_stay(values, bins):
    at = extremes(values, bins)
    assert values[at].min() == values.min()
    assert values[at].max() == values.max()
    assert (at[0], at[-1]) == (0, len(values) - 1)


@given(SERIES, st.integers(1, 60))
def test_positions_ascend_and_are_no_more_than_asked_for(values, bins):
    at = extremes(values, bins)
    assert (np.diff(at) > 0).all()
    assert len(at) <= 2 * bins + 2


def test_one_spike_among_many_points_stays():
    values = np.zeros(43_000)
    values[31_337], values[12] = 1.0, -1.0
    assert {12, 31_337} <= set(extremes(values, 300).tolist())


def test_a_short_series_stays_whole():
    assert extremes(np.arange(7.0), 5).tolist() == list(range(7))


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_sampling_keeps_at_most_what_was_asked_for_and_no_less_than_half(n, at_most):
    kept = len(range(n)[every_kth(n, at_most)])
    assert kept <= at_most
    assert kept >= min(n, at_most) / 2
