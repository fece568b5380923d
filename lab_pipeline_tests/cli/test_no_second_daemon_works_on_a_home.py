"""`lab up` runs the one daemon of its home, and says so if somebody else runs one there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab_pipeline.cli.daemons import require_no_other_daemon
from lab_pipeline.domain.errors import LabError

LAB = Path(sys.executable).parent / "lab"
SLEEP = "import time; print('up', flush=True); time.sleep({seconds})"


@pytest.fixture
def start(tmp_path):
    """Start something that looks like a daemon, on a home."""
    started = []
    program = tmp_path / "bin" / "dagster-daemon"
    program.parent.mkdir()

    def starts(home, *arguments, seconds=60):
        program.write_text(SLEEP.format(seconds=seconds))
        process = subprocess.Popen(
            [sys.executable, program, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "DAGSTER_HOME": str(home)},
        )
        started.append(process)
        assert process.stdout.readline() == "up\n"
        return process

    yield starts
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_a_daemon_on_this_home_is_named_by_whatever_path_it_came(start, home, tmp_path):
    (tmp_path / "link").symlink_to(home)
    daemon = start(tmp_path / "link", "run", "-w", "workspace.yaml")
    with pytest.raises(LabError, match=rf"already \(process {daemon.pid}\): stop it"):
        require_no_other_daemon(home, wait_seconds=0.3)


def test_one_that_is_about_to_end_is_waited_for(start, home):
    start(home, "run", seconds=1)
    require_no_other_daemon(home)


def test_other_homes_and_other_commands_are_none_of_its_business(start, home, tmp_path):
    start(tmp_path / "other", "run")
    start(home, "liveness-check")
    require_no_other_daemon(home, wait_seconds=0)


@pytest.mark.slow
def test_lab_up_refuses_beside_a_real_daemon_and_leaves_the_home_alone(tmp_path, home):
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "DAGSTER_"))},
        "LAB_HOME": str(home),
        "LAB_PORT": "0",
        "LAB_API_PORT": "0",
    }
    subprocess.run([LAB, "settings", "--apply"], env=environment, check=True, capture_output=True)
    (tmp_path / "nothing.py").write_text("import dagster\ndefs = dagster.Definitions()\n")
    log = (tmp_path / "daemon.log").open("w")
    daemon = subprocess.Popen(
        [sys.executable, "-m", "dagster._daemon", "run", "-f", str(tmp_path / "nothing.py")],
        env={**environment, "DAGSTER_HOME": str(home / "dagster")},
        cwd=tmp_path,
        stdout=log,
        stderr=log,
    )
    try:
        up = subprocess.run([LAB, "up"], env=environment, capture_output=True, text=True, timeout=90, check=False)
        assert up.returncode == 2
        assert f"already (process {daemon.pid}): stop it" in up.stderr
        assert "Traceback" not in up.stderr
        assert daemon.poll() is None, (tmp_path / "daemon.log").read_text()
        assert not (home / "logs").exists()
    finally:
        daemon.kill()
        daemon.wait()
        log.close()
