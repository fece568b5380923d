import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student

from lab_pipeline.domain import frames
from lab_pipeline.domain.enums import Outcome
from lab_pipeline.domain.t_quantile import student_t_975
from lab_pipeline.reports.tables import by_caller, by_exit_reason, by_outcome, ranked
from lab_pipeline_tests.reports.synthetic import EMPTY_RUN, made_up_run


def trades_of(days=None, **returns):
    """Lay out trades by caller, each on a day of its own unless `days` says when."""
    rows = [(caller, value) for caller, values in returns.items() for value in values]
    template = made_up_run(1, 1, 1).trades
    ids = [f"c{i}" for i in range(len(rows))]
    trades = pl.concat([template] * len(rows)).with_columns(
        call_id=pl.Series(ids),
        caller=pl.Series([caller for caller, _ in rows]),
        net_return=pl.Series([value for _, value in rows], dtype=pl.Float64),
        pnl=pl.Series([100.0 * value for _, value in rows]),
        taken=pl.lit(value=True),
        called_at=pl.col("called_at") + pl.duration(days=pl.int_range(len(rows)) if days is None else pl.Series(days)),
    )
    outcomes = trades.select(
        "call_id",
        "caller",
        "mint",
        "called_at",
        outcome=pl.lit("entered"),
        trades=1,
        ambiguous_candles=0,
        ambiguous_resolved=0,
    )
    return trades, outcomes.cast(dict(frames.OUTCOMES)), pl.DataFrame(schema=frames.PATHS)


def test_five_lucky_calls_do_not_lead():
    rng = np.random.default_rng(3)
    table = by_caller(
        *trades_of(steady=rng.normal(0.2, 0.6, 200), lucky=[0.9, 0.9, 0.9, 0.9, 0.9], poor=rng.normal(-0.2, 0.6, 200))
    )
    assert table["caller"].to_list() == ["steady", "lucky", "poor"]
    assert table.filter(pl.col("caller") == "lucky")["mean_return"].item() == pytest.approx(0.9)


def test_the_interval_is_students_with_the_larger_deviation():
    wild = [2.0, -0.9, 1.5, -0.8, 0.7, 2.5]
    trades, outcomes, paths = trades_of(wild=wild, calm=[0.1, 0.11, 0.09, 0.1])
    row = by_caller(trades, outcomes, paths).filter(pl.col("caller") == "calm").row(0, named=True)
    half = student.ppf(0.975, 3) * trades["net_return"].std() / 2
    assert row["high"] == pytest.approx(0.1 + half, rel=1e-3)
    assert row["low"] == -1.0, "a return of less than -1 is impossible"
    row = by_caller(trades, outcomes, paths).filter(pl.col("caller") == "wild").row(0, named=True)
    assert row["high"] == pytest.approx(np.mean(wild) + student.ppf(0.975, 5) * np.std(wild, ddof=1) / 6**0.5, rel=1e-3)


def test_trades_of_one_day_are_one_observation():
    wild = [2.0, -0.9, 1.5, -0.8, 0.7, 2.5]
    row = by_caller(*trades_of(days=[0, 0, 0, 1, 1, 1], wild=wild)).row(0, named=True)
    # summed deviations of the days: 0.1 above their mean and as much below
    apart = sum(wild[:3]) - 3 * np.mean(wild)
    by_day = student.ppf(0.975, 1) * (2 * 2 * apart**2) ** 0.5 / 6
    independent = student.ppf(0.975, 1) * np.std(wild, ddof=1) / 6**0.5
    assert row["high"] == pytest.approx(np.mean(wild) + max(by_day, independent), rel=1e-3)
    row = by_caller(*trades_of(days=[0] * 6, wild=wild)).row(0, named=True)
    assert (row["low"], row["high"]) == (None, None)


def test_one_trade_ranks_below_every_interval_and_no_trade_last():
    trades, outcomes, paths = trades_of(once=[9.0], poor=[-0.5, -0.4, -0.5], silent=[0.0])
    table = by_caller(trades.filter(pl.col("caller") != "silent"), outcomes, paths)
    assert table["caller"].to_list() == ["poor", "once", "silent"]
    assert table["low"].to_list()[1:] == [None, None]
    assert table["trades"].to_list() == [3, 1, 0]


def test_pnl_is_of_taken_trades_and_the_rest_of_all():
    run = made_up_run(400, 10, 5)
    table = by_caller(run.trades, run.outcomes, run.paths)
    assert table["pnl"].sum() == pytest.approx(run.trades.filter("taken")["pnl"].sum())
    assert table["trades"].sum() == 400
    assert table["calls"].sum() == len(run.outcomes)
    assert table["entered"].sum() == 400
    name = table["caller"][0]
    assert table["median_ath"][0] == run.paths.filter(pl.col("caller") == name)["ath_multiple"].median()


def test_students_quantile():
    freedom = np.array([*range(1, 60), 100, 1000, 100_000], dtype=float)
    np.testing.assert_allclose(student_t_975(freedom), student.ppf(0.975, freedom), rtol=2e-3)


def test_exit_reasons_count_every_trade_once():
    run = made_up_run(200, 10, 3)
    table = by_exit_reason(run.trades)
    assert table["trades"].sum() == 200
    assert table["share"].sum() == pytest.approx(1)
    assert table["trades"].is_sorted(descending=True)
    weighted = (table["mean_return"] * table["trades"]).sum() / 200
    assert weighted == pytest.approx(run.trades["net_return"].mean())


def test_every_outcome_has_a_row():
    assert by_outcome(EMPTY_RUN.outcomes).rows() == [(str(outcome), 0, 0.0) for outcome in Outcome]


@pytest.mark.parametrize("best", [True, False])
def test_best_and_worst_trades_are_the_extremes_in_a_fixed_order(best):
    trades = made_up_run(500, 10, 3).trades.with_columns(pl.col("net_return").round(1))
    picked = ranked(trades, 10, best=best)
    expected = trades.sort("net_return", "called_at", "call_id", descending=[best, False, False]).head(10)
    assert picked.equals(expected)
    assert ranked(trades.sample(fraction=1.0, shuffle=True, seed=1), 10, best=best).equals(expected)
