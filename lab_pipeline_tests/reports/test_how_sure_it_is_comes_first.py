# ruff: noqa: RUF001 - the page's own minus and dash
from dataclasses import replace

import polars as pl
import pytest

from lab_pipeline.domain.clusters import trades_error
from lab_pipeline.domain.luck import best_by_luck
from lab_pipeline.domain.strategy import Costs, EndOfData, Exit, StopFill, StrategyConfig
from lab_pipeline.reports import render_report
from lab_pipeline.reports.certainty import against_chance, assumptions, by_luck, conclude
from lab_pipeline.reports.formats import signed_percent
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.reports.synthetic import (
    EMPTY_RUN,
    IDENTITY,
    SPEC,
    made_up_lanes,
    made_up_nulls,
    made_up_run,
    replace_summary,
)


def lanes(mean, low, high, **others):
    return made_up_lanes(replace_summary(expectancy=mean, expectancy_low=low, expectancy_high=high, trades=9), **others)


def test_the_certainty_comes_before_any_other_number():
    run = made_up_run(40, 50, 4)
    said = Page(render_report(run, SPEC, **IDENTITY)).said
    places = [
        said.index(text) for text in ("How sure is this of its fills?", "stops 1", "Profit factor", "The account")
    ]
    assert places == sorted(places)
    assert said.index("Is it better than chance?") < said.index("Win rate")
    assert conclude(run.fill_certainty).text in said


@pytest.mark.parametrize(
    ("table", "begins", "tone"),
    [
        (lanes(0.1, 0.02, 0.2), "It gains whatever is assumed of its fills, +10.0% a trade at the worst.", "up"),
        (lanes(0.1, -0.02, 0.2, stops=0.03), "It gains whatever is assumed of its fills, +3.0% a trade", "flat"),
        (
            lanes(-0.1, -0.2, -0.02, stress=-0.05),
            "It loses whatever is assumed of its fills, −5.0% a trade at the best.",
            "down",
        ),
        (lanes(0.1, 0.02, 0.2, stops=-0.03), "Conclude nothing yet: what is assumed of the fills decides", "down"),
        (lanes(0.1, None, None), "Conclude nothing yet: all trades are of one day", "flat"),
        (lanes(None, None, None), "Nothing was traded, so there is nothing to conclude.", "flat"),
    ],
)
def test_one_sentence_says_what_to_conclude(table, begins, tone):
    conclusion = conclude(table)
    assert conclusion.text.startswith(begins)
    assert conclusion.tone == tone


def test_what_cannot_be_told_from_luck_is_said_to_be_so():
    assert "cannot be told from luck (95% interval: −2.0% to +20.0%)" in conclude(lanes(0.1, -0.02, 0.2)).text
    assert "luck" not in conclude(lanes(0.1, 0.02, 0.2)).text


def test_the_assumptions_are_named_with_their_defaults():
    said = list(assumptions(StrategyConfig(exit=Exit(stop_loss=0.3))))
    assert said[0].endswith("fill half way from their level to the candle's low: through 0.5 (default).")
    assert said[1] == "Every fill pays 0 bp fee, 0 bp slippage."
    assert "cannot be said before costs.impact is set" in said[2]
    assert said[3] == "Tokens whose candles end are sold at the last close (default)."
    costs = Costs.model_validate({"feeBps": 30, "fixedFee": 2, "impact": {"model": "volume_share"}})
    other = StrategyConfig(
        exit=Exit(stop_loss=0.3, stop_fill=StopFill(through=0.25)), costs=costs, end_of_data=EndOfData(haircut=0.4)
    )
    said = list(assumptions(other))
    assert "25% of the way from their level to the candle's low: through 0.25." in said[0]
    assert said[1] == "Every fill pays 30 bp fee, 0 bp slippage and 2 whatever its size."
    assert said[2] == "Size moves the price by 0.1 × (share of the candle's volume) ^ 0.5."
    assert said[3].endswith("at the last close less 40.0%.")


def test_what_chance_cannot_tell_is_said():
    run = made_up_run(40, 50, 4)
    nothing = run.nulls.with_columns(p_random=None, p_shuffled=None, q_random=None, over_hold_low=None)
    said = " ".join(against_chance(nothing))
    assert said.count("cannot be said") == 3
    assert "callers beat" not in said
    assert list(against_chance(run.nulls.clear())) == []


def test_callers_who_beat_chance_are_counted_after_the_correction():
    nulls = made_up_nulls(made_up_run(40, 50, 4).outcomes, replace_summary(trades=9))
    callers = nulls.height - 1
    assert f"0 of {callers} callers beat their own tokens at random times" in " ".join(against_chance(nulls))
    some = nulls.with_columns(q_random=pl.when(pl.int_range(pl.len()) == 1).then(0.01).otherwise(0.5))
    assert f"1 of {callers} callers" in " ".join(against_chance(some))


def test_a_run_without_trades_has_a_sentence_and_no_table():
    empty = replace(EMPTY_RUN, fill_certainty=lanes(None, None, None))
    said = Page(render_report(empty, SPEC, **IDENTITY)).said
    assert "Nothing was traded, so there is nothing to conclude." in said
    assert "nan" not in said.lower().split()
    assert "stops 1" not in said


def test_a_page_says_what_the_best_of_many_shows_by_luck_and_not_how_many_there_were(run, page):
    (said,) = by_luck(run.trades)
    assert said in page.said
    error = trades_error(run.trades)
    for tries in (10, 100, 1_000, 10_000):
        assert f"of {tries:,} {signed_percent(best_by_luck(error, tries))}" in said
    assert "`lab runs show` says one of how many tries" in said
    assert list(by_luck(EMPTY_RUN.trades)) == []
