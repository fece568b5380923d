"""One server for all tests of the room: that of LAB_CLICKHOUSE_URL where it is set, otherwise an embedded one."""

import os
from dataclasses import replace
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import clickhouse_connect
import pytest
import urllib3

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig, clickhouse_config
from lab_pipeline.clickhouse.gateway.files import StateFiles
from lab_pipeline.clickhouse.gateway.launch import lease_server
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.embedded import skip_without_chdb, stopped_at_the_end


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """The configuration of the server under test."""
    state_dir = tmp_path_factory.mktemp("clickhouse")
    if os.environ.get("LAB_CLICKHOUSE_URL"):
        yield clickhouse_config(load_settings().model_copy(update={"home": state_dir}))
        return
    skip_without_chdb()
    with stopped_at_the_end(ClickHouseConfig(state_dir=state_dir)) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def embedded(config):
    """The configuration of the shared embedded server, for tests of what only that one has."""
    if not config.embedded:
        pytest.skip("of the embedded server only; LAB_CLICKHOUSE_URL is set")
    return config


@pytest.fixture
def own_server(tmp_path):
    """The configuration of an embedded server of the test's own, not yet started."""
    skip_without_chdb()
    with stopped_at_the_end(ClickHouseConfig(state_dir=tmp_path / "clickhouse", write_deadline_seconds=30)) as own:
        yield own


@pytest.fixture(scope="session")
def clickhouse(config):
    """The lab's own connection, to tables that are there."""
    with ClickHouse(config) as clickhouse:
        clickhouse.migrate()
        yield clickhouse


@pytest.fixture
def run_id():
    """A run that nobody else has; its name is a trap for whoever formats it into SQL."""
    return f"run-{uuid4().hex}' OR 1=1 -- \\"


@pytest.fixture
def new_database(config, admin):
    """A configuration whose database does not exist yet."""
    other = replace(config, url=None, database=f"test_{uuid4().hex[:12]}")
    if config.url:
        other = replace(other, url=urlsplit(config.url)._replace(path=f"/{other.database}").geturl())
    yield other
    admin.command(f"DROP DATABASE IF EXISTS {other.database}")


@pytest.fixture(scope="session")
def address(config):
    """Keyword arguments with which anybody's `clickhouse_connect.get_client` finds the server."""
    if config.embedded:
        with lease_server(config) as lease:
            endpoint = lease.endpoint
            yield {
                "host": endpoint.host,
                "port": endpoint.port,
                "username": endpoint.username,
                "password": endpoint.password,
            }
        return
    server = config.server
    yield {
        "host": server.host,
        "port": server.port,
        "username": server.username,
        "password": server.password,
        "interface": "https" if server.secure else "http",
    }


@pytest.fixture(scope="session")
def pool():
    with urllib3.PoolManager() as pool:
        yield pool


@pytest.fixture(scope="session")
def admin(address):
    admin = clickhouse_connect.get_client(**address)
    yield admin
    admin.close()


@pytest.fixture
def database(admin):
    """A database of the test's own."""
    name = f"test_{uuid4().hex[:12]}"
    admin.command(f"CREATE DATABASE {name}")
    yield name
    admin.command(f"DROP DATABASE {name}")


@pytest.fixture
def client(address, database):
    """The unmodified client, in a database of its own."""
    client = clickhouse_connect.get_client(**address, database=database)
    yield client
    client.close()


@pytest.fixture
def http(address, database, pool):
    """A function that sends one plain HTTP request: `http(query, body=..., headers=..., **url_parameters)`."""
    url = f"{address.get('interface', 'http')}://{address['host']}:{address['port']}/"
    basic = urllib3.make_headers(basic_auth=f"{address['username']}:{address['password']}")

    def send(query=None, *, method="POST", body=None, headers=None, path="", fields=None, **parameters):
        named = {"database": database, **({"query": query} if query is not None else {}), **parameters}
        target = f"{url}{path}?{urlencode(named)}" if not path else url + path
        content = {"fields": fields} if fields is not None else {"body": body}
        return pool.request(method, target, headers={**basic, **(headers or {})}, retries=False, **content)

    return send


@pytest.fixture
def files(embedded):
    return StateFiles(embedded.state_dir)
