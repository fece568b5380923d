"""The rooms and who may import whom: outer rooms import inner ones, never the other way."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lab_pipeline"
OUTER = {"defs", "api", "ui", "cli", "daemon"}
MIDDLE = {"backup", "runs", "statistics", "clickhouse", "storage", "lake", "reports"}
MAY_IMPORT = {
    "domain": set(),
    "engine": {"domain"},
    "home": set(),
    "settings": {"domain", "home"},
    "doors": {"domain", "settings"},
    "forkserver": set(),
    **{room: {"domain", "engine", "settings", "doors"} | MIDDLE for room in MIDDLE},
    **{
        room: {"domain", "engine", "settings", "doors", "definitions", "execution", "forkserver", "home"}
        | MIDDLE
        | OUTER
        for room in OUTER
    },
    "execution": set(),
    "definitions": {"defs"},
    "client": {"domain"},
    "__init__": set(),
}
DAGSTER_ROOMS = {"defs", "daemon", "api", "ui", "cli", "storage", "execution", "definitions"}


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_rooms_further_in(path):
    room = room_of(path)
    for module in imported_modules(path):
        if module == "lab_pipeline.__version__" or not module.startswith("lab_pipeline."):
            continue
        target = module.split(".")[1]
        assert target == room or target in MAY_IMPORT[room], f"{room} must not import {module}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_outer_rooms_know_dagster(path):
    if room_of(path) not in DAGSTER_ROOMS:
        assert not [module for module in imported_modules(path) if module.split(".")[0] == "dagster"]


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
