import inspect
import rlcompleter
import subprocess
import sys
from pathlib import Path

import pytest

import lab_pipeline
from lab_pipeline import Client, Lab, Strategy, generate_market, simulate, sweep
from lab_pipeline.notebook.simulation import Result
from lab_pipeline.notebook.sweeping import SweepResult
from lab_pipeline.runs.published import PublishedRun
from lab_pipeline.sweeps.published import PublishedSweep

HEAVY = ("polars", "numpy", "numba", "pydantic", "dagster", "jinja2", "httpx")
NAMES = ("Client", "Lab", "Strategy", "generate_market", "simulate", "sweep")
SCRIPT = "import sys, lab_pipeline; print(dir(lab_pipeline)); print([one for one in {heavy} if one in sys.modules])"


def test_the_package_costs_nothing_to_import_and_lists_its_names():
    command = [sys.executable, "-c", SCRIPT.format(heavy=HEAVY)]
    names, heavy = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert heavy == "[]"
    for name in NAMES:
        assert repr(name) in names


def test_a_lab_and_a_strategy_load_no_engine():
    script = "import sys; from lab_pipeline import Lab, Strategy; print([one for one in {heavy} if one in sys.modules])"
    command = [sys.executable, "-c", script.format(heavy=HEAVY)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "['pydantic']"


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match="no attribute 'simluate'"):
        _ = lab_pipeline.simluate


def test_the_package_says_that_it_is_typed():
    assert (Path(lab_pipeline.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("function", [simulate, sweep, generate_market, Client.backtest, Lab.run, Lab.sweep])
def test_every_parameter_and_result_has_a_type(function):
    signature = inspect.signature(function)
    given = [one for one in signature.parameters.values() if one.name != "self"]
    assert all(one.annotation is not one.empty for one in given)
    assert signature.return_annotation is not signature.empty
    assert inspect.getdoc(function)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Lab, ("run(", "runs", "sweep(", "strategies", "lake")),
        (Result, ("plot(", "sheet(", "title")),
        (PublishedRun, ("plot(", "sheet(", "trades", "equity", "summary")),
        (SweepResult, ("best(", "plot(", "ranked(", "day_cells(")),
        (PublishedSweep, ("best(", "plot(", "sheet(", "sets", "table(")),
        (Strategy, ("parse(", "config_hash(")),
    ],
)
def test_completion_finds_what_there_is(kind, names):
    completer = rlcompleter.Completer({"it": kind})
    found = [completer.complete("it.", number) for number in range(500)]
    for name in names:
        assert any(one and one.removeprefix("it.").startswith(name) for one in found), name
