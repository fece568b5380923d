import pytest


def test_rules_of_backtests_share_the_capital(backtested):
    ids = [run["runId"] for run in backtested.runs.values()]
    told = backtested("sweep", "allocate", *ids, "--json").json
    assert len(told["members"]) == 2
    assert any(one.startswith("ladder v1 ") for one in told["members"])
    assert [one["method"] for one in told["methods"]] == ["equal", "inverse_variance", "kelly"]
    assert all(0 <= sum(one["shares"].values()) <= 1 + 1e-9 for one in told["methods"])
    shown = backtested("sweep", "allocate", *(one[:8] for one in ids)).out
    assert all(one in shown for one in told["members"])
    assert "kelly: no day was tested, over 0 days that did not make the shares" in shown


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--callers",), "no caller with ten days of trades"),
        (("--fraction", "2"), "at most 1"),
        (("nobody",), "unknown run 'nobody'"),
    ],
)
def test_what_cannot_be_shared_is_one_clear_message(backtested, options, says):
    ended = backtested("sweep", "allocate", backtested.runs["ladder"]["runId"], *options)
    assert ended.status != 0
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_callers_share_under_one_rule_and_a_run_counts_once(backtested):
    one, other = (run["runId"] for run in backtested.runs.values())
    assert "name one run" in backtested("sweep", "allocate", one, other, "--callers").err
    assert "named twice" in backtested("sweep", "allocate", one, one).err
