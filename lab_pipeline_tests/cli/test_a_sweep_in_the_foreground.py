import json

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
