"""`lab sweep run` without a file, on top of one, dry, and interrupted."""

import json
import os
import re
import signal

import pytest

from lab_pipeline.cli.sweep_request import mention_rule, request_of
from lab_pipeline.domain.errors import LabError
from lab_pipeline.sweeps import running
from lab_pipeline.sweeps.trials import TrialFiles

REQUEST = {
    "strategy": "ladder",
    "timeframe": "1m",
    "space": {"exit.stopLoss": [0.2, 0.3, 0.4]},
    "objective": {"name": "expectancy", "min_trades": 1, "min_days": 1, "min_callers": 1},
    "validation": {"holdout": 0, "placebo": 2},
}
HERE = ("--strategy", "ladder", "--timeframe", "1m", "--placebos", "0", "--holdout", "0")
OPTIONS = (*HERE, "--param", "exit.stopLoss=0.2,0.3")


def written(files, **changes):
    path = files / "sweep.json"
    path.write_text(json.dumps({**REQUEST, **changes}))
    return path


def asked(*params, file=None, **given):
    return request_of(file, given, params, {}, {})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.05..0.5:10", {"from": 0.05, "to": 0.5, "n": 10}),
        ("1..100:5:log", {"from": 1, "to": 100, "n": 5, "scale": "log"}),
        ("0.05..0.5", {"from": 0.05, "to": 0.5}),
        ("-1..2:log", {"from": -1, "to": 2, "scale": "log"}),
        ("0.1,0.2", [0.1, 0.2]),
        ("0.1", [0.1]),
        ("null, 60", [None, 60]),
        ("conservative,optimistic", ["conservative", "optimistic"]),
        ('null,{"activation": 1.2, "distance": 0.15}', [None, {"activation": 1.2, "distance": 0.15}]),
        ('{"from": 1, "to": 9, "step": 2}', {"from": 1, "to": 9, "step": 2}),
        ("[1, 2]", [1, 2]),
    ],
)
def test_values_are_written_short_or_as_in_a_file(text, values):
    assert asked(f"exit.stopLoss={text}")["space"] == {"exit.stopLoss": values}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (["exit.stopLoss"], "write PATH=VALUES, such as exit.stopLoss=0.05..0.5:10"),
        (["exit.stopLoss="], "write PATH=VALUES"),
        (["exit.stopLoss=0.1..x:3"], "write a range as FROM..TO:N, or FROM..TO:N:log"),
        (["exit.stopLoss=0.1..0.2:ten"], "write a range as"),
        (["exit.stopLoss=0.1..0.2:log:3"], "write a range as"),
        (["exit.stopLoss=0.1", "exit.stopLoss=0.2"], "exit.stopLoss is given twice"),
    ],
)
def test_values_that_cannot_be_read_are_named(params, says):
    with pytest.raises(LabError, match=says):
        asked(*params)


def test_a_rule_of_first_mentions_is_written_in_one_word():
    assert mention_rule("token:7") == {"by": "token", "window_days": 7}
    assert mention_rule("caller_token:0.5") == {"by": "caller_token", "window_days": 0.5}
    with pytest.raises(LabError, match="--first-mention token: write token:DAYS or caller_token:DAYS"):
        mention_rule("token")


def test_options_come_before_what_the_file_says(files):
    path = written(files, callers=["alice"], search={"sets": 7})
    request = request_of(
        path,
        {"timeframe": "5m", "seed": None, "mints": ["x"]},
        ["exit.maxHoldMinutes=5,6"],
        {"method": "tpe", "sets": None},
        {"placebo": 0},
    )
    assert request == {
        **REQUEST,
        "timeframe": "5m",
        "mints": ["x"],
        "space": {"exit.stopLoss": [0.2, 0.3, 0.4], "exit.maxHoldMinutes": [5, 6]},
        "search": {"sets": 7, "method": "tpe"},
        "validation": {"holdout": 0, "placebo": 0},
    }


def test_a_sweep_needs_no_file(stocked):
    ended = stocked("sweep", "run", *OPTIONS)
    assert ended.status == 0
    assert "2 sets by grid" in ended.out
    (told,) = stocked("sweep", "list", "--json").json["sweeps"]
    assert told["spec"]["space"] == {"exit.stopLoss": [0.2, 0.3]}


def test_what_few_days_cannot_say_is_named_before_and_in_the_result(stocked):
    ended = stocked("sweep", "run", *OPTIONS)
    for part in ("deflated Sharpe ratio", "probability of overfitting", "superior ability, p"):
        assert f"{part} will not be said: it needs" in ended.err
    few = "objective.min_days is 10, there are 1, objective.min_callers is 3, there are 2"
    assert f"winner will not be said: no set can win: {few}" in ended.err
    assert "placebo, p will not be said: validation.placebo is 0" in ended.err
    assert "Not supported: no set has enough trades, days and callers" in ended.out


def test_a_dry_run_says_what_would_be_done_and_does_nothing(stocked, monkeypatch):
    monkeypatch.setattr(running, "run_resolved", None)
    words = ("sweep", "run", *OPTIONS, "--param", "entry.delayMinutes=0,1", "--dry-run")
    ended = stocked(*words)
    assert ended.status == 0
    for said in ("4 by grid, of 4 asked for", "entries   2, each of which", "not said", "LAB_SWEEP_MEMORY"):
        assert said in ended.out
    told = stocked(*words, "--json").json
    assert (told["sets"], told["entry_groups"], told["placebos"], told["method"]) == (4, 2, 0, "grid")
    assert told["memory"] < told["memory_allowed"] == 2_000_000_000
    assert set(told["unsaid"]) >= {"winner", "deflated Sharpe ratio"}
    assert not (stocked.home / "sweeps").exists()


def test_a_dry_run_says_which_calls_are_left_out(stocked):
    words = ("sweep", "run", *OPTIONS, "--first-mention", "token:7", "--without-faults", "spike,unit", "--dry-run")
    assert re.search(r"left out +1 repeats\b", stocked(*words).out)
    told = stocked(*words, "--json").json
    assert (told["calls"], told["repeats"], told["faulty"]) == (2, 1, 0)
    ended = stocked("sweep", "run", *OPTIONS, "--without-faults", "ugly", "--dry-run")
    assert (ended.status, "without_faults[0]" in ended.err) == (2, True)


def test_a_dry_run_counts_what_an_optimiser_would_propose(stocked):
    told = stocked("sweep", "run", *OPTIONS, "--search", "tpe", "--sets", 500, "--dry-run", "--json").json
    assert (told["proposed"], told["asked"], told["sets"], told["duplicates"]) == (500, 64, 2, 62)
    out = stocked("sweep", "run", *OPTIONS, "--search", "tpe", "--sets", 500, "--dry-run").out
    assert "500 to be proposed by tpe; of the first 64: 62 twice" in out


def test_an_interrupted_search_says_so_in_one_sentence_and_goes_on(stocked, monkeypatch):
    words = ("sweep", "run", *HERE, "--param", "exit.stopLoss=0.1..0.5", "--search", "tpe", "--sets", "128")
    write = TrialFiles.write

    def interrupted(files, first, trials):
        write(files, first, trials)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TrialFiles, "write", interrupted)
        ended = stocked(*words)
    assert ended.status == 130
    assert ended.err.splitlines()[-1] == (
        "canceled, nothing was published; the sets that were evaluated are kept, and the same command goes on from them"
    )
    assert [path.name for path in (stocked.home / "sweeps").glob("*")] == [".partial"]
    made = []
    monkeypatch.setattr(TrialFiles, "write", lambda *given: made.append(given[1]) or write(*given))
    assert stocked(*words).status == 0
    assert made == [64]
    assert list((stocked.home / "sweeps" / ".partial").iterdir()) == []


def test_an_interrupted_sweep_leaves_nothing(stocked, files, monkeypatch):
    monkeypatch.setattr(running, "evaluate", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    ended = stocked("sweep", "run", written(files))
    assert ended.status == 130
    assert ended.err.splitlines()[-1] == "canceled, nothing was published"
    assert not (stocked.home / "sweeps").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--timeframe", "1m", "--param", "exit.stopLoss=0.1"), "strategy: missing"),
        (("--strategy", "ladder", "--timeframe", "1m"), "no parameter to vary: name a path and its values"),
        (("--strategy", "ladder", "--timeframe", "1m", "--param", "exit.stopLos=0.1"), "the nearest is exit.stopLoss"),
        (("--strategy", "laddr", "--timeframe", "1m", "--param", "exit.stopLoss=0.1"), "laddr"),
        ((*OPTIONS, "--param", "exit.maxHoldMinutes=5..1:3"), "exit.maxHoldMinutes: goes nowhere: from 5 to 1"),
        ((*OPTIONS, "--search", "best"), "search.method: input should be 'grid'"),
        (
            (*OPTIONS, "--param", "entry.delayMinutes=0..1000:1001"),
            "LAB_SWEEP_MEMORY allows 0.001 GB: cut the sets from 2,002 to ",
        ),
    ],
)
def test_a_users_mistake_is_one_clear_message(stocked, monkeypatch, words, says):
    monkeypatch.setenv("LAB_SWEEP_MEMORY", "1000000")
    ended = stocked("sweep", "run", *words)
    assert ended.status == 2
    assert says in ended.err
    assert not (stocked.home / "sweeps").exists()


def test_gc_removes_what_nobody_went_on_with_for_a_week(stocked):
    kept = stocked.home / "sweeps" / ".partial" / "abc"
    kept.mkdir(parents=True)
    (kept / "part-00000.parquet").write_bytes(b"1234")
    assert stocked("gc", "--json").json["leftoverBytes"] == 0
    for path in (kept / "part-00000.parquet", kept):
        os.utime(path, (0, 0))
    assert stocked("gc", "--dry-run", "--json").json["leftoverBytes"] == 4
    assert kept.exists()
    assert stocked("gc", "--json").json["leftoverBytes"] == 4
    assert not kept.exists()
