"""The numbers that leaderboards rank by, against an independent library under the same conventions."""

from datetime import timedelta

import empyrical
import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.engine.summary import DAYS_A_YEAR, annual_ratios, daily_returns
from lab_pipeline.statistics import Board, leaderboard, refresh
from lab_pipeline_tests.support.world import CAPITAL, START, Call

RETURNS = np.random.default_rng(11).normal(0.002, 0.02, 90)
CLOSES = CAPITAL * np.cumprod(1 + RETURNS)


def equity():
    return pl.DataFrame(
        {
            "timestamp": [START + timedelta(days=day) for day in range(1, len(CLOSES) + 1)],
            "equity": CLOSES,
            "cash": CLOSES,
            "exposure": 0.0,
            "drawdown": CLOSES / np.maximum(np.maximum.accumulate(CLOSES), CAPITAL) - 1,
            "open_positions": 0,
        },
        schema=frames.EQUITY,
    )


def test_sharpe_sortino_and_drawdown_of_a_run():
    returns = daily_returns(equity(), CAPITAL, 300_000)
    np.testing.assert_allclose(returns, RETURNS, rtol=1e-9)
    sharpe, sortino = annual_ratios(returns)
    assert sharpe == pytest.approx(empyrical.sharpe_ratio(RETURNS, annualization=DAYS_A_YEAR), rel=1e-9)
    # empyrical divides the downside by n, this project by n - 1 as in the deviation
    factor = np.sqrt((len(RETURNS) - 1) / len(RETURNS))
    assert sortino == pytest.approx(empyrical.sortino_ratio(RETURNS, annualization=DAYS_A_YEAR) * factor, rel=1e-9)
    assert equity()["drawdown"].min() == pytest.approx(empyrical.max_drawdown(RETURNS), rel=1e-9)


def test_stability_and_drawdown_of_a_caller_and_stability_of_a_run(world):
    calls = [
        Call(f"c{number:03}", "ann", "A", (float(value),), START + timedelta(hours=number))
        for number, value in enumerate(10 * RETURNS)
    ]
    world.add(calls, closes=CLOSES)
    refresh(world.statistics, world.runs)
    # empyrical fits cumulated log returns; those of exp(r) - 1 are the cumulated r
    run = leaderboard(world.statistics, Board.RUNS)[0].body["leaderboard"][0]
    slope = np.polyfit(np.arange(90), np.cumsum(RETURNS), 1)[0]
    expected = empyrical.stability_of_timeseries(np.expm1(RETURNS)) * np.sign(slope)
    assert run["stability"] == pytest.approx(expected, rel=1e-9)
    caller = leaderboard(world.statistics, Board.CALLERS)[0].body["leaderboard"][0]
    assert caller["stability"] == pytest.approx(expected, rel=1e-9)
    assert caller["sharpe"] == pytest.approx(empyrical.sharpe_ratio(10 * RETURNS, annualization=1), rel=1e-9)
    gains, losses = RETURNS[RETURNS > 0].sum(), -RETURNS[RETURNS < 0].sum()
    assert caller["profitFactor"] == pytest.approx(gains / losses, rel=1e-9)
