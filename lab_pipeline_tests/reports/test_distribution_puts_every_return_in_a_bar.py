import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lab_pipeline.reports.charts import BARS, return_bins


@given(arrays(np.float64, st.integers(1, 300), elements=st.floats(-1, 1e4)))
def test_bins_are_few_equal_and_have_an_edge_at_zero(returns):
    edges = return_bins(returns)
    widths = np.diff(edges)
    assert 1 <= len(widths) <= BARS + 2
    np.testing.assert_allclose(widths, widths[0], rtol=1e-6)
    assert abs(edges[0] / widths[0] - round(edges[0] / widths[0])) < 1e-3
    assert np.histogram(np.clip(returns, edges[0], edges[-1]), edges)[0].sum() == len(returns)


def test_one_moonshot_does_not_flatten_the_rest():
    edges = return_bins(np.append(np.random.default_rng(0).uniform(-0.5, 1.0, 999), 900.0))
    assert edges[-1] == pytest.approx(1.0, abs=0.05)
