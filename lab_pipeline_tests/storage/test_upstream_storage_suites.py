"""Dagster's own tests hold for these storages as they do for Dagster's SQLite storage."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab_pipeline.storage.event_log_storage import batches_allowed

SUITE = Path(__file__).with_name("upstream_suite.py")
FEWEST_TESTS = {"TestEvents": 138, "not TestEvents": 54}  # of the release these were first written for
MOST_SKIPPED = {"TestEvents": 12, "not TestEvents": 0}  # what Dagster skips for all event logs that are a file a run
NO_DEPRECATIONS = ("-W", "error::DeprecationWarning", "-W", "error::PendingDeprecationWarning")


@pytest.mark.long
@pytest.mark.parametrize(
    ("storage", "tests", "strictly"),
    [
        ("ours", "not TestEvents", NO_DEPRECATIONS),
        ("sqlite", "not TestEvents", NO_DEPRECATIONS),
        ("ours", "TestEvents", ()),  # the tests themselves call what Dagster has deprecated
    ],
)
def test_dagsters_own_suite_passes_whole(
    storage: str, tests: str, strictly: tuple[str, ...], upstream_tests: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pytest", str(SUITE), "-q", "-c", os.devnull, f"--rootdir={SUITE.parent}"]
    options = [
        "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'temp'}", "-k", tests, *strictly,
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
        r"(\d+) passed(?:, (\d+) skipped)?(?:, \d+ deselected)?(?:, \d+ warnings?)? in .*",
        done.stdout.strip().splitlines()[-1],
    )
    assert outcome, f"not all of the suite ran: {done.stdout[-300:]}"
    assert int(outcome[1]) >= FEWEST_TESTS[tests]
    assert int(outcome[2] or 0) <= MOST_SKIPPED[tests]
