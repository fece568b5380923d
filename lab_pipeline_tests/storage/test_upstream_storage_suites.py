"""Dagster's own tests hold for these storages as they do for Dagster's SQLite storage."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab_pipeline.storage.event_log_storage import batches_allowed

SUITE = Path(__file__).with_name("upstream_suite.py")
FEWEST_TESTS = {"ours": 190, "sqlite": 54}  # of the release these were first written for; later ones have more
MOST_SKIPPED = {"ours": 12, "sqlite": 0}  # what Dagster skips for every event log that is a SQLite file a run


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["ours", "sqlite"])
def test_dagsters_own_suite_passes_whole_and_without_deprecations(
    storage: str, upstream_tests: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pytest", str(SUITE), "-q", "-c", os.devnull, f"--rootdir={SUITE.parent}"]
    options = [
        "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'temp'}",
        "-W", "error::DeprecationWarning", "-W", "error::PendingDeprecationWarning",
        # How the tests are written is no matter of the storages.
        "-p", "no:schemathesis", "-W", "ignore::pytest.PytestRemovedIn10Warning",
    ]  # fmt: skip
    paths = [str(upstream_tests), str(SUITE.parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **batches_allowed()}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "STORAGE_UNDER_TEST": storage}
    environment.pop("PYTEST_ADDOPTS", None)  # meant for this project's tests

    done = subprocess.run(
        [*command, *options], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    outcome = re.fullmatch(
        r"(\d+) passed(?:, (\d+) skipped)?(?:, \d+ warnings)? in .*", done.stdout.strip().splitlines()[-1]
    )
    assert outcome, f"not all of the suite ran: {done.stdout[-300:]}"
    assert int(outcome[1]) >= FEWEST_TESTS[storage]
    assert int(outcome[2] or 0) <= MOST_SKIPPED[storage]
