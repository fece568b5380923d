import json

import dagster as dg

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
    assert "exit.stopLoss=0.2" in ended.out
    assert "3 sets by grid" in ended.out
    assert "not supported: " in ended.out
    (directory,) = (stocked.home / "sweeps").glob("*/manifest.json")
    assert directory.parent.name in ended.out


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
