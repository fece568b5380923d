"""A lab that was installed from a wheel, as in the image: there is no checkout around the package."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
LOAD = """
import lab_pipeline
from lab_pipeline.definitions import defs
print(lab_pipeline.__file__, *sorted(job.name for job in defs().resolve_all_job_defs()))
"""


@pytest.fixture
def installed(tmp_path):
    """Lay the package out as the wheel does, with the files that it takes along."""
    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in wheel["packages"]:
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in wheel["force-include"].items():
        shutil.copy(REPOSITORY / source, tmp_path / target)
    return tmp_path


@pytest.mark.slow
def test_dagster_finds_the_definitions_without_a_checkout(installed):
    environment = {**os.environ, "PYTHONPATH": str(installed), "LAB_HOME": str(installed / "home")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], env=environment, cwd=installed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    where, *jobs = done.stdout.split()
    assert Path(where).is_relative_to(installed)
    assert {"backtest", "statistics", "retention", "inbox"} <= set(jobs)
