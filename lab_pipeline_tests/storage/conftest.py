"""Fixtures of the storage tests: fresh files, and Dagster's own tests of run storages."""

import importlib.metadata
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab_pipeline.storage.run_storage import DuckDBRunStorage
from lab_pipeline_tests.storage.talking import StartPython

PROBE = "iniconfig"
"""A small package that any index has: where even it cannot be had, there is no index."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "runs.duckdb"


@pytest.fixture
def storage(database: Path) -> DuckDBRunStorage:
    return DuckDBRunStorage(database, timeout=20)


@pytest.fixture(scope="session")
def fetch_distribution(request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Download a distribution from the package index into pytest's cache directory, or skip where it cannot be had."""
    cache = request.config.cache
    assert cache is not None

    def fetch(requirement: str, *options: str) -> Path:
        directory = Path(cache.mkdir("distributions")) / requirement
        if not any(directory.glob("*")):
            done = download(directory, requirement, *options)
            if done.returncode and download(directory.with_name("probe"), PROBE).returncode:
                pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
            assert done.returncode == 0, done.stderr
        return next(directory.iterdir())

    return fetch


def download(directory: Path, requirement: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(directory)]
    return subprocess.run([*command, *options, requirement], capture_output=True, text=True, timeout=180, check=False)


@pytest.fixture(scope="session")
def upstream_tests(fetch_distribution: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the tests that Dagster ships with its source distribution, of the very release installed here."""
    version = importlib.metadata.version("dagster")
    archive = fetch_distribution(f"dagster=={version}", "--no-binary", "dagster")
    directory = tmp_path_factory.mktemp("upstream")
    with tarfile.open(archive) as source:
        members = [member for member in source if "/dagster_tests/storage_tests/utils/" in member.name]
        source.extractall(directory, members, filter="data")
    (unpacked,) = directory.iterdir()
    for package in ("dagster_tests", "dagster_tests/storage_tests"):
        (unpacked / package / "__init__.py").touch()
    return unpacked


@pytest.fixture
def start_python() -> Iterator[StartPython]:
    """Start Python processes that end with the test, whatever state they are in."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
