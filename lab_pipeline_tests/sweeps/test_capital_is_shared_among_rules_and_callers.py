"""From the trades of rules, or of callers, to shares of the capital."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.statistics.allocation import Method, Terms, weigh
from lab_pipeline.statistics.selection import Windows
from lab_pipeline.sweeps.portfolio import allocate, by_caller, day_returns, days_of_calls, figures

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000


def trades(*rows):
    """Return trades of (day, hour, caller, net return)."""
    return pl.DataFrame(
        {
            "called_at": [BEGIN + timedelta(days=day, hours=hour) for day, hour, _, _ in rows],
            "caller": [caller for _, _, caller, _ in rows],
            "net_return": [net for *_, net in rows],
        },
        schema_overrides={"called_at": frames.TIMESTAMP},
    )


SOME = trades((0, 1, "a", 0.2), (0, 9, "b", 0.4), (2, 3, "a", -0.5), (3, 1, "a", 0.1), (3, 2, "a", 0.3))


def test_a_day_is_split_evenly_over_its_trades():
    days, _ = days_of_calls(SOME["called_at"], 0)
    first = days[0]
    assert ((days - first) // DAY_MS).tolist() == [0, 2, 3]
    every = first + np.arange(4) * DAY_MS
    assert day_returns(SOME, every).tolist() == pytest.approx([0.3, 0.0, -0.5, 0.2])


def test_windows_reach_a_horizon_beyond_the_last_call_of_a_day():
    days, reach = days_of_calls(SOME["called_at"], 1_000)
    assert (reach - days).tolist() == [9 * 3_600_000 + 1_000, 3 * 3_600_000 + 1_000, 2 * 3_600_000 + 1_000]


def test_callers_share_if_they_have_called_on_enough_days():
    assert list(by_caller(SOME, 1)) == ["a", "b"]
    assert list(by_caller(SOME, 2)) == ["a"]
    assert by_caller(SOME, 3)["a"]["net_return"].to_list() == [0.2, -0.5, 0.1, 0.3]
    assert by_caller(SOME, 4) == {}


def test_members_are_weighed_by_their_days_and_judged_on_others():
    random = np.random.default_rng(0)
    good, bad = (trades(*((day, 1, "x", float(random.normal(mean, 0.1))) for day in range(40))) for mean in (0.1, -0.1))
    days, reach = days_of_calls(good["called_at"], 0)
    windows, terms = Windows(train_days=20, test_days=10, step_days=10), Terms(1.0, 1.0)
    equal, inverse, kelly = allocate({"good": good, "bad": bad}, days, reach, windows, terms)
    returns = np.column_stack([day_returns(one, days) for one in (good, bad)])
    assert kelly.now.tolist() == weigh(Method.KELLY, returns, terms).tolist()
    assert kelly.now[0] > 0.9
    assert equal.mean == pytest.approx(returns[20:].mean(), abs=1e-12)
    assert inverse.shares.sum(axis=1).tolist() == pytest.approx([1.0, 1.0])
    told = figures(kelly)
    assert told["test_days"] == 20
    assert told["mean_day_return"] > figures(equal)["mean_day_return"]
    assert allocate({}, days, reach, windows, terms) == []
    short = Windows(train_days=90)
    untested = figures(allocate({"good": good}, days, reach, short, terms)[0])
    assert (untested["test_days"], untested["mean_day_return"], untested["total_return"]) == (0, None, None)
