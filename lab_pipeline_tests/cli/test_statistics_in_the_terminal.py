import pytest


@pytest.fixture
def ran(backtested):
    """The command line on a home with two completed backtests, and the summary of each by strategy."""
    return backtested, {strategy: run["summary"] for strategy, run in backtested.runs.items()}


def test_before_anything_was_computed_it_says_how(stocked):
    ended = stocked("statistics")
    assert ended.status != 0
    assert "`lab statistics --refresh`" in ended.err


def test_totals_and_groups_are_those_of_the_runs(ran):
    lab, summaries = ran
    answer = lab("statistics", "--refresh", "--json").json
    overview, groups = answer["overview"], {row["key"]: row for row in answer["pnl"]["strategy"]}
    assert overview["totalTrades"] == sum(one["trades"] for one in summaries.values()) > 0
    assert overview["totalWins"] == sum(one["wins"] for one in summaries.values())
    assert overview["runsByStatus"] == {"completed": 2}
    for strategy, summary in summaries.items():
        assert groups[strategy]["tradeCount"] == summary["trades"]
        assert groups[strategy]["avgPnl"] == pytest.approx(summary["expectancy"])
    assert sum(row["totalPnl"] for row in groups.values()) == pytest.approx(overview["totalPnl"])
    assert sum(bucket["count"] for bucket in answer["distributions"]["pnl"]) == overview["totalTrades"]


def test_tables_show_the_same_numbers(ran):
    lab, summaries = ran
    assert lab("statistics", "--refresh").status == 0
    shown = lab("statistics", "--by", "strategy").out
    assert "ladder" in shown
    assert "trend-rider" in shown
    assert str(sum(one["trades"] for one in summaries.values())) in shown
    assert "computed at 2" in shown


def test_a_period_without_trades_is_empty_not_an_error(ran):
    lab, _ = ran
    ended = lab("statistics", "--refresh", "--from", "2030-01-01", "--json")
    assert ended.status == 0
    assert (ended.json["overview"]["totalTrades"], ended.json["overview"]["winRate"]) == (0, None)


def test_the_better_run_leads(ran):
    lab, summaries = ran
    lab("statistics", "--refresh")
    ranked = lab("leaderboard", "--metric", "pnl", "--json").json["leaderboard"]
    assert [row["rank"] for row in ranked] == [1, 2]
    assert [row["totalReturn"] for row in ranked] == sorted(
        (one["totalReturn"] for one in summaries.values()), reverse=True
    )
    table = lab("leaderboard", "callers").out
    assert "ann" in table
    only = lab("leaderboard", "--strategy", "ladder", "--json").json["leaderboard"]
    assert [row["strategyId"] for row in only] == ["ladder"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("statistics", "--bins", "many"), "bins"),
        (("statistics", "--from", "yesterday"), "yesterday"),
        (("statistics", "--from", "2024-02-01", "--to", "2024-01-01"), "after"),
        (("leaderboard", "--window", "soon"), "window"),
        (("leaderboard", "--metric", "luck"), "luck"),
        (("leaderboard", "tokens"), "tokens"),
    ],
)
def test_what_cannot_be_asked_is_named_in_one_message(stocked, words, named):
    ended = stocked(*words)
    assert ended.status == 2
    assert named in ended.err
    assert "Traceback" not in ended.err
