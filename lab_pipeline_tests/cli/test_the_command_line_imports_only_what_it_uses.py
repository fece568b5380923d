"""What a command costs before it does anything: the modules that it imports."""

import os
import subprocess
import sys
from importlib import import_module

import pytest
import typer.main

from lab_pipeline.cli.app import app
from lab_pipeline.cli.commands import COMMANDS
from lab_pipeline.settings import load_settings

HEAVY = ("dagster", "polars", "numba", "numpy", "pyarrow", "duckdb", "sqlalchemy", "pydantic", "chdb", "pandera")
SCRIPT = """
import sys
sys.argv = ["lab", *sys.argv[1:]]
from lab_pipeline.cli import main
try:
    main()
finally:
    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""


def imported(*words, home="/nowhere"):
    """Carry out a command and return its output and the heavy libraries that it has imported."""
    command = [sys.executable, "-c", SCRIPT.format(heavy=HEAVY), *words]
    environment = {**os.environ, "LAB_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout, done.stderr.strip()


@pytest.mark.parametrize("words", [(), ("--help",), ("--version",)])
def test_the_root_imports_nothing_heavy(words):
    command = [sys.executable, "-c", SCRIPT.format(heavy=HEAVY), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == "[]"
    assert "lab" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "group", ["runs", "statistics", "leaderboard", "strategies", "artifacts", "ingest", "fetch", "settings"]
)
def test_the_help_of_a_command_imports_its_settings_alone(group):
    out, heavy = imported(group, "--help")
    assert out.startswith(f"Usage: lab {group}")
    assert heavy == "['pydantic']"


def test_settings_are_shown_without_a_store(tmp_path):
    out, heavy = imported("settings", home=tmp_path)
    assert "LAB_HOME" in out
    assert heavy == "['pydantic']"


def test_runs_are_listed_without_dagster_and_polars(stocked):
    ended = stocked("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")
    out, heavy = imported("runs", "list", home=stocked.home)
    assert ended.json["runId"][:8] in out
    assert heavy == "['duckdb', 'pydantic']"


def test_the_help_tells_of_every_command_what_it_says_itself():
    for known in COMMANDS.values():
        for module in known.modules:
            import_module(f"lab_pipeline.cli.{module}")
    commands = typer.main.get_command(app).commands
    assert list(commands) == list(COMMANDS)
    for name, command in commands.items():
        assert command.help.splitlines()[0] == COMMANDS[name].help
        assert command.callback or command.commands, f"{name} is itself, not what stands for it"


def test_a_misspelt_command_is_told_what_may_have_been_meant(lab):
    ended = lab("leaderbord")
    assert ended.status == 2
    assert "Did you mean 'leaderboard'?" in ended.err


def test_settings_are_read_again_when_a_variable_or_the_directory_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "one"))
    monkeypatch.setenv("LAB_PORT", "3001")
    first = load_settings()
    assert (first.home, first.port) == (tmp_path / "one", 3001)
    monkeypatch.setenv("LAB_PORT", "3002")
    assert load_settings().port == 3002
    monkeypatch.delenv("LAB_PORT")
    assert load_settings().port == 3000
    monkeypatch.setenv("LAB_HOME", "relative")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert load_settings().home == tmp_path / name / "relative"
    monkeypatch.delenv("LAB_HOME")
    assert load_settings().home == tmp_path / "there" / ".lab"
    (tmp_path / "dagster.yaml").touch()
    assert load_settings().home == tmp_path / ".lab"


def test_settings_are_read_once_for_the_same_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    load_settings()
    monkeypatch.setattr("lab_pipeline.settings.Settings", None)
    assert load_settings().home == tmp_path
