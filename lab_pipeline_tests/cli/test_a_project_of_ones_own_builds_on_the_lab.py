"""`lab init` writes a project that Dagster's own tool takes, with the lab's definitions and its own."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from lab_pipeline.cli import main
from lab_pipeline.components import Experiment
from lab_pipeline.runs.strategies import read_strategy

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("somewhere") / "my-lab"
    done = subprocess.run([BIN / "lab", "init", root], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "LAB_DEFINITIONS=my_lab.definitions lab up" in done.stdout
    return root


def in_project(project, *command):
    environment = {
        "HOME": str(project.parent),
        "LAB_HOME": str(project.parent / "home"),
        "PATH": f"{BIN}{os.pathsep}/usr/bin:/bin",
        "PYTHONPATH": str(project),  # as `pip install -e .` has it, which needs the package index
    }
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_dagsters_own_tool_finds_its_definitions_good(project):
    in_project(project, BIN / "dg", "check", "defs")


@pytest.mark.slow
def test_it_has_the_definitions_of_the_lab_and_its_own(project):
    code = (
        "from my_lab.definitions import defs\n"
        "repository = defs().get_repository_def()\n"
        "print(*sorted(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()))\n"
        "print(*sorted(f'{one.name}:{one.job_name}' for one in repository.schedule_defs))\n"
    )
    assets, schedules = in_project(project, sys.executable, "-W", "ignore", "-c", code).splitlines()
    assert {"calls_per_hour", "backtest/trades", "backtest/nightly"} <= set(assets.split())
    assert "weekly_ladder:backtest" in schedules.split()
    assert {one.partition(":")[0] for one in schedules.split()} >= {"calls_per_hour_schedule", "nightly_backtests"}


@pytest.mark.slow
def test_the_components_of_the_lab_are_listed(project):
    listed = in_project(project, BIN / "dg", "list", "components", "--json")
    assert "lab_pipeline.components.Experiment" in listed
    assert "lab_pipeline.components.CandleSource" in listed
    assert "lab_pipeline.components.ChatSource" in listed


@pytest.mark.slow
def test_a_source_of_candles_is_scaffolded(project):
    asked = ("--source", "birdeye", "--timeframe", "5m", "--start", "2025-03-01")
    in_project(project, BIN / "dg", "scaffold", "defs", "lab_pipeline.components.CandleSource", "pools", *asked)
    written = (project / "my_lab" / "defs" / "pools" / "defs.yaml").read_text()
    assert "name: pools" in written
    in_project(project, BIN / "dg", "check", "yaml")
    code = (
        "from my_lab.definitions import defs\n"
        "graph = defs().get_repository_def().asset_graph\n"
        "print(*(key.to_user_string() for key in graph.get_all_asset_keys() if key.path[0] == 'source'))\n"
    )
    assert in_project(project, sys.executable, "-W", "ignore", "-c", code).split() == ["source/pools"]


@pytest.mark.slow
def test_a_chat_is_scaffolded(project):
    asked = ("--chat", "@gems", "--start", "2025-03-01")
    in_project(project, BIN / "dg", "scaffold", "defs", "lab_pipeline.components.ChatSource", "gems", *asked)
    in_project(project, BIN / "dg", "check", "yaml")
    code = (
        "from my_lab.definitions import defs\n"
        "print(*(one.name for one in defs().get_repository_def().sensor_defs if one.name.startswith('source')))\n"
    )
    assert in_project(project, sys.executable, "-W", "ignore", "-c", code).split() == ["source_gems_sensor"]


def test_its_strategy_is_one(project):
    assert read_strategy(project / "strategies" / "first.json").id == "first"


@pytest.mark.parametrize("name", ["1st", "My Lab", "lab_pipeline"])
def test_a_name_that_is_none_of_a_package_is_refused(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", ["lab", "init", str(tmp_path / name)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "cannot name a package" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_a_directory_with_something_in_it_is_left_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work").touch()
    monkeypatch.setattr(sys, "argv", ["lab", "init", str(tmp_path / "mine")])
    with pytest.raises(SystemExit):
        main()
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["work"]


def test_an_experiment_is_a_schedule_of_the_job_with_all_that_was_chosen():
    experiment = Experiment(
        name="tight",
        strategy="ladder",
        timeframe="5m",
        cron="0 6 * * 1",
        params={"exit.stopLoss": 0.1, "reentry": None},
    )
    (schedule,) = experiment.build_defs(None).schedules
    assert (schedule.name, schedule.cron_schedule, schedule.default_status.name) == ("tight", "0 6 * * 1", "STOPPED")
    with dg.build_schedule_context() as context:
        (asked,) = schedule.evaluate_tick(context).run_requests
    assert asked.run_config == {
        "ops": {
            "run": {
                "config": {
                    "strategy": "ladder",
                    "timeframe": "5m",
                    "params": {"exit.stopLoss": 0.1, "reentry": "null"},
                }
            }
        }
    }
    assert asked.tags["lab/experiment"] == "tight"
    assert asked.tags["lab/strategy"] == "ladder"
