"""Every setting, command and option occurs in the README, and what it says of them is true."""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
import typer.main

from lab_pipeline.api.schemas.health import Checks, Health
from lab_pipeline.cli.app import app
from lab_pipeline.cli.commands import COMMANDS as CATALOGUE
from lab_pipeline.dagster_ext.sensor_causes import WAITS_FOR
from lab_pipeline.definitions import defs
from lab_pipeline.defs.operations.sensors import FAILING
from lab_pipeline.domain.strategy import Strategy, StrategyConfig
from lab_pipeline.operations.disk_usage import disk_use
from lab_pipeline.runs.strategies import example_strategies
from lab_pipeline.settings import PREFIX, Settings

for listed in CATALOGUE.values():
    for module in listed.modules:
        import_module(f"lab_pipeline.cli.{module}")  # adds its commands
REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text()
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()


def commands(group, words=("lab",)):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(name):
    assert f"| `{PREFIX}{name.upper()}` |" in README


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_documented_and_explains_itself(command):
    assert f"`{command}" in README
    assert COMMANDS[command].help


@pytest.mark.parametrize("option", [opt for param in COMMANDS["lab backtest"].params for opt in param.opts])
def test_every_option_of_a_backtest_is_documented(option):
    assert option in README


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_occurs_in_the_page_on_operations(name):
    assert f"`{PREFIX}{name.upper()}`" in OPERATIONS


PACKAGE = REPOSITORY / "lab_pipeline"
SOURCES = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def found(pattern, *directories):
    """Find what the groups of a pattern match in the package, or in some of its directories and files."""
    roots = [PACKAGE / name for name in directories] or [PACKAGE]
    texts = [text for path, text in SOURCES.items() if any(path.is_relative_to(root) for root in roots)]
    return sorted({match for text in texts for match in re.findall(pattern, text)})


AUTOMATION = defs().get_repository_def()
DOCTOR = found(r'(?:Finding|_port)\(\s*"([^"]+)"', "cli/health.py")
ERRORS = found(r"(?m)^class ([A-Z]\w*Error)\(")
TAGS = [tag for tag in found(r'"(lab/[a-z_]+)"', "defs") if tag not in {FAILING, WAITS_FOR}]


@pytest.mark.parametrize("name", [one.name for one in (*AUTOMATION.schedule_defs, *AUTOMATION.sensor_defs)])
def test_every_schedule_and_sensor_occurs_in_the_page_on_operations(name):
    assert f"`{name}`" in OPERATIONS


@pytest.mark.parametrize("part", DOCTOR)
def test_every_check_of_the_doctor_occurs_in_the_page_on_operations(part):
    assert f"`{part}`" in OPERATIONS


@pytest.mark.parametrize("field", [*Health.model_fields, *Checks.model_fields])
def test_every_field_of_the_health_occurs_in_the_page_on_operations(field):
    assert f"`{field}`" in OPERATIONS.partition("`GET /api/health`")[2].partition("\n\n")[0]


@pytest.mark.parametrize("error", ERRORS)
def test_every_kind_of_error_occurs_in_the_page_on_operations(error):
    assert f"`{error}`" in OPERATIONS.partition("## Kinds of errors")[2]


@pytest.mark.parametrize("area", disk_use(Settings(home=Path("/nowhere"))))
def test_every_area_of_the_home_occurs_in_the_page_on_operations(area):
    assert f"`{area}`" in OPERATIONS.partition("## Metrics")[2]


@pytest.mark.parametrize("figure", found(r'(?m)^            "([a-z ]+)": ', "defs/operations/assets.py"))
def test_every_figure_of_the_retention_occurs_in_the_page_on_operations(figure):
    assert f"`{figure}`" in OPERATIONS.partition("## Metrics")[2]


@pytest.mark.parametrize("figure", found(r'(?m)^        "([a-z ]+)": dg', "defs/statistics/metadata.py"))
def test_every_figure_of_the_statistics_occurs_in_the_page_on_operations(figure):
    assert f"`{figure}`" in OPERATIONS.partition("## Metrics")[2]


@pytest.mark.parametrize("tag", TAGS)
def test_every_tag_of_a_run_occurs_in_the_page_on_operations(tag):
    assert f"`{tag}`" in OPERATIONS.partition("| tag of a run |")[2]


def test_what_is_looked_for_in_the_page_on_operations_was_found():
    assert {"home", "log shipper", "HTTP API"} <= set(DOCTOR)
    assert {"LabError", "StorageTimeoutError", "UnavailableError"} <= set(ERRORS)
    assert {"lab/strategy", "lab/pinned"} <= set(TAGS)


def test_the_explained_strategy_is_the_one_that_ships():
    block = next(text for text in re.findall(r"```json\n(.*?)```", README, re.DOTALL) if '"ladder"' in text)
    shipped = next(strategy for strategy in example_strategies() if strategy.id == "ladder")
    assert Strategy.parse(json.loads(block)).config == shipped.config


@pytest.mark.parametrize("block", sorted(field.alias or name for name, field in StrategyConfig.model_fields.items()))
def test_every_block_of_a_strategy_is_documented(block):
    assert f"| `{block}` |" in README


def test_no_machine_is_named_in_tracked_text():
    home = str(Path.home())
    for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "Makefile"]:
        assert str(REPOSITORY) not in path.read_text()
        assert home == "/" or home not in path.read_text()
