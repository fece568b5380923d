"""Every setting, command and option occurs in the README, and what it says of them is true."""

import json
import re
from pathlib import Path

import pytest
import typer.main

import lab_pipeline.cli.commands  # registers the commands
from lab_pipeline.cli import app
from lab_pipeline.domain.strategy import Strategy, StrategyConfig
from lab_pipeline.runs.strategies import example_strategies
from lab_pipeline.settings import PREFIX, Settings

assert lab_pipeline.cli.commands
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
