# ruff: noqa: RUF001 - the page's own minus and dash
import pytest

from lab_pipeline.domain.enums import IntrabarPolicy
from lab_pipeline.domain.strategy import Costs
from lab_pipeline.reports import render_report
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.reports.synthetic import CONFIG, IDENTITY, SPEC, made_up_run, replace_summary

UNSHOWN = {
    "ambiguous_candles", "ambiguous_resolved", "ambiguous_unresolved",
    "skipped_max_per_token", "skipped_cooldown", "skipped_pause_after_losses", "skipped_stop_at_drawdown",
}  # fmt: skip
"""Said in a sentence rather than as a figure."""
LUCK = "Not distinguishable from luck"


def rendered(spec=SPEC, **changes) -> Page:
    run = made_up_run(40, 50, 4)
    object.__setattr__(run, "summary", run.summary.model_copy(update=changes))
    return Page(render_report(run, spec, **IDENTITY))


def test_every_number_of_the_headline_is_the_summarys(page, run):
    figures = {attributes["id"]: attributes["value"] for tag, attributes in page.elements if tag == "data"}
    expected = run.summary.model_dump()
    assert figures.keys() == expected.keys() - UNSHOWN
    assert {name: float(value) for name, value in figures.items()} == {name: expected[name] for name in figures}


def test_numbers_are_written_for_people():
    text = rendered(
        total_return=12.3456, expectancy=-0.01234, expectancy_low=-0.2, expectancy_high=0.05, win_rate=0.5, wins=20,
        max_drawdown=0.2, profit_factor=1.5, sharpe=-0.123, sortino=None, calls=12345, avg_hold_minutes=200.0,
        fees_paid=1234567.891, skipped_no_cash=3, skipped_no_slot=4,
    ).text  # fmt: skip
    shown = {
        "total_return": "+1,234.56%", "expectancy": "−1.23%", "expectancy_low": "−20.00%", "expectancy_high": "+5.00%",
        "win_rate": "50.0%", "max_drawdown": "−20.00%", "profit_factor": "1.50", "sharpe": "−0.12", "sortino": "–",
        "calls": "12,345", "avg_hold_minutes": "3 h 20 min", "fees_paid": "1,234,567.89", "skipped_no_slot": "4",
    }  # fmt: skip
    assert {name: text[name] for name in shown} == shown


@pytest.mark.parametrize(
    ("low", "high", "says", "tone"),
    [
        (-0.1, 0.2, LUCK, "down"),
        (0.0, 0.2, LUCK, "down"),
        (0.01, 0.2, "The interval is above zero", "up"),
        (-0.2, -0.1, "The interval is below zero", "down"),
        (None, None, "Trades of one day have no interval", "down"),
    ],
)
def test_the_verdict_follows_the_interval(low, high, says, tone):
    page = rendered(expectancy=0.05, expectancy_low=low, expectancy_high=high)
    assert says in page.said
    assert (says == LUCK) == (LUCK in page.said)
    assert [a["class"] for _, a in page.elements if (a.get("class") or "").startswith("verdict")] == [f"verdict {tone}"]


def test_a_run_without_costs_says_so():
    free = SPEC.model_copy(update={"strategy": CONFIG.model_copy(update={"costs": Costs()})})
    assert "No costs" in rendered(free).said
    assert "No costs" not in rendered(SPEC).said


def test_skipped_trades_are_counted():
    page = rendered(skipped_no_cash=3, skipped_no_slot=4, trades=1040)
    assert "7 of 1,040 trades skipped by the portfolio: 3 for cash, 4 for a slot" in page.said
    assert "skipped by the portfolio" not in rendered(skipped_no_cash=0, skipped_no_slot=0).said


def test_trades_skipped_by_rules_are_counted_by_rule():
    counts = {"skipped_max_per_token": 5, "skipped_cooldown": 6}
    counts |= {"skipped_pause_after_losses": 7, "skipped_stop_at_drawdown": 8}
    said = rendered(skipped_no_cash=0, skipped_no_slot=0, trades=100, **counts).said
    assert (
        "26 of 100 trades skipped by the portfolio: 5 for a token held already, 6 for a token sold just before" in said
    )
    assert "7 in a pause after losses, 8 after the drawdown that ends all buying" in said


def test_ambiguous_candles_say_what_decided_them():
    counts = {"ambiguous_candles": 5, "ambiguous_resolved": 3, "ambiguous_unresolved": 2}
    finer = SPEC.model_copy(
        update={"strategy": CONFIG.model_copy(update={"intrabar": IntrabarPolicy.FINER, "finer_timeframe": "1m"})}
    )
    assert "5 ambiguous candles, decided stop first" in rendered(**counts).said
    assert "5 ambiguous candles, 3 decided by finer candles, 2 taken as stop first" in rendered(finer, **counts).said


def test_trades_whose_candles_ended_are_a_caution():
    assert "2 trades sold at the last price, because the candles ended" in rendered(ended_trades=2).said
    assert "because the candles ended" not in rendered(ended_trades=0).said


def test_few_trades_are_a_caution():
    assert "Only 29 trades" in rendered(trades=29).said
    assert "Only 30 trades" not in rendered(trades=30).said


def test_null_is_a_dash():
    page = rendered(**replace_summary().model_dump())
    assert page.text["sharpe"] == page.text["win_rate"] == page.text["expectancy"] == "–"
    assert next(a["value"] for t, a in page.elements if t == "data" and a["id"] == "sharpe") == ""
