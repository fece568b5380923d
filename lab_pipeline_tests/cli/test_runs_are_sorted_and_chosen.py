"""`lab runs list` by any number of the summary."""

import pytest


def listed(lab, *words):
    ended = lab("runs", "list", *words, "--json")
    assert ended.status == 0, ended.err
    return [run["strategyId"] for run in ended.json["runs"]]


@pytest.mark.parametrize("name", ["total_return", "totalReturn", "expectancy", "avgHoldMinutes"])
def test_by_a_number_the_largest_first(backtested, name):
    camel = "".join(part.title() if number else part for number, part in enumerate(name.split("_")))
    values = {strategy: run["summary"][camel] for strategy, run in backtested.runs.items()}
    ranked = sorted(values, key=values.get, reverse=True)
    assert len(set(values.values())) == 2
    assert listed(backtested, "--sort", name) == ranked
    assert listed(backtested, "--sort", name, "--ascending") == ranked[::-1]
    assert listed(backtested, "--sort", name, "--limit", "1") == ranked[:1]


def test_only_runs_of_which_every_condition_holds(backtested):
    summary = backtested.runs["ladder"]["summary"]
    assert set(listed(backtested, "--where", "trades > 0")) == {"ladder", "trend-rider"}
    assert listed(backtested, "--where", "strategy = ladder") == ["ladder"]
    assert listed(backtested, "--where", f"expectancy = {summary['expectancy']!r}") == ["ladder"]
    assert listed(backtested, "--where", "trades>0", "--where", "status=failed") == []
    assert listed(backtested, "--where", "profit_factor = null", "--where", "version != 1") == []


def test_what_was_asked_about_is_shown(backtested):
    shown = backtested("runs", "list", "--sort", "max_drawdown", "--where", "feesPaid >= 0").out
    assert "max drawdown" in shown
    assert "fees paid" in shown
    assert backtested("runs", "list", "--where", "trades > 1000000").out == "no run is so\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sort", "sharp"), "--sort: no column 'sharp'; the nearest is sharpe"),
        (("--where", "trade > 1"), "the nearest is trades"),
        (("--where", "trades > many"), "'many' is no number"),
        (
            ("--where", "__import__('os').system('touch pwned')"),
            "is no condition: write a comparison such as trades>100",
        ),
        (("--ascending",), "--ascending goes with --sort"),
    ],
)
def test_what_cannot_be_asked_is_one_clear_message(backtested, words, said):
    ended = backtested("runs", "list", *words)
    assert ended.status == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
