"""What all tests share: signals as in a terminal, and one ClickHouse, else every test's home would start a server."""

import os
import shutil
import signal

import pytest

from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.gateway.launch import lease_server, stop_server
from lab_pipeline_tests.support.embedded import skip_without_chdb

# A script that starts the tests in its background has them ignore SIGINT, and Dagster, once it has executed a run, then
# has this process and all that it starts ignore SIGTERM too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def chromium():
    """The browser's program."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium: apt-get install --no-install-recommends chromium")
    return program
