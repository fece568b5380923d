from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lab_pipeline.statistics import FEATURES, Method, correlation, refresh
from lab_pipeline.statistics.correlations import OUTCOMES, correlate, interval, pearson, spearman
from lab_pipeline_tests.support.world import START, Call

CHANCE = np.random.default_rng(5)


def observations(count=400):
    columns = {name: CHANCE.normal(size=count) for name in (*FEATURES, *OUTCOMES)}
    columns["hour_of_day"] = CHANCE.integers(0, 24, count).astype(float)
    columns["net_return"] = (0.3 * columns["pre_return_1h"] + CHANCE.normal(size=count)).round(1)
    columns["pre_return_1h"][::7] = np.nan
    return pl.DataFrame(columns).with_columns(pl.all().fill_nan(None))


@pytest.mark.parametrize("method", list(Method))
def test_every_pair_is_what_scipy_says_of_the_calls_that_have_both(method):
    frame = observations()
    found = [one for one in correlate(frame) if one.method is method]
    assert len(found) == len(FEATURES) * len(OUTCOMES)
    for one in found:
        both = frame.select(one.feature, one.outcome).drop_nulls()
        x, y = both.to_numpy().T
        expected = stats.pearsonr(x, y) if method is Method.PEARSON else stats.spearmanr(x, y)
        assert one.correlation == pytest.approx(expected.statistic, abs=1e-12)
        assert one.n == len(both)
        if method is Method.PEARSON:
            low, high = expected.confidence_interval(0.95)
            assert (one.low, one.high) == pytest.approx((low, high), abs=1e-12)


def test_the_interval_of_a_rank_correlation_covers_as_often_as_it_says():
    rho, inside, rounds, n = 0.5, 0, 1000, 60
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of the normal distribution with this Pearson's
    for x, y in CHANCE.multivariate_normal([0, 0], [[1, rho], [rho, 1]], (rounds, n)).transpose(0, 2, 1):
        low, high = interval(Method.SPEARMAN, spearman(x, y), n)
        inside += low <= truth <= high
    assert inside / rounds == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("method", [pearson, spearman])
def test_undefined_correlations_are_null_and_never_zero(method):
    rising = np.arange(5.0)
    assert method(rising, np.full(5, 0.1)) is None
    assert method(rising[:2], rising[:2]) is None
    assert method(rising[:0], rising[:0]) is None
    assert method(rising, np.array([0.1, 0.1, 0.1, 0.1, np.nextafter(0.1, 1)])) is None or method is spearman
    assert method(rising, 2 * rising) == pytest.approx(1.0)


def test_an_interval_needs_four_calls():
    assert interval(Method.PEARSON, 0.5, 3) == (None, None)
    assert interval(Method.PEARSON, None, 100) == (None, None)
    assert interval(Method.PEARSON, 1.0, 10) == (1.0, 1.0)


def test_a_call_is_one_observation_however_many_runs_saw_it(world):
    count = 30
    features = CHANCE.normal(size=count)
    returns = CHANCE.normal(size=(3, count)).clip(-1)
    for run in range(3):
        world.add(
            [
                Call(f"c{i}", "ann", "A", (float(returns[run, i]),), called_at=START + timedelta(hours=i),
                     features=(float(features[i]) if i else None, 0.5, 1.0, i % 24))
                for i in range(count)
            ]
        )  # fmt: skip
    refresh(world.statistics, world.runs)
    rows = {
        (row["metric1"], row["metric2"]): row
        for row in correlation(world.statistics, Method.SPEARMAN).body["correlations"]
    }
    row = rows["preReturn1h", "netReturn"]
    assert row["n"] == count - 1
    assert row["correlation"] == pytest.approx(stats.spearmanr(features[1:], returns.mean(axis=0)[1:]).statistic)
    assert row["low"] < row["correlation"] < row["high"]
    assert rows["preVolatility1h", "netReturn"]["correlation"] is None
    only = correlation(world.statistics, features=["hour_of_day"]).body["correlations"]
    assert {row["metric1"] for row in only} == {"hourOfDay"}
    assert len(only) == len(OUTCOMES)
