"""`lab sweep show`, `sets`, `compare`, `promote`, `reveal`, `pin`, `delete`, and what the lab says of tries."""

import getpass
import os
import shutil
import time

import pytest


@pytest.fixture
def swept(lab, swept_home):
    shutil.copytree(swept_home, lab.home)
    listed = lab("sweep", "list", "--json").json["sweeps"]
    lab.sweeps = [one["sweep_id"] for one in listed]
    return lab


def test_a_sweep_is_shown_with_what_its_verdict_rests_on(swept):
    told = swept("sweep", "show", swept.sweeps[0][:13], "--top", 2, "--json").json
    assert told["sweepId"] == swept.sweeps[0]
    assert told["selection"]["trials"] == 3
    assert [one["rank"] for one in told["top"]] == [1, 2]
    assert told["tried"] == {"trials": 4, "sweeps": 2, "backtests": 0}  # 0.4 was tried twice
    assert told["holdout"]["seen"] == []
    out = swept("sweep", "show", swept.sweeps[0]).out
    for part in (swept.sweeps[0], "exit.stopLoss=0.2", "probability of overfit", "tried 4 times", "not seen yet"):
        assert part in out
    assert told["verdict"] in out


def test_sets_are_listed_as_they_are_asked_for(swept):
    asked = ("sweep", "sets", swept.sweeps[0], "--sort", "expectancy_lower", "--where", "p.exit.stopLoss >= 0.3")
    rows = swept(*asked, "--json").json["sets"]
    assert {row["p.exit.stopLoss"] for row in rows} == {0.3, 0.4}
    assert rows[0]["expectancy_lower"] >= rows[1]["expectancy_lower"]
    assert swept(*asked, "--ascending", "--json").json["sets"] == rows[::-1]
    assert "exit.stopLoss=0.3" in swept(*asked, "--limit", 1).out + swept(*asked).out
    assert "no set is so" in swept("sweep", "sets", swept.sweeps[0], "--where", "trades < 0").out
    wrong = swept("sweep", "sets", swept.sweeps[0], "--sort", "expectancy_lowr")
    assert (wrong.status, "the nearest is expectancy_lower" in wrong.err) == (2, True)


def test_two_sweeps_are_compared(swept):
    told = swept("sweep", "compare", *swept.sweeps, "--json").json
    assert told["commonSets"] == 1
    assert [side["sweepId"] for side in told["sweeps"]] == swept.sweeps
    for side in told["sweeps"]:
        shared = side["winner"]["p.exit.stopLoss"] == 0.4
        assert (side["winnerInOther"] is not None) == shared
    out = swept("sweep", "compare", *swept.sweeps).out
    assert "1 configurations are in both" in out
    assert "deflated Sharpe ratio" in out


def test_a_set_is_promoted_despite_its_verdict_and_runs_as_a_strategy(swept):
    winner = swept("sweep", "show", swept.sweeps[0], "--json").json["selection"]["winner"]
    refused = swept("sweep", "promote", swept.sweeps[0], winner, "--as", "best")
    assert refused.status == 2
    assert "is not supported" in refused.err
    assert "--despite-verdict" in refused.err
    assert "best" not in swept("strategies", "list").out
    done = swept("sweep", "promote", swept.sweeps[0], winner, "--as", "best", "--despite-verdict", "--json").json
    assert (done["strategyId"], done["strategyVersion"], done["isNew"]) == ("best", "1", True)
    assert f"sweep:{swept.sweeps[0]}" in done["tags"]
    again = swept("sweep", "promote", swept.sweeps[0], winner, "--as", "best", "--despite-verdict")
    assert "strategy best version 1 (which it was already)" in again.out

    run = swept("backtest", "--strategy", "best", "--timeframe", "1m", "--json").json
    assert run["tries"]["trials"] == 5  # the sweeps' four, and this one
    assert run["tries"]["said"].startswith("one of 5 tries on these calls; the best of 5 by luck alone would show +")
    shown = swept("runs", "show", run["runId"], "--json").json
    assert shown["tries"] == run["tries"]
    assert run["tries"]["said"] in swept("runs", "show", run["runId"]).out
    again = swept("backtest", "--strategy", "best", "--timeframe", "1m")
    assert run["tries"]["said"] in again.out  # the same on the same calls is no other try
    assert swept("runs", "delete", run["runId"], "--yes").status == 0
    assert swept("sweep", "show", swept.sweeps[0], "--json").json["tried"] == {"trials": 5, "sweeps": 2, "backtests": 2}


def test_every_look_at_the_holdout_is_counted(swept):
    told = swept("sweep", "reveal", swept.sweeps[0], "--json").json["holdout"]
    assert [look["by"] for look in told["seen"]] == [getpass.getuser()]
    assert told["result"]["sets"][0]["roles"][0] == "winner"
    out = swept("sweep", "reveal", swept.sweeps[0]).out
    assert "seen 2 times, last by" in out
    assert "seen 2 times" in swept("sweep", "show", swept.sweeps[0]).out
    assert "seen 2 times, 2 of them for other sweeps" in swept("sweep", "show", swept.sweeps[1]).out


def test_a_deleted_sweep_is_gone_and_its_tries_are_not(swept):
    first, second = swept.sweeps
    assert "kept for ever" in swept("sweep", "pin", first).out
    assert "pinned" in swept("sweep", "show", first).out
    assert "may go" in swept("sweep", "pin", first, "--off").out
    assert "what it tried still counts" in swept("sweep", "delete", first).out
    assert [one["sweep_id"] for one in swept("sweep", "list", "--json").json["sweeps"]] == [second]
    assert swept("sweep", "show", second, "--json").json["tried"]["trials"] == 4
    missing = swept("sweep", "delete", first)
    assert (missing.status, "unknown sweep" in missing.err) == (2, True)


def test_the_doctor_names_what_is_lost_of_a_sweep(swept):
    assert "2 sweeps, every file there" in swept("doctor").out
    old = swept.home / "sweeps" / ".partial" / "f"
    old.mkdir(parents=True)
    os.utime(old, (time.time() - 9 * 86_400,) * 2)
    assert "1 unfinished ones that nobody has gone on with for 7 days" in swept("doctor").out
    (swept.home / "sweeps" / swept.sweeps[0] / "days.parquet").unlink()
    (swept.home / "sweeps" / swept.sweeps[1] / "manifest.json").unlink()
    out = swept("doctor").out
    assert "days.parquet is lost" in out
    assert f"{swept.sweeps[1]}/manifest.json is lost" in out
    assert "lab sweep delete" in out


def test_a_backup_brings_back_sweeps_their_tries_and_who_has_looked(swept, tmp_path, monkeypatch):
    swept("sweep", "reveal", swept.sweeps[0])
    swept("sweep", "delete", swept.sweeps[1])
    before = swept("sweep", "show", swept.sweeps[0], "--json").json
    assert swept("backup", tmp_path / "backup").status == 0
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "restored"))
    assert swept("restore", tmp_path / "backup").status == 0
    after = swept("sweep", "show", swept.sweeps[0], "--json").json
    del before["artifactsDir"], after["artifactsDir"]
    assert after == before
    assert after["tried"]["trials"] == 4
    assert len(after["holdout"]["seen"]) == 1
