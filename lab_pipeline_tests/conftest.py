"""What all tests share: signals as in a terminal, and one ClickHouse, else every test's home would start a server."""

import os
import shutil
import signal
from multiprocessing import forkserver

import pytest
from hypothesis import settings

from lab_pipeline.clickhouse.config import ClickHouseConfig, clickhouse_config
from lab_pipeline.clickhouse.gateway.launch import lease_server, stop_server
from lab_pipeline.files.locks import locked
from lab_pipeline.settings import Settings
from lab_pipeline_tests.support.embedded import skip_without_chdb
from lab_pipeline_tests.support.object_store import bucket, object_store  # noqa: F401 - fixtures
from lab_pipeline_tests.support.running_lab import EVERYWHERE, TOKEN, RunningLab
from lab_pipeline_tests.support.scheduling import OF_THE_OPEN_LAB, ModuleByModule

settings.register_profile("quick", max_examples=20)
settings.register_profile("thorough", max_examples=500)

# readline, which pytest imports, leaves what it takes for the size of the terminal in the variables of whoever is
# started next: the processes of pytest-xdist.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

# A script that starts the tests in its background has them ignore SIGINT, and Dagster, once it has executed a run, then
# has this process and all that it starts ignore SIGTERM too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Take one more process than there are processors: tests often wait for what they started."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return ModuleByModule(config, log) if config.getvalue("dist") == "load" else None


def pytest_collection_modifyitems(items):
    """Begin with modules that take long, so that in the end no process waits for another."""
    long = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)
    for item in items:
        if "open_lab" in item.fixturenames and item.path.name not in OF_THE_OPEN_LAB:
            raise pytest.UsageError(f"{item.path} uses the open lab: add it to support/scheduling.py")


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory):
    """LAB_CLICKHOUSE_URL, that of an embedded server where none is set."""
    if os.environ.get("LAB_CLICKHOUSE_URL"):
        yield os.environ["LAB_CLICKHOUSE_URL"]
        return
    skip_without_chdb()
    config = ClickHouseConfig(state_dir=tmp_path_factory.mktemp("shared") / "clickhouse")
    with lease_server(config) as lease:
        server = lease.endpoint
        yield f"http://{server.username}:{server.password}@{server.host}:{server.port}/{server.database}"
    stop_server(config)


@pytest.fixture
def own_forkserver():
    """Have multiprocessing start its server of forks for this test: one keeps the environment that it began with."""
    forkserver._forkserver._stop()  # noqa: SLF001 - made for tests, as CPython's own comment says
    yield
    forkserver._forkserver._stop()  # noqa: SLF001


@pytest.fixture(scope="session")
def chromium():
    """The browser's program."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium: apt-get install --no-install-recommends chromium")
    return program


@pytest.fixture(scope="session")
def open_lab(tmp_path_factory):
    """A lab on the small market that listens on every address, with a token and a ClickHouse of its own.

    One for all tests that leave it running as it was; support/scheduling.py names their modules.
    """
    if not os.environ.get("LAB_CLICKHOUSE_URL"):
        skip_without_chdb()
    from lab_pipeline_tests.support.markets import stock  # noqa: PLC0415 - as below

    home = tmp_path_factory.mktemp("open")
    stock(home)
    lab = RunningLab(home, LAB_HOST=EVERYWHERE, LAB_API_TOKEN=TOKEN)
    lab.url, lab.api = (url.replace(EVERYWHERE, "127.0.0.1") for url in (lab.url, lab.api))
    yield lab
    lab.stop()
    stop_server(clickhouse_config(Settings(home=home)))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Return the directory of a name, filled by whichever process of this session asks first; the others only read."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name, fill):
        directory, draft = shared / name, shared / f"{name}.draft"
        with locked(shared / f"{name}.lock"):
            if not directory.exists():
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir()
                fill(draft)
                draft.rename(directory)
        return directory

    return made


@pytest.fixture(scope="session")
def stock_endless(made_once):
    """A function that puts a market into a home on which a backtest stays in the kernel for minutes."""
    # Polars and the engine take seconds to import, which tests of other things need not wait for.
    from lab_pipeline_tests.support.markets import make_endless  # noqa: PLC0415

    def stock_endless(home):
        shutil.copytree(made_once("endless", make_endless), home, dirs_exist_ok=True)

    return stock_endless
