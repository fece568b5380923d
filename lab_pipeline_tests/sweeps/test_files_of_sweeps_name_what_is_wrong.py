import json

import pytest

from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.statistics.selection import Minimum, Objective, Walk
from lab_pipeline.sweeps.spec import SweepSpec, read_spec

FILE = """
strategy: ladder
timeframe: 5m
start: 2018-01-10
end: 2018-02-10T00:00:00Z
space:
  exit.stopLoss: {from: 0.05, to: 0.5, n: 10}
search: {method: sobol, sets: 64}
objective: {name: sharpe, min_trades: 5}
validation: {holdout: 0.1, walk_forward: {kind: anchored, train_days: 20}, cscv_blocks: 8}
"""


def written(tmp_path, text, name="sweep.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def problems(tmp_path, text, name="sweep.yaml"):
    with pytest.raises(InvalidConfigError) as caught:
        read_spec(written(tmp_path, text, name))
    return {error.path: error.message for error in caught.value.errors}


def test_yaml_and_json_say_the_same(tmp_path):
    spec = read_spec(written(tmp_path, FILE))
    assert spec == read_spec(written(tmp_path, json.dumps(spec.to_json_dict()), "sweep.json"))
    assert spec == SweepSpec.parse(spec.to_json_dict())
    assert spec.start.isoformat() == "2018-01-10T00:00:00+00:00"
    assert (spec.objective.objective, spec.objective.minimum) == (Objective.SHARPE, Minimum(trades=5))
    assert (spec.validation.validation.walk.kind, spec.validation.validation.walk.train_days) == (Walk.ANCHORED, 20)
    assert spec.validation.validation.cscv_blocks == 8


@pytest.mark.parametrize(
    ("line", "path", "says"),
    [
        ("sets: 3", "sets", "unknown field"),
        ("search: {method: tpe}", "search.method", "'grid', 'random' or 'sobol'"),
        ("search: {sets: 0}", "search.sets", "greater than or equal to 1"),
        ("validation: {holdout: 1}", "validation.holdout", "less than 1"),
        ("validation: {cscv_blocks: 7}", "validation.cscv_blocks", "multiple of 2"),
        ("validation: {walk_forward: {step_days: 5}}", "validation.walk_forward.step_days", "at least test_days"),
        ("{mints: [a], callers: [b]}", "callers", "not both"),
        ("seed: .nan", "seed", "finite"),
    ],
)
def test_every_wrong_field_is_named(tmp_path, line, path, says):
    base = json.dumps({"strategy": "ladder", "timeframe": "5m", "space": {"exit.stopLoss": [0.1]}})
    added = line if line.startswith("{") else f"{{{line}}}"
    text = f"{base[:-1]}, {added[1:]}"
    found = problems(tmp_path, text)
    assert path in found
    assert says in found[path]


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("a: [", "sweep.yaml", "not valid YAML"),
        ("a: [", "sweep.json", "not valid JSON"),
        ("- a", "sweep.yaml", "must be an object"),
        ('{"seed": 1, "seed": 2}', "sweep.json", "more than once"),
        ("a: !!set {b}", "sweep.yaml", "neither text"),
    ],
)
def test_what_is_no_sweep_is_refused(tmp_path, text, name, says):
    (message,) = problems(tmp_path, text, name).values()
    assert says in message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(LabError, match=r"nowhere\.yaml: No such file"):
        read_spec(tmp_path / "nowhere.yaml")
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(LabError, match="no text in UTF-8"):
        read_spec(tmp_path / "odd.yaml")
