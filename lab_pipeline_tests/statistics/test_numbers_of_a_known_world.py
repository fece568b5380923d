"""Every number of a small world, worked out by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from lab_pipeline.statistics import (
    Bins,
    GroupBy,
    Metric,
    NotComputedError,
    Range,
    distribution,
    overview,
    pnl,
    refresh,
)
from lab_pipeline_tests.support.world import START, Call

DAY = timedelta(days=1)


@pytest.fixture
def known(world):
    world.add(
        [
            Call("c1", "ann", "AAA", (0.5, -0.25), called_at=START, hold=5.0, ath=1.5),
            Call("c2", "ben", "BBB", (0.0,), called_at=START + 8 * DAY, hold=14.0, ath=3.0),
            Call("c3", "ann", "BBB", (), called_at=START + 9 * DAY),
        ],
        strategy="first",
    )
    world.add([Call("c1", "ann", "AAA", (1.0,), called_at=START, hold=1440.0, ath=1.5)], strategy="second")
    world.add([], strategy="second")
    world.record("failed", "second")
    world.record("suspended", "first")
    refresh(world.statistics, world.runs)
    return world.statistics


def test_overview(known):
    body = overview(known).body
    assert body.pop("computedAt").endswith("Z")
    assert [label["runs"] for label in body.pop("fillAssumptions")] == [3]
    assert body == {
        "fillsNote": None,
        "totalRuns": 5,
        "runsByStatus": {"completed": 3, "failed": 1, "suspended": 1},
        "totalTokens": 2,
        "totalCallers": 2,
        "totalTrades": 4,
        "totalWins": 2,
        "totalPnl": 1.25,
        "avgPnl": 0.3125,
        "medianPnl": 0.25,
        "winRate": 0.5,
    }


def groups(statistics, group_by, **options):
    rows = pnl(statistics, group_by, **options)[0].body["groups"]
    names = ("runCount", "tradeCount", "totalPnl", "avgPnl", "minPnl", "maxPnl", "winRate")
    assert all(set(row) == {"key", "fills", *names} for row in rows)
    return {row["key"]: tuple(row[name] for name in names) for row in rows}


EARLY = (2, 3, 1.25, 1.25 / 3, -0.25, 1.0, 2 / 3)
LATE = (1, 1, 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        (GroupBy.DAY, {"2025-01-01": EARLY, "2025-01-09": LATE}),
        (GroupBy.WEEK, {"2025-W01": EARLY, "2025-W02": LATE}),
        (GroupBy.MONTH, {"2025-01": (2, 4, 1.25, 0.3125, -0.25, 1.0, 0.5)}),
        (GroupBy.TOKEN, {"AAA": EARLY, "BBB": LATE}),
        (GroupBy.CALLER, {"ann": EARLY, "ben": LATE}),
        (
            GroupBy.STRATEGY,
            {"first": (1, 3, 0.25, 0.25 / 3, -0.25, 0.5, 1 / 3), "second": (1, 1, 1.0, 1.0, 1.0, 1.0, 1.0)},
        ),
    ],
)
def test_groups_with_trades_and_no_others(known, group_by, expected):
    assert groups(known, group_by) == expected


def counts(rows):
    return {row["bucket"]: row["count"] for row in rows if row["count"]}


def test_classic_distributions_hold_their_lower_edge(known):
    found = distribution(known).body["distributions"]
    assert set(found) == {"pnl", "trades", "holdMinutes", "athMultiple"}
    assert counts(found["pnl"]) == {"-25% to -10%": 1, "0% to 10%": 1, "50% to 100%": 1, "100% and above": 1}
    assert [(row["lower"], row["upper"]) for row in found["pnl"]] == [
        (None, -0.5), (-0.5, -0.25), (-0.25, -0.1), (-0.1, 0.0), (0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 1.0),
        (1.0, None),
    ]  # fmt: skip
    assert [row["bucket"] for row in found["trades"]] == ["0", "1 to 4", "5 to 9", "10 to 19", "20 to 49", "50+"]
    assert counts(found["trades"]) == {"0": 1, "1 to 4": 2}
    assert counts(found["holdMinutes"]) == {"5 min to 15 min": 3, "1440 min to 4320 min": 1}
    assert counts(found["athMultiple"]) == {"1.5x to 2x": 2, "3x to 5x": 1}


def test_equally_wide_and_equally_full_buckets(known):
    wide = distribution(known, Metric.PNL, Bins.parse("5")).body["distributions"]["pnl"]
    assert [(row["lower"], row["upper"]) for row in wide] == [(-0.25, 0.0), (0.0, 0.25), (0.25, 0.5), (0.5, 0.75),
                                                               (0.75, 1.0)]  # fmt: skip
    assert [row["count"] for row in wide] == [1, 1, 0, 1, 1]
    full = distribution(known, Metric.PNL, Bins.parse("quantile:2")).body["distributions"]["pnl"]
    assert [(row["lower"], row["upper"], row["count"]) for row in full] == [(-0.25, 0.25, 2), (0.25, 1.0, 2)]
    one = distribution(known, Metric.HOLD_MINUTES, Bins.parse("quantile:3")).body["distributions"]["holdMinutes"]
    assert sum(row["count"] for row in one) == 4


def test_a_range_selects_trades_by_the_time_of_their_call(known):
    late = Range(start=datetime(2025, 1, 9, tzinfo=UTC))
    assert groups(known, GroupBy.TOKEN, period=late) == {"BBB": LATE}
    early = Range(end=datetime(2025, 1, 9, tzinfo=UTC))
    assert groups(known, GroupBy.TOKEN, period=early) == {"AAA": EARLY}
    body = overview(known, early, "first").body
    assert (body["totalTrades"], body["totalPnl"], body["medianPnl"], body["winRate"]) == (2, 0.25, 0.125, 0.5)
    assert (body["totalTokens"], body["totalCallers"]) == (1, 1)
    assert body["runsByStatus"] == {"completed": 1, "suspended": 1}


def test_what_is_undefined_is_null_and_never_zero(known):
    body = overview(known, strategy_id="unknown").body
    assert (body["totalRuns"], body["totalTrades"], body["totalPnl"]) == (0, 0, 0.0)
    assert body["avgPnl"] is body["medianPnl"] is body["winRate"] is None
    assert groups(known, GroupBy.DAY, period=Range(end=START)) == {}


def test_a_lab_without_runs_has_statistics_of_nothing(world):
    with pytest.raises(NotComputedError, match="lab statistics --refresh"):
        overview(world.statistics)
    refresh(world.statistics, [])
    assert overview(world.statistics).body["totalRuns"] == 0
    assert overview(world.statistics).body["avgPnl"] is None
    assert groups(world.statistics, GroupBy.TOKEN) == {}
    assert distribution(world.statistics, Metric.PNL, Bins.parse("5")).body["distributions"] == {"pnl": []}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_hold_every_group_once_even_if_more_come_in_between(known, world, limit):
    seen, after = [], None
    while True:
        answer, after = pnl(known, GroupBy.TOKEN, after=after, limit=limit)
        seen += [row["key"] for row in answer.body["groups"]]
        if after is None:
            break
        world.add([Call("c9", "zoe", f"B{limit}", (0.1,))])
        refresh(known, world.runs)
    assert [key for key in seen if key in ("AAA", "BBB")] == ["AAA", "BBB"]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("text", ["", "0", "101", "-1", "width", "quantile:", "quantile:0", "width:1e1", "wide:3", "٣"])
def test_bins_that_cannot_be_are_refused_in_words(text):
    with pytest.raises(ValueError, match="write classic, a number from 1 to 100, or quantile:20"):
        Bins.parse(text)
