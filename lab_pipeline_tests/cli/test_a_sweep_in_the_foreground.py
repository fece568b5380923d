import json
import re

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.settings import load_settings

REQUEST = {
    "strategy": "ladder",
    "timeframe": "1m",
    "space": {"exit.stopLoss": [0.2, 0.3, 0.4]},
    "objective": {"name": "expectancy", "min_trades": 1, "min_days": 1, "min_callers": 1},
    "validation": {"holdout": 0, "placebo": 2},
}


def written(files, **changes):
    path = files / "sweep.json"
    path.write_text(json.dumps({**REQUEST, **changes}))
    return path


def test_a_sweep_prints_its_best_sets_and_the_verdict(stocked, files):
    ended = stocked("sweep", "run", written(files))
    assert ended.status == 0
    (manifest,) = (stocked.home / "sweeps").glob("*/manifest.json")
    selection = json.loads((manifest.parent / "selection.json").read_bytes())
    sets = pl.read_parquet(manifest.parent / "sets.parquet").filter(pl.col("rank").is_not_null()).sort("rank")
    assert [line.split() for line in ended.out.splitlines()[1:4]] == [
        [
            f"{row['set_id']}",
            f"{row['trades']}",
            f"{row['days']}",
            f"{row['win_rate']:.1%}",
            f"{row['expectancy']:+.2%}",
            f"{row['objective']:+.2%}",
        ]
        for row in sets.iter_rows(named=True)
    ]
    assert f"best: set {selection['winner']}" in ended.out
    assert "3 sets by grid" in ended.out
    for part in selection["parts"]:
        assert part["title"] in ended.out
    assert f"sweep {manifest.parent.name}" in ended.out
    assert f"report {manifest.parent / 'report.html'}" in ended.out


def test_the_verdict_comes_last_in_sentences_that_fit_the_terminal(stocked, files, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = stocked("sweep", "run", written(files)).out
    paths = [line for line in out.splitlines() if line.startswith("report ")]
    assert max(len(line.rstrip()) for line in out.splitlines() if line not in paths) <= 80
    words = " ".join(out.partition(paths[0])[2].split())
    assert re.match(r"Not supported\. Set \d is the rule one would use: the best of 3 tries, returned [+-]", words)
    (directory,) = (stocked.home / "sweeps").glob("*/selection.json")
    selection = json.loads(directory.read_bytes())
    assert words.count(" - ") == len(selection["failed"]) + len(selection["unsaid"])
    for part in selection["parts"]:
        if not part["passed"]:
            assert f"- {part['title'][0].upper()}{part['title'][1:]}" in words
            assert (part["unsaid"] or part["doubt"]) in words


def test_where_no_set_may_win_the_verdict_says_what_to_do(stocked, files):
    objective = {"min_trades": 10_000, "min_days": 1, "min_callers": 1}
    ended = stocked("sweep", "run", written(files, objective=objective))
    assert ended.status == 0
    assert ended.out.rstrip().endswith(
        "Not supported: no set has enough trades, days and callers to win. Sweep more\ncalls, or ask for less."
    )


def test_a_sweep_in_json_is_what_was_published_and_is_listed(stocked, files):
    told = stocked("sweep", "run", written(files), "--json").json
    (listed,) = stocked("sweep", "list", "--json").json["sweeps"]
    assert listed["sweep_id"] == told["sweepId"]
    assert listed["verdict"] == told["selection"]["verdict"]
    assert told["selection"]["trials"] == 3
    assert told["sweepId"] in stocked("sweep", "list").out


def test_a_wrong_file_is_one_clear_message(stocked, files):
    ended = stocked("sweep", "run", written(files, space={"exit.stopLos": [0.2]}))
    assert ended.status == 2
    assert "the nearest is exit.stopLoss" in ended.err
    assert not (stocked.home / "sweeps").exists()


def recorded(status):
    """Record the run of a sweep in a status, and return its id."""
    config = {"ops": {"search": {"config": REQUEST}}}
    with open_instance(load_settings()) as instance:
        return instance.add_run(dg.DagsterRun("sweep", run_config=config, status=status)).run_id


def test_a_queued_sweep_needs_the_webserver_and_is_checked_before(stocked, files, monkeypatch):
    monkeypatch.setenv("LAB_DAGSTER_URL", "http://127.0.0.1:9")
    wrong = stocked("sweep", "run", written(files, space={"exit.stopLos": [0.2]}), "--queue")
    assert "the nearest is exit.stopLoss" in wrong.err
    refused = stocked("sweep", "run", written(files), "--queue")
    assert refused.status != 0
    assert "`lab up` starts it" in refused.err


def test_a_waiting_sweep_is_canceled_and_resumed_once_it_is_done(stocked, monkeypatch):
    monkeypatch.setenv("LAB_DAGSTER_URL", "http://127.0.0.1:9")
    sweep_id = recorded(dg.DagsterRunStatus.NOT_STARTED)
    early = stocked("sweep", "resume", sweep_id)
    assert "only one that has failed or was canceled is resumed" in early.err
    ended = stocked("sweep", "cancel", sweep_id[:8])
    assert (ended.status, ended.out) == (0, f"canceling sweep {sweep_id}\n")
    assert "there is nothing to cancel" in stocked("sweep", "cancel", sweep_id).err
    assert "`lab up` starts it" in stocked("sweep", "resume", sweep_id).err
    done = recorded(dg.DagsterRunStatus.SUCCESS)
    assert "is completed: only one that" in stocked("sweep", "resume", done).err


def test_an_unknown_sweep_is_said_to_be_unknown(stocked):
    ended = stocked("sweep", "cancel", "nothing")
    assert ended.status != 0
    assert "no run of Dagster is a sweep 'nothing'" in ended.err
