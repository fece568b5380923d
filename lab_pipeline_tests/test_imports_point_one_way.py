"""Rooms stand on floors: each imports only from floors below its own."""

import ast
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from lab_pipeline.dagster_ext import internals

PACKAGE = Path(__file__).resolve().parent.parent / "lab_pipeline"
FLOORS = [
    {"__init__"},
    {"cli"},
    {"ui", "api"},
    {"definitions", "components"},
    {"defs"},
    {"operations"},
    {"dagster_ext"},
    {"sweeps"},
    {"backup", "statistics", "clickhouse", "fetch"},
    {"runs"},
    {"lake", "notebook"},
    {"reports", "login"},
    {"storage", "engine", "doors"},
    {"settings", "client"},
    {"files"},
    {"forkserver"},
    {"domain", "home"},
]
"""From the top down, below the names that people import; docs/architecture.md shows the same."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
KNOW_DAGSTER = {"cli", "ui", "api", "components", "definitions", "defs", "operations", "dagster_ext", "storage"}
KNOW_ITS_INTERNALS = {
    "dagster_ext/code_server.py",
    "dagster_ext/daemon/internals.py",
    "dagster_ext/internals.py",
    "dagster_ext/webserver_app.py",
    "storage/internals.py",
}
"""All others import those names from there."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_floors_below(path):
    room = room_of(path)
    for module in imported_modules(path):
        if module == "lab_pipeline.__version__" or not module.startswith("lab_pipeline."):
            continue
        target = module.split(".")[1]
        assert target == room or FLOOR[target] > FLOOR[room], f"{room} must not import {module}"


def test_the_architecture_page_shows_the_floors_and_explains_each_room():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    rows = re.findall(r"(?m)^\| (\d+) \| (.*) \|$", page)
    shown = [set(re.findall(r"`(\w+)`", rooms)) for _, rooms in rows]
    assert shown == [rooms for rooms in FLOORS if rooms != {"__init__"}]
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    explained = re.findall(r"(?m)^\| ((?:`\w+`(?:, )?)+) \| [A-Z]", page)
    assert {room for rooms in explained for room in re.findall(r"`(\w+)`", rooms)} == set.union(*shown)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dagster_and_its_internals_stay_in_their_places(path):
    room, imported = room_of(path), list(imported_modules(path))
    if room not in KNOW_DAGSTER:
        assert not [module for module in imported if module.split(".")[0] == "dagster"]
    if str(path.relative_to(PACKAGE)) not in KNOW_ITS_INTERNALS:
        assert not [module for module in imported if module.startswith("dagster._")]


def test_the_internals_are_those_of_a_version_that_was_seen():
    assert version("dagster").startswith(f"{internals.SEEN_ON}."), "run everything, then note the version"


def test_the_engine_does_no_input_or_output():
    forbidden = {"os", "io", "pathlib", "logging", "time", "datetime", "tempfile", "socket", "subprocess", "random"}
    for path in (PACKAGE / "engine").glob("*.py"):
        assert not forbidden & {module.split(".")[0] for module in imported_modules(path)}, path.name


def test_the_entry_point_stays_short():
    assert len((PACKAGE / "definitions.py").read_text().splitlines()) < 50


def test_no_test_module_imports_another():
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.level or node.module.startswith("lab_pipeline_tests")):
                parts = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
                assert not [part for part in parts if part == "conftest" or part.startswith("test_")], path
