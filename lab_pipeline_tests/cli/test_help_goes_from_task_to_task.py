"""`lab --help` in the order in which people come to things; a shell completes commands."""

import os
import re
import subprocess
import sys
from pathlib import Path

from lab_pipeline.cli.commands import COMMANDS

LAB = Path(sys.executable).parent / "lab"


def answered(*words, **variables):
    environment = {**os.environ, "LAB_HOME": "/nowhere", **variables}
    return subprocess.run([LAB, *words], capture_output=True, text=True, check=True, env=environment).stdout


def test_tasks_are_headings_and_every_command_is_under_one():
    text = answered("--help", COLUMNS="80")
    assert re.findall(r"(?m)^([A-Z].*):$", text)[-6:] == list(dict.fromkeys(one.task for one in COMMANDS.values()))
    assert re.findall(r"(?m)^  ([a-z]+)  ", text) == list(COMMANDS)
    assert max(map(len, text.splitlines())) <= 80
    said = " ".join(text.split())
    assert all(one.help in said for one in COMMANDS.values())


def test_a_shell_completes_commands_and_options():
    completing = {"_LAB_COMPLETE": "complete_bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    assert answered(COMP_WORDS="lab comp", COMP_CWORD="1", **completing).split() == ["compare"]
    found = answered(COMP_WORDS="lab runs list --s", COMP_CWORD="3", **completing).split()
    assert found == ["--sort"]


def test_help_of_a_group_says_whole_sentences():
    text = answered("sweep", "--help", COLUMNS="80")
    assert not re.search(r"\w\.\.\.", text)
    assert "it goes on from the parts that it has." in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
