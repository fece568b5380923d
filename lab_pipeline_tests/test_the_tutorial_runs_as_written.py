import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab_pipeline.client import Client
from lab_pipeline_tests.support.running_lab import RunningLab

TUTORIAL = (Path(__file__).resolve().parent.parent / "docs" / "tutorial.md").read_text()
CLIENT, HOME, NOTEBOOK = re.findall(r"(?m)^```python\n(.*?)^```", TUTORIAL, re.DOTALL)
COMMANDS = [
    command
    for block in re.findall(r"(?m)^```console\n(.*?)^```", TUTORIAL, re.DOTALL)
    for command in re.split(r"(?m)^\$ ", block)[1:]
]
BY_HAND = ("make demo", "source .venv/bin/activate", "make up")
API = "api=http://127.0.0.1:8000"
RECORDED = "8099"
"""Port at which the tutorial serves recorded answers."""
SMALL = ("--tokens", "60", "--calls", "300")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(commands, directory, *, home, **variables):
    """Run commands in one shell, which ends with the first that fails, and return what they print."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", "".join(commands)],
        cwd=directory,
        env={**os.environ, "LAB_HOME": str(home), "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout


@pytest.mark.slow
def test_every_command_of_the_tutorial_works_on_the_demo(tmp_path, monkeypatch, clickhouse_url):
    """In the order of the page, on a smaller market of the demo, beside a lab that runs, which makes them quick."""
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    home = tmp_path / "home"
    commands = [command for command in COMMANDS if command.strip() not in BY_HAND]
    start = commands.index(f"{API}\n")
    run([f"lab demo {' '.join(SMALL)}\n"], tmp_path, home=home)
    lab = RunningLab(home)
    try:
        port = str(free_port())
        printed = run([command.replace(RECORDED, port) for command in commands[:start]], tmp_path, home=home)
        for told in ("completed", "Marta Lindqvist", "quick-dip", "nothing to fetch: the lake has what 1 tokens need"):
            assert told in printed
        assert "Night Desk" in (tmp_path / "night-desk.html").read_text()
        answers = run([f"api={lab.api}\n", *commands[start + 1 :]], tmp_path, home=home)
        assert "event: end" in answers
        assert (tmp_path / "trades.csv").read_text().startswith("call_id")
        names = {"Client": lambda: Client(lab.api)}
        exec(CLIENT.partition("\n")[2], names)  # noqa: S102 - our own tutorial
        assert names["run"].status == "completed"
        monkeypatch.setenv("LAB_HOME", str(home))
        monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
        monkeypatch.chdir(tmp_path)
        names = {}
        exec(HOME, names)  # noqa: S102 - our own tutorial
        assert names["run"].manifest.spec.strategy_id == "ladder"
        assert (tmp_path / "returns.svg").read_text().startswith("<svg")
    finally:
        lab.stop()


def test_the_notebook_example_is_three_lines_and_works():
    assert len(NOTEBOOK.splitlines()) == 3
    names = {}
    exec(NOTEBOOK, names)  # noqa: S102 - our own tutorial
    assert names["result"].summary.calls == names["market"].calls.height
