"""Generators that others wrote make a client of the OpenAPI document, and it works."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PROGRAMS = Path(sys.executable).parent
SECONDS = 300
CONFIG = {
    "exit": {"targets": [{"multiple": 2.0, "fraction": 0.5}], "stopLoss": 0.3},
    "portfolio": {"sizing": {"kind": "fraction", "fraction": 0.1}},
}
RANGE = {"start": "2018-01-10T00:00:00Z", "end": "2018-01-30T00:00:00Z"}


def run(*command):
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def document(openapi, tmp_path):
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(openapi))
    return path


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """A directory whose packages can be imported."""
    directory = tmp_path / "made"
    directory.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(directory)
    yield directory
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_no_two_schemas_share_a_title_and_no_default_is_an_object(openapi):
    schemas = openapi["components"]["schemas"]
    assert [
        title for title, count in Counter(one.get("title", name) for name, one in schemas.items()).items() if count > 1
    ] == []
    assert [name for name in schemas if not name.isidentifier()] == []
    found = []

    def look(node, path):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            if key == "default" and isinstance(value, dict):
                found.append(path)
            look(value, f"{path}/{key}")

    look(openapi, "")
    assert found == []


def test_openapi_python_client_makes_a_client_of_every_operation_that_works(api, openapi, document, importable):
    target = importable / "project"
    run(
        PROGRAMS / "openapi-python-client", "generate", "--path", document, "--output-path", target, "--meta", "none",
        "--fail-on-warning",
    )  # fmt: skip
    shutil.move(target, importable / "made_client")
    made = importlib.import_module("made_client")
    operations = {
        (operation["tags"][0], operation["operationId"])
        for path in openapi["paths"].values()
        for operation in path.values()
    }
    assert len(operations) == len(list((importable / "made_client" / "api").glob("*/[!_]*.py")))
    client = made.Client(base_url="http://testserver", raise_on_unexpected_status=True).set_httpx_client(api)

    def call(tag, name, **arguments):
        return importlib.import_module(f"made_client.api.{tag}.{name}").sync(client=client, **arguments)

    models = importlib.import_module("made_client.models")
    new = models.NewStrategy.from_dict({"id": "half", "config": CONFIG})
    assert call("strategies", "create_strategy", body=new).version == "1"
    assert [one.id for one in call("strategies", "list_strategies").strategies if one.id == "half"] == ["half"]
    assert call("strategies", "get_strategy", id="half").config.exit_.stop_loss == 0.3
    asked = models.BacktestRequest.from_dict({"strategyId": "half", "timeframe": "1m", "range": RANGE})
    refused = call("backtests", "dry_run", body=asked)
    assert [one.path for one in refused.error.details] == ["timeframe"]  # the lake is empty
    assert isinstance(call("backtests", "create_backtest", body=asked), models.Error)
    swept = models.SweepRequest.from_dict({"strategy": "half", "timeframe": "1m", "space": {"exit.stopLoss": [0.2]}})
    assert [one.path for one in call("sweeps", "create_sweep", body=swept).error.details] == ["timeframe"]
    assert call("sweeps", "list_sweeps", limit=1).sweeps == []
    assert call("sweeps", "list_sets", sweep_id="nothing", filter_=["trades>=1"]).error.code == "not_found"
    status = [models.RunStatus("queued"), models.RunStatus("running")]
    assert call("runs", "list_runs", status=status, limit=1).runs == []


def test_datamodel_code_generator_makes_models_that_read_what_is_sent(api, openapi, document, importable):
    run(
        PROGRAMS / "datamodel-codegen", "--input", document, "--input-file-type", "openapi",
        "--output", importable / "made_models.py", "--output-model-type", "pydantic_v2.BaseModel",
        "--formatters", "builtin",
    )  # fmt: skip
    models = importlib.import_module("made_models")
    assert [name for name in openapi["components"]["schemas"] if not hasattr(models, name)] == []
    api.post("/strategies", json={"id": "half", "config": CONFIG})
    for path, name in (
        ("/strategies", "StrategyPage"),
        ("/strategies/half", "StrategyDetail"),
        ("/runs", "RunPage"),
        ("/sweeps", "SweepPage"),
    ):
        answer = api.get(path).json()
        assert getattr(models, name).model_validate(answer).model_dump(by_alias=True, mode="json")
    assert models.Error.model_validate(api.get("/runs/nothing").json()).error.code == "not_found"
    asked = models.BacktestRequest.model_validate({"strategyId": "half", "timeframe": "1m", "range": RANGE})
    sent = asked.model_dump(by_alias=True, mode="json", exclude_unset=True)
    assert api.post("/backtest/dry-run", json=sent).status_code == 422  # the lake is empty
