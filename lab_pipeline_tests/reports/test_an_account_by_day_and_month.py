import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lab_pipeline.engine.summary import daily_returns
from lab_pipeline.reports import days_chart
from lab_pipeline.reports.periods import by_day, by_year, drawdowns

HOUR_MS = 3_600_000
CAPITAL = 100.0


def account(*equity, start=datetime(2024, 12, 30, 1, tzinfo=UTC), hours=1):
    """Return an account that is worth so much after each candle, the first of which closes at `start`."""
    frame = pl.DataFrame(
        {
            "timestamp": [start + timedelta(hours=hours * number) for number in range(len(equity))],
            "equity": [float(value) for value in equity],
            "exposure": [0.1 * (number % 5) for number in range(len(equity))],
        },
        schema={"timestamp": pl.Datetime("ms", "UTC"), "equity": pl.Float64, "exposure": pl.Float64},
    )
    highest = pl.max_horizontal(pl.col("equity").cum_max(), pl.lit(CAPITAL))
    return frame.with_columns(drawdown=pl.col("equity") / highest - 1.0)


def test_drawdowns_go_from_a_peak_to_the_next_that_is_as_high_the_deepest_first():
    equity = account(100, 110, 99, 104, 110, 60, 70, 120, 114)
    found = drawdowns(equity)
    at = equity["timestamp"]
    assert [round(depth, 4) for depth in found["depth"]] == [-0.4545, -0.1, -0.05]
    assert found.select("peak_at", "trough_at", "recovered_at").rows() == [
        (at[4], at[5], at[7]),
        (at[1], at[2], at[4]),
        (at[7], at[8], None),
    ]
    assert found["days"].to_list() == pytest.approx([3 / 24, 3 / 24, 1 / 24])


def test_an_account_that_begins_with_a_loss_fell_from_its_first_step():
    equity = account(90, 95)
    (fall,) = drawdowns(equity).to_dicts()
    assert (fall["peak_at"], fall["recovered_at"]) == (equity["timestamp"][0], None)
    assert fall["depth"] == pytest.approx(-0.1)
    assert drawdowns(account(100, 101)).is_empty()
    assert drawdowns(account()).is_empty()


def test_days_are_those_of_the_sharpe_ratio():
    equity = account(*(CAPITAL * math.exp(0.01 * math.sin(number)) for number in range(100)))
    days = by_day(equity, CAPITAL, HOUR_MS)
    assert days["return"].to_list() == pytest.approx(list(daily_returns(equity, CAPITAL, HOUR_MS)))
    assert days["exposure"].mean() == pytest.approx(equity["exposure"].mean(), abs=0.05)
    assert days["drawdown"].min() == equity["drawdown"].min()


def test_the_step_of_midnight_closes_the_day_before():
    equity = account(101, 102, 103, start=datetime(2025, 3, 1, 23, tzinfo=UTC))
    days = by_day(equity, CAPITAL, HOUR_MS)
    assert [(str(day), value) for day, value in days.select("day", "equity").iter_rows()] == [
        ("2025-03-01", 102.0),
        ("2025-03-02", 103.0),
    ]


def test_months_multiply_to_years_and_years_to_the_whole():
    equity = account(*(CAPITAL + number for number in range(1, 81)), hours=24)
    days = by_day(equity, CAPITAL, 24 * HOUR_MS)
    years = by_year(days, CAPITAL)
    assert [year.year for year in years] == [2024, 2025]
    assert [sum(month is not None for month in year.months) for year in years] == [1, 3]
    for year in years:
        assert math.prod(1 + month for month in year.months if month is not None) == pytest.approx(1 + year.whole)
    assert math.prod(1 + year.whole for year in years) == pytest.approx(1.8)


def test_after_a_day_that_left_nothing_there_is_no_return():
    equity = account(50, 0, 0, 0, hours=24)
    days = by_day(equity, CAPITAL, 24 * HOUR_MS)
    assert days["return"].to_list() == [-0.5, -1.0, None, None]
    (year, other) = by_year(days, CAPITAL)
    assert (year.whole, other.whole) == (-1.0, None)
    assert "4 days" in days_chart(days)


def test_the_chart_of_days_says_how_many_were_up():
    days = by_day(account(101, 102, 99, 99, hours=24), CAPITAL, 24 * HOUR_MS)
    assert "4 days from 2024-12-29 to 2025-01-01: 2 up, 1 down, between" in days_chart(days)
