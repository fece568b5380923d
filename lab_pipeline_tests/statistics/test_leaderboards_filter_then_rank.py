import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import t as student

from lab_pipeline.domain.backtest import now
from lab_pipeline.statistics import Board, Filters, RankBy, leaderboard, refresh, window_start
from lab_pipeline.statistics.duckdb_session import DuckDBSession
from lab_pipeline.statistics.leaderboards import frontier
from lab_pipeline.statistics.queries import sql
from lab_pipeline_tests.support.world import CAPITAL, DONE, START, Call

RISING = [CAPITAL * (1 + 0.01 * day) for day in range(1, 11)]
FALLING = [CAPITAL * (1 - 0.01 * day) for day in range(1, 11)]
ROUGH = [CAPITAL * (1 + 0.05 * (-1) ** day) for day in range(1, 11)]


@pytest.fixture
def ranked(world):
    world.add([Call("c1", "ann", "A", (0.5,))], run_id="a", closes=RISING, total_return=0.3, max_drawdown=0.2,
              sharpe=2.0, win_rate=1.0, profit_factor=None, strategy="one")  # fmt: skip
    world.add([Call("c1", "ann", "A", (-0.5,))], run_id="b", closes=FALLING, total_return=-0.1, max_drawdown=0.1,
              sharpe=-1.0, profit_factor=0.5, strategy="one", version="2", timeframe="1h")  # fmt: skip
    world.add([Call("c2", "ben", "B", (0.1, -0.1))], run_id="c", closes=ROUGH, total_return=0.1, max_drawdown=0.3,
              sharpe=None, profit_factor=2.0, strategy="two", completed_at=DONE + timedelta(days=9))  # fmt: skip
    world.add([], run_id="d", total_return=0.0, max_drawdown=0.0, sharpe=None, profit_factor=None, strategy="two")
    refresh(world.statistics, world.runs)
    return world.statistics


def ids(statistics, rank_by, filters=None):
    rows = leaderboard(statistics, Board.RUNS, rank_by, filters)[0].body["leaderboard"]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    return "".join(row["runId"] for row in rows)


@pytest.mark.parametrize(
    ("rank_by", "order"),
    [
        (RankBy.PNL, "acdb"),
        (RankBy.SHARPE, "abcd"),
        (RankBy.WIN_RATE, "acbd"),
        (RankBy.PROFIT_FACTOR, "cbad"),
        (RankBy.DRAWDOWN, "dbac"),
        (RankBy.STABILITY, "acbd"),
        (RankBy.PARETO, "ab"),
    ],
)
def test_the_best_come_first_and_what_has_no_number_last(ranked, rank_by, order):
    assert ids(ranked, rank_by) == order


def test_ranks_count_after_the_filters(ranked):
    assert ids(ranked, RankBy.PNL, Filters(strategy_id="two")) == "cd"
    assert ids(ranked, RankBy.PNL, Filters(timeframe="1h")) == "b"
    assert ids(ranked, RankBy.PNL, Filters(completed_from=DONE + timedelta(days=1))) == "c"
    assert ids(ranked, RankBy.PARETO, Filters(strategy_id="two")) == "c"
    assert ids(ranked, RankBy.PNL, Filters(strategy_id="it's none")) == ""


def test_a_run_has_its_numbers(ranked):
    row = leaderboard(ranked, Board.RUNS)[0].body["leaderboard"][0]
    assert (row["pnl"], row["totalReturn"], row["trades"], row["wins"], row["winRate"]) == (3000.0, 0.3, 1, 1, 1.0)
    assert (row["strategyId"], row["strategyVersion"], row["timeframe"]) == ("one", "1", "5m")
    assert row["completedAt"] == "2025-06-01T00:00:00.000Z"
    assert row["profitFactor"] is None


@pytest.mark.parametrize("board", list(Board))
@pytest.mark.parametrize("rank_by", list(RankBy))
@pytest.mark.parametrize("limit", [1, 3])
def test_pages_hold_every_row_once_in_order(ranked, board, rank_by, limit):
    whole = leaderboard(ranked, board, rank_by)[0].body["leaderboard"]
    seen, after = [], None
    while True:
        answer, after = leaderboard(ranked, board, rank_by, after=after, limit=limit)
        seen += answer.body["leaderboard"]
        if after is None:
            break
    assert seen == whole


def test_strategies_are_medians_of_their_runs_and_pool_their_trades(world):
    for total, closes in ((0.1, RISING), (0.2, ROUGH), (0.6, FALLING)):
        world.add([Call("c1", "ann", "A", (total, -0.1))], closes=closes, total_return=total, max_drawdown=total,
                  sharpe=total)  # fmt: skip
    world.add([Call("c1", "ann", "A", (0.3,))], version="2", total_return=0.3, timeframe="1h")
    refresh(world.statistics, world.runs)
    second, first = leaderboard(world.statistics, Board.STRATEGIES)[0].body["leaderboard"]
    assert (first["strategyVersion"], first["runs"], first["trades"], first["winRate"]) == ("1", 3, 6, 0.5)
    assert (first["totalReturn"], first["pnl"], first["maxDrawdown"], first["sharpe"]) == (0.2, 2000.0, 0.2, 0.2)
    assert first["profitFactor"] == pytest.approx(3.0)
    assert (second["strategyVersion"], second["profitFactor"]) == ("2", None)
    only = leaderboard(world.statistics, Board.STRATEGIES, filters=Filters(timeframe="1h"))[0].body["leaderboard"]
    assert [(row["rank"], row["strategyVersion"]) for row in only] == [(1, "2")]


def calls_of(caller, returns):
    return [
        Call(f"{caller} {number}", caller, "A", (float(value),), called_at=START + timedelta(hours=number))
        for number, value in enumerate(returns)
    ]


STEADY = np.random.default_rng(3).normal(0.2, 0.5, 200).clip(-1)
POOR = np.random.default_rng(4).normal(-0.2, 0.5, 200).clip(-1)


@pytest.mark.parametrize("rank_by", list(RankBy))
@pytest.mark.parametrize("runs", [1, 30])
def test_five_lucky_calls_do_not_lead_however_many_runs_repeat_them(world, rank_by, runs):
    for _ in range(runs):
        world.add(calls_of("steady", STEADY[:60]) + calls_of("lucky", [3.0] * 5) + calls_of("poor", POOR[:60]))
    refresh(world.statistics, world.runs)
    rows = leaderboard(world.statistics, Board.CALLERS, rank_by)[0].body["leaderboard"]
    assert rows[0]["caller"] != "lucky"
    lucky = [row for row in rows if row["caller"] == "lucky"]
    if rank_by is not RankBy.PARETO:
        assert lucky[0]["rank"] == 3
        assert (lucky[0]["calls"], lucky[0]["established"], lucky[0]["meanReturn"]) == (5, False, 3.0)


def test_a_caller_has_a_students_and_a_wilson_interval_over_calls(world):
    for _ in range(3):
        world.add(calls_of("steady", STEADY) + calls_of("poor", POOR))
    refresh(world.statistics, world.runs)
    row = leaderboard(world.statistics, Board.CALLERS)[0].body["leaderboard"][0]
    every = np.concatenate([STEADY, POOR])
    deviation = max(STEADY.std(ddof=1), every.std(ddof=1))
    half = student.ppf(0.975, 199) * deviation / 200**0.5
    assert (row["caller"], row["calls"], row["trades"]) == ("steady", 200, 600)
    assert row["meanReturn"] == pytest.approx(STEADY.mean(), rel=1e-12)
    assert row["pnl"] == pytest.approx(STEADY.sum(), rel=1e-12)
    assert row["meanReturnLow"] == pytest.approx(STEADY.mean() - half, rel=2e-3)
    assert row["meanReturnHigh"] == pytest.approx(STEADY.mean() + half, rel=2e-3)
    share, z = (STEADY > 0).mean(), 1.959963984540054
    centre, spread = share + z * z / 400, z * (share * (1 - share) / 200 + z * z / (4 * 200**2)) ** 0.5
    assert row["winRateLow"] == pytest.approx((centre - spread) / (1 + z * z / 200), rel=1e-12)
    assert row["profitFactor"] == pytest.approx(STEADY[STEADY > 0].sum() / -STEADY[STEADY < 0].sum(), rel=1e-12)
    total = np.cumsum(STEADY)
    fall = (np.maximum(np.maximum.accumulate(total), 0) - total).max()
    assert row["maxDrawdown"] == pytest.approx(fall, rel=1e-12)
    assert row["stability"] == pytest.approx(np.corrcoef(total, np.arange(200))[0, 1] ** 2, rel=1e-9)


def test_callers_of_some_runs_are_judged_by_those_alone(world):
    world.add(calls_of("ann", [1.0] * 3 + [0.5]), strategy="one")
    world.add(calls_of("ann", [-0.5] * 4) + calls_of("ben", [0.1, 0.2]), strategy="two")
    refresh(world.statistics, world.runs)
    only = Filters(strategy_id="one")
    rows = leaderboard(world.statistics, Board.CALLERS, filters=only)[0].body["leaderboard"]
    assert [(row["caller"], row["meanReturn"], row["trades"]) for row in rows] == [("ann", 0.875, 4)]
    assert rows == leaderboard(world.statistics, Board.CALLERS, filters=only)[0].body["leaderboard"]


def steadiness(changes):
    rows = ", ".join(f"(1, {step}, {float(change)!r}::DOUBLE)" for step, change in enumerate(changes))
    with DuckDBSession() as bench:
        bench.keep("steps", f"SELECT * FROM (VALUES {rows}) AS t (owner, step, change)")  # noqa: S608
        return bench.read(sql("measure_steadiness")).to_pylist()[0]


def test_stability_is_the_signed_fit_of_the_running_total_whatever_the_unit():
    changes = np.random.default_rng(1).normal(0.002, 0.02, 60)
    total = np.cumsum(changes)
    expected = np.sign(total @ (np.arange(60) - 29.5)) * np.corrcoef(total, np.arange(60))[0, 1] ** 2
    fraction = steadiness(changes)["stability"]
    assert fraction == pytest.approx(expected, rel=1e-9)
    assert steadiness(100 * changes)["stability"] == pytest.approx(fraction, rel=1e-9)
    assert steadiness(-changes)["stability"] == pytest.approx(-fraction, rel=1e-9)
    assert steadiness([0.01] * 10)["stability"] == pytest.approx(1.0)


@pytest.mark.parametrize("changes", [[0.1], [0.1, 0.2], [0.0] * 9])
def test_stability_of_too_few_days_or_no_movement_is_undefined(changes):
    assert steadiness(changes)["stability"] is None


def test_the_frontier_is_what_nobody_beats():
    chance = np.random.default_rng(2)
    points = chance.integers(0, 6, (300, 3)).astype(float)
    points[::17, 2] = np.nan
    expected = [
        not any(np.isnan(point))
        and not any(
            other[0] >= point[0] and other[1] <= point[1] and other[2] >= point[2] and tuple(other) != tuple(point)
            for other in points
        )
        for point in points
    ]
    assert frontier(*points.T) == expected
    assert any(expected)
    continuous = chance.normal(size=(400, 3))
    expected = [not any((o[0] > p[0] and o[1] < p[1] and o[2] > p[2]) for o in continuous) for p in continuous]
    assert frontier(*continuous.T) == expected


@pytest.mark.parametrize(("window", "hours"), [("24h", 24), ("7d", 168), ("2w", 336)])
def test_a_window_ends_now(window, hours):
    assert timedelta(0) <= now() - timedelta(hours=hours) - window_start(window) < timedelta(minutes=1, seconds=5)


def test_all_is_a_window_without_beginning():
    assert window_start("all") is None
    assert datetime.now(UTC) > window_start("1h")


@pytest.mark.parametrize("window", ["", "7", "d7", "0d", "7m", "-1d", "7d "])
def test_other_windows_are_refused_in_words(window):
    with pytest.raises(ValueError, match="24h, 7d or 4w, or all"):
        window_start(window)


def test_every_board_can_be_ranked_by_everything(ranked):
    for board, rank_by in itertools.product(Board, RankBy):
        assert leaderboard(ranked, board, rank_by)[0].body["computedAt"]
