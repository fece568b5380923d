"""`lab daemon` runs the one daemon of a home where something else keeps the services alive."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab_pipeline.cli.daemons import daemons, only_daemon
from lab_pipeline.domain.errors import LabError
from lab_pipeline.settings import load_settings

LAB = Path(sys.executable).parent / "lab"


@pytest.fixture
def workspace(tmp_path):
    """Return the file of a workspace that is quickly loaded."""
    (tmp_path / "nothing.py").write_text("import dagster\ndefs = dagster.Definitions()\n")
    path = tmp_path / "workspace.yaml"
    path.write_text(f"load_from:\n  - python_file: {tmp_path / 'nothing.py'}\n")
    return path


@pytest.fixture
def start(lab, workspace):
    """Start `lab daemon`, and wait until it says that the daemon runs."""
    started = []

    def starts(**environment):
        process = subprocess.Popen(
            [LAB, "daemon", "-w", workspace],
            env={**os.environ, "LAB_HOME": str(lab.home), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        read_until(process, f"the daemon of {lab.home} runs")
        return process

    yield starts
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def read_until(process, wanted):
    """Return the lines of a process up to the one that is waited for."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if wanted in line:
            return lines
    raise AssertionError("".join(lines))


@pytest.mark.slow
def test_it_keeps_a_daemon_alive_and_leaves_none_behind(lab, start, monkeypatch):
    process = start()
    dagster_home = load_settings().dagster_home
    read_until(process, "Instance is configured with the following daemons")  # its lines are not hidden in a file
    (first,) = daemons(dagster_home)
    first.kill()
    read_until(process, "daemon ended with status -9; starting it again")
    read_until(process, "Instance is configured with the following daemons")
    (second,) = daemons(dagster_home)
    assert second.pid != first.pid
    monkeypatch.setattr("lab_pipeline.cli.daemons.require_no_other_daemon", lambda _: pytest.fail("waited for its end"))
    for command in (["daemon", "-w", __file__], ["up"]):
        refused = lab(*command)
        assert refused.status == 2
        assert f"already (process {second.pid}): stop it" in refused.err
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0, rest
    assert list(daemons(dagster_home)) == []


def selector(instance):
    (state,) = instance.all_instigator_state()
    return state.instigator_origin_id, state.selector_id


def test_a_home_is_held_against_a_daemon_that_cannot_be_seen_from_here(tmp_path):
    with only_daemon(tmp_path):  # as from another container: there is no such process on this machine
        assert list(daemons(tmp_path)) == []
        with pytest.raises(LabError, match=rf"already \(process {os.getpid()}, on this host or another\)"):
            only_daemon(tmp_path).__enter__()
    with only_daemon(tmp_path):
        pass


def test_a_workspace_that_is_not_there_is_named(lab):
    refused = lab("daemon", "-w", "nowhere.yaml")
    assert refused.status == 2
    assert "nowhere.yaml" in refused.err
