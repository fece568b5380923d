import numpy as np
import pytest

from lab_pipeline.domain.clusters import mean_interval
from lab_pipeline.reports.charts import _half_widths


def test_each_point_of_the_band_is_the_interval_of_the_trades_so_far():
    generator = np.random.default_rng(1)
    returns, days = generator.normal(0, 0.3, 200), np.sort(generator.integers(0, 30, 200)).astype(np.int32)
    mean = np.cumsum(returns) / np.arange(1, 201)
    half = _half_widths(returns, mean, days)
    for trades in (20, 57, 200):
        low, high = mean_interval(returns[:trades], days[:trades])
        assert half[trades - 1] == pytest.approx((high - low) / 2)
    assert (half[days == days[0]] == 0).all(), "one day has no band"
