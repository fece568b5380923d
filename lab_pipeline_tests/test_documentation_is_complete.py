"""Every setting, command, option, sensor, error, figure and tag has its place in docs/, and is described truly."""

import json
import re
from pathlib import Path

import pytest

from lab_pipeline.api.schemas.health import Checks, Health
from lab_pipeline.dagster_ext.sensor_causes import WAITS_FOR
from lab_pipeline.definitions import defs
from lab_pipeline.defs.operations.sensors import FAILING
from lab_pipeline.domain.strategy import Strategy, StrategyConfig
from lab_pipeline.operations.disk_usage import disk_use
from lab_pipeline.runs.strategies import example_strategies
from lab_pipeline.settings import PREFIX, Settings
from lab_pipeline_tests.support import pictures, reference

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = {path.stem: path.read_text() for path in (REPOSITORY / "docs").glob("*.md")}
GENERATED = {"cli", "settings"}
GUIDES = "\n".join(text for name, text in PAGES.items() if name not in GENERATED)
AUTOMATION, ERRORS, MONITORING, STRATEGIES = (
    PAGES[name] for name in ("automation", "errors", "monitoring", "strategies")
)
METRICS = MONITORING.partition("## Metrics")[2]
COMMANDS = {" ".join(words): command for words, command in reference.commands()}
MOST_LINES = 110
TAGGING = ("defs", "operations", "dagster_ext", "runs")
"""Rooms that tag runs."""


def test_the_reference_of_the_command_line_is_what_the_code_says():
    assert PAGES["cli"] == reference.command_line_page(), "run `make docs`"


def test_the_reference_of_settings_is_what_the_code_says():
    assert PAGES["settings"] == reference.settings_page(), "run `make docs`"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(name):
    assert f"| `{PREFIX}{name.upper()}` |" in PAGES["settings"]
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_documented_and_explains_itself(command):
    assert f"## `{command}`" in PAGES["cli"]
    assert COMMANDS[command].help


@pytest.mark.parametrize("option", [opt for param in COMMANDS["lab backtest"].params for opt in param.opts])
def test_every_option_of_a_backtest_is_documented(option):
    assert option in PAGES["cli"].partition("## `lab backtest`")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_explained_in_a_guide(name):
    assert f"`{PREFIX}{name.upper()}`" in GUIDES


def test_the_readme_is_no_reference():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= MOST_LINES


PACKAGE = REPOSITORY / "lab_pipeline"
SOURCES = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def found(pattern, *directories):
    """Find what the groups of a pattern match in the package, or in some of its directories and files."""
    roots = [PACKAGE / name for name in directories] or [PACKAGE]
    texts = [text for path, text in SOURCES.items() if any(path.is_relative_to(root) for root in roots)]
    return sorted({match for text in texts for match in re.findall(pattern, text)})


DEFINED = defs().get_repository_def()
DOCTOR = found(r'(?:Finding|_port)\(\s*"([^"]+)"', "cli/health.py")
KINDS = found(r"(?m)^class ([A-Z]\w*Error)\(")
TAGS = [tag for tag in found(r'"(lab/[a-z_]+)"', *TAGGING) if tag not in {FAILING, WAITS_FOR}]


@pytest.mark.parametrize("name", [one.name for one in (*DEFINED.schedule_defs, *DEFINED.sensor_defs)])
def test_every_schedule_and_sensor_occurs_in_the_page_on_automation(name):
    assert f"| `{name}` |" in AUTOMATION


@pytest.mark.parametrize("part", DOCTOR)
def test_every_check_of_the_doctor_occurs_in_the_page_on_monitoring(part):
    assert f"`{part}`" in MONITORING.partition("## The doctor")[2].partition("\n## ")[0]


@pytest.mark.parametrize("field", [*Health.model_fields, *Checks.model_fields])
def test_every_field_of_the_health_occurs_in_the_page_on_monitoring(field):
    assert f"`{field}`" in MONITORING.partition("`GET /api/health`")[2].partition("\n\n")[0]


@pytest.mark.parametrize("error", KINDS)
def test_every_kind_of_error_occurs_in_the_page_on_errors(error):
    assert f"`{error}`" in ERRORS


def test_no_error_is_explained_that_there_is_not():
    assert set(re.findall(r"`([A-Z]\w*Error)`", ERRORS)) <= set(KINDS)


@pytest.mark.parametrize("area", disk_use(Settings(home=Path("/nowhere"))))
def test_every_area_of_the_home_occurs_in_the_page_on_monitoring(area):
    assert f"`{area}`" in METRICS


@pytest.mark.parametrize("figure", found(r'(?m)^            "([a-z ]+)": ', "defs/operations/assets.py"))
def test_every_figure_of_the_retention_occurs_in_the_page_on_monitoring(figure):
    assert f"`{figure}`" in METRICS


@pytest.mark.parametrize("figure", found(r'(?m)^        "([a-z ]+)": dg', "defs/statistics/metadata.py"))
def test_every_figure_of_the_statistics_occurs_in_the_page_on_monitoring(figure):
    assert f"`{figure}`" in METRICS


@pytest.mark.parametrize("tag", TAGS)
def test_every_tag_of_a_run_occurs_in_the_page_on_monitoring(tag):
    assert f"`{tag}`" in MONITORING.partition("| tag of a run |")[2]


def test_what_is_looked_for_in_the_docs_was_found():
    assert {"home", "log shipper", "HTTP API"} <= set(DOCTOR)
    assert {"LabError", "StorageTimeoutError", "UnavailableError"} <= set(KINDS)
    assert {"lab/strategy", "lab/pinned"} <= set(TAGS)


def test_the_explained_strategy_is_the_one_that_ships():
    block = next(text for text in re.findall(r"```json\n(.*?)```", STRATEGIES, re.DOTALL) if '"ladder"' in text)
    shipped = next(strategy for strategy in example_strategies() if strategy.id == "ladder")
    assert Strategy.parse(json.loads(block)).config == shipped.config


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_the_picture_of_a_rule_is_what_the_engine_does(name):
    assert (REPOSITORY / "docs" / "pictures" / f"{name}.svg").read_text() == pictures.draw(name), "run `make docs`"
    assert STRATEGIES.count(f"(pictures/{name}.svg)") == 1


def test_there_is_no_picture_of_a_rule_that_there_is_not():
    assert {path.stem for path in (REPOSITORY / "docs" / "pictures").iterdir()} == set(pictures.PICTURES)


@pytest.mark.parametrize("strategy", example_strategies(), ids=lambda strategy: strategy.id)
def test_every_strategy_that_ships_is_described(strategy):
    assert strategy.description
    assert f"| `{strategy.id}` |" in STRATEGIES


@pytest.mark.parametrize("block", sorted(field.alias or name for name, field in StrategyConfig.model_fields.items()))
def test_every_block_of_a_strategy_is_documented(block):
    assert f"| `{block}` |" in STRATEGIES


def test_no_machine_is_named_in_tracked_text():
    home = str(Path.home())
    for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "Makefile"]:
        assert str(REPOSITORY) not in path.read_text()
        assert home == "/" or home not in path.read_text()
