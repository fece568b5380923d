"""Dagster's own tests hold for this storage as they do for Dagster's SQLite storage."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).with_name("upstream_suite.py")
FEWEST_TESTS = 54  # of the release this storage was first written for; later ones have more


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["duckdb", "sqlite"])
def test_dagsters_own_suite_passes_whole_and_without_deprecations(
    storage: str, upstream_tests: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pytest", str(SUITE), "-q", "-c", os.devnull, f"--rootdir={SUITE.parent}"]
    options = [
        "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'temp'}",
        "-W", "error::DeprecationWarning", "-W", "error::PendingDeprecationWarning",
    ]  # fmt: skip
    paths = [str(upstream_tests), str(SUITE.parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "STORAGE_UNDER_TEST": storage}
    environment.pop("PYTEST_ADDOPTS", None)  # meant for this project's tests

    done = subprocess.run(
        [*command, *options], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    outcome = re.fullmatch(r"(\d+) passed(, \d+ warnings)? in .*", done.stdout.strip().splitlines()[-1])
    assert outcome, f"not all of the suite ran: {done.stdout[-300:]}"
    assert int(outcome[1]) >= FEWEST_TESTS
