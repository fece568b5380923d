import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab_pipeline.reports.ticks import (
    DATES_AT_MOST,
    count_ticks,
    log_ticks,
    number_ticks,
    percent_ticks,
    span,
    time_ticks,
)

ENDS = st.tuples(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9)).map(
    lambda at: (at[0], at[0] + max(at[1], abs(at[0]) / 1e3))
)
MOMENTS = st.integers(1, 80_000 * 1440).map(
    lambda minutes: datetime(1970, 1, 2, tzinfo=UTC) + timedelta(minutes=minutes)
)


def labels(ticks) -> list[str]:
    return [tick.label for tick in ticks]


@given(ENDS, st.integers(2, 8), st.sampled_from([number_ticks, percent_ticks]))
def test_numbers_lie_within_the_axis_are_few_and_differ(ends, at_most, ticks_of):
    low, high = ends
    ticks = ticks_of(low, high, at_most)
    slack = 1e-6 * (high - low)
    assert 1 <= len(ticks) <= at_most + 1
    assert all(low - slack <= tick.at <= high + slack for tick in ticks)
    assert len(set(labels(ticks))) == len(ticks)


@given(st.integers(1, 10**9), st.integers(2, 8))
def test_counts_are_whole_from_zero(highest, at_most):
    ticks = count_ticks(highest * 1.04, at_most)
    assert ticks[0].at == 0
    assert all(tick.at == round(tick.at) for tick in ticks)
    assert len(ticks) <= at_most + 1


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        (percent_ticks(-0.09, 0.03, 5), ["−7.5%", "−5.0%", "−2.5%", "0.0%", "2.5%"]),  # noqa: RUF001 - the page's minus
        (percent_ticks(-0.2, 0, 3), ["−20%", "−10%", "0%"]),  # noqa: RUF001
        (number_ticks(8_600, 10_700, 5), ["9,000", "9,500", "10,000", "10,500"]),
        (number_ticks(0, 4e7, 4), ["0", "10M", "20M", "30M", "40M"]),
        (count_ticks(3.12, 5), ["0", "1", "2", "3"]),
        (count_ticks(1_180, 5), ["0", "250", "500", "750", "1,000"]),
        (log_ticks(math.log10(90), math.log10(3_000), 6), ["100", "200", "500", "1,000", "2,000"]),
        (log_ticks(-2, 9, 6), ["0.01", "1", "100", "10,000", "1,000,000", "100M"]),
    ],
)
def test_labels_are_as_short_as_they_can_be(ticks, expected):
    assert labels(ticks) == expected


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=80_000)))
def test_times_lie_within_the_axis_and_are_few(first, length):
    first, last = span(first, min(first + length, datetime(2200, 1, 1, tzinfo=UTC)))
    ticks = time_ticks(first, last)
    assert 1 <= len(ticks) <= DATES_AT_MOST + 1
    assert all(first.timestamp() * 1000 <= tick.at <= last.timestamp() * 1000 for tick in ticks)
    assert [tick.at for tick in ticks] == sorted({tick.at for tick in ticks})
    assert all(tick.at % 60_000 == 0 for tick in ticks)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (timedelta(minutes=12), ["22:20", "22:22", "22:24", "22:26", "22:28", "22:30"]),
        (timedelta(hours=5), ["23:00", "Mar 1", "01:00", "02:00", "03:00"]),
        (timedelta(days=3), ["Mar 1", "12:00", "Mar 2", "12:00", "Mar 3", "12:00"]),
        (timedelta(days=12), ["Mar 1", "Mar 3", "Mar 5", "Mar 7", "Mar 9", "Mar 11"]),
        (timedelta(days=92), ["Mar 1", "Mar 15", "Apr 1", "Apr 15", "May 1", "May 15"]),
        (timedelta(days=500), ["Apr", "Jul", "Oct", "2025", "Apr", "Jul"]),
        (timedelta(days=3_000), ["2025", "2026", "2027", "2028", "2029", "2030", "2031", "2032"]),
    ],
)
def test_times_are_named_by_what_changes(length, expected):
    first = datetime(2024, 2, 29, 22, 19, tzinfo=UTC)
    assert labels(time_ticks(first, first + length)) == expected


def test_one_moment_has_an_axis_around_it():
    moment = datetime(2024, 2, 29, 22, 19, tzinfo=UTC)
    first, last = span(moment, moment)
    assert first < moment < last
    assert last - first == timedelta(minutes=10)
