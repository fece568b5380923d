"""The paired difference of two runs: by hand, and against a paired test of SciPy where calls are independent."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lab_pipeline.domain import frames
from lab_pipeline.statistics.pairs import compare_calls

START = datetime(2025, 1, 1, tzinfo=UTC)


class Run:
    """Has the calls and trades that it is given: call -> the net returns of its trades."""

    def __init__(self, made, callers=1):
        numbers = {call: int(call[1:]) for call in made}
        schema = {"call_id": pl.String, "caller": pl.String, "called_at": frames.TIMESTAMP}
        rows = [(call, f"caller{number % callers}", START + timedelta(days=number)) for call, number in numbers.items()]
        trades = [(call, value) for call, values in made.items() for value in values]
        self._tables = {
            "outcomes": pl.DataFrame(rows, schema, orient="row"),
            "trades": pl.DataFrame(trades, {"call_id": pl.String, "net_return": pl.Float64}, orient="row"),
        }

    def frame(self, name):
        return self._tables[name]


def test_calls_that_both_have_are_compared_by_what_they_made():
    first = Run({"c0": [0.1, 0.2], "c1": [], "c2": [-0.5], "c3": [1.0]})
    second = Run({"c0": [0.1], "c1": [0.4], "c2": [], "c4": [1.0]})
    found = compare_calls(first, second)
    assert (found.calls, found.only_first, found.only_second, found.better, found.worse) == (3, 1, 1, 2, 1)
    assert found.mean == pytest.approx((-0.2 + 0.4 + 0.5) / 3)


def test_of_independent_calls_the_interval_and_p_are_those_of_a_paired_t_test():
    random = np.random.default_rng(3)
    one, other = random.normal(0, 0.3, 40), random.normal(0.1, 0.3, 40)
    found = compare_calls(*(Run({f"c{n}": [value] for n, value in enumerate(values)}) for values in (one, other)))
    expected = stats.ttest_rel(other, one)
    # n / (n - 1) is in both: a clustered error with clusters of one is the usual one
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=2e-3)


def test_callers_that_differ_make_it_less_sure():
    made = {f"c{n}": [0.5 if n % 2 else -0.3] for n in range(40)}
    nothing = {call: [] for call in made}
    alone = compare_calls(Run(nothing), Run(made))
    by_caller = compare_calls(Run(nothing, callers=2), Run(made, callers=2))
    assert by_caller.high - by_caller.low > alone.high - alone.low
    assert by_caller.p_value > alone.p_value


def test_what_cannot_be_said_is_null():
    nothing = compare_calls(Run({"c0": [0.1]}), Run({"c1": [0.1]}))
    assert (nothing.calls, nothing.mean, nothing.p_value) == (0, None, None)
    one_day = compare_calls(Run({"c0": [0.1]}), Run({"c0": [0.2]}))
    assert (one_day.mean, one_day.low, one_day.p_value) == (pytest.approx(0.1), None, None)
    same = compare_calls(Run({"c0": [0.1], "c1": [0.1]}), Run({"c0": [0.1], "c1": [0.1]}))
    assert (same.mean, same.p_value) == (0.0, 1.0)
