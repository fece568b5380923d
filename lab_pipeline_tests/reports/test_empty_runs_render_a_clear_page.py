from dataclasses import replace

import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.reports import equity_picture, render_report
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.reports.synthetic import EMPTY_RUN, IDENTITY, SPEC, made_up_run, replace_summary, with_trades


def said(result) -> str:
    page = Page(render_report(result, SPEC, **IDENTITY))
    assert page.problems == []
    return page.said


def test_no_calls():
    text = said(EMPTY_RUN)
    assert "Nothing was traded. No call lies in this range and universe." in text
    assert "nan" not in text.lower().split()
    assert "None" not in text.split()
    assert "Best trades" not in text


def test_calls_that_never_entered():
    outcomes = made_up_run(30, 30, 3).outcomes.filter(pl.col("outcome") != "entered")
    text = said(replace(EMPTY_RUN, outcomes=outcomes, summary=replace_summary(calls=len(outcomes))))
    assert "None of the 6 calls was entered: 2 have no candles after the call, 4 never met" in text
    assert "caller_0" in text


def test_trades_that_the_portfolio_skipped_all():
    run = with_trades(
        made_up_run(50, 50, 3), pl.lit(value=False).alias("taken"), pl.lit("no_cash").alias("skip_reason")
    )
    text = said(replace(run, equity=pl.DataFrame(schema=frames.EQUITY)))
    assert "The portfolio took none of the 50 trades" in text
    assert "skipped: no cash" in text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("trades", "points"), [(1, 1), (1, 2), (2, 1), (3, 3)])
def test_runs_of_a_few_trades(trades, points):
    assert "Best trades" in said(made_up_run(trades, points, 1))


@pytest.mark.filterwarnings("error")
def test_trades_that_are_all_the_same():
    same = with_trades(
        made_up_run(20, 1, 2),
        *(pl.lit(0.0).alias(name) for name in ("net_return", "gross_return", "mfe", "mae", "pnl")),
        pl.col("called_at").first(),
    )
    assert "median" in said(same)


@pytest.mark.filterwarnings("error")
def test_a_flat_account_and_a_lost_one():
    flat = made_up_run(1, 20, 1).equity.with_columns(
        equity=pl.lit(10_000.0), drawdown=pl.lit(0.0), exposure=pl.lit(0.0)
    )
    lost = flat.with_columns(equity=pl.lit(0.0), drawdown=pl.lit(-1.0))
    assert equity_picture(flat, initial_capital=10_000.0) != equity_picture(lost, initial_capital=10_000.0)


def test_an_empty_series_makes_a_picture_that_says_so():
    picture = equity_picture(pl.DataFrame(schema=frames.EQUITY), initial_capital=10_000.0)
    assert "No trade was taken, so there is no equity to draw" in picture
