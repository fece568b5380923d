"""A user of a service: code that it may not change, no directory of its own, and LAB_HOME."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab_pipeline.home import project_root

pytestmark = pytest.mark.long  # every kernel is compiled
READ_ONLY = 0o555
WITHOUT_ROOTS_POWER = ["setpriv", "--inh-caps=-dac_override", "--bounding-set=-dac_override"]
"""Of writing where the permissions forbid it."""


@pytest.fixture
def code(tmp_path):
    root = tmp_path / "code"
    shutil.copytree(
        project_root() / "lab_pipeline", root / "lab_pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("dagster.yaml", "workspace.yaml", "pyproject.toml"):
        shutil.copy(project_root() / name, root)
    directories = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for path in directories:
        path.chmod(READ_ONLY)
    yield root
    for path in directories:
        path.chmod(0o755)


@pytest.fixture
def lab(tmp_path, code):
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir(mode=READ_ONLY)
    prefix = []
    if os.geteuid() == 0:
        if shutil.which(WITHOUT_ROOTS_POWER[0]) is None:
            pytest.skip("root may write everywhere, and there is no setpriv to take that away")
        prefix = WITHOUT_ROOTS_POWER
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    environment = {"PATH": path, "PYTHONPATH": str(code), "LAB_HOME": str(tmp_path / "home"), "HOME": str(nowhere)}

    def run(*arguments):
        command = [*prefix, sys.executable, "-c", "from lab_pipeline.cli import main; main()", *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )

    yield run
    run("clickhouse", "stop")


def test_machine_code_is_kept_in_the_home(lab, tmp_path):
    pytest.importorskip("chdb")
    ended = lab("demo")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert list((tmp_path / "home" / "cache" / "numba").rglob("*.nbi"))
    assert not list((tmp_path / "code").rglob("__pycache__"))
