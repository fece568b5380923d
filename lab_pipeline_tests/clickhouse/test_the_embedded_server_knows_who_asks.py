"""The embedded server listens on loopback alone, by its own name, and takes nothing from a page."""

import pytest

from lab_pipeline.clickhouse.gateway.app import HOST
from lab_pipeline.doors import is_loopback

EVIL = "http://evil.example"


@pytest.fixture
def ask(config, address, pool):
    if not config.embedded:
        pytest.skip("LAB_CLICKHOUSE_URL is another server")

    def ask(path="/?query=SELECT+1", **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        login = {"X-ClickHouse-User": address["username"], "X-ClickHouse-Key": address["password"]}
        return pool.request("POST", f"http://{address['host']}:{address['port']}{path}", headers={**login, **names})

    return ask


def test_it_listens_on_loopback_alone(config, address):
    assert is_loopback(HOST)
    assert not config.embedded or address["host"] == HOST


@pytest.mark.parametrize("path", ["/", "/ping", "/?query=SELECT+1", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8123", "10.0.0.1", ""])
def test_another_name_is_refused(ask, path, host):
    answer = ask(path, Host=host)
    assert answer.status == 403
    assert b"Code: 516" in answer.data
    assert b"another server" in answer.data


@pytest.mark.parametrize("headers", [{"Origin": EVIL}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}])
def test_a_page_of_another_site_is_refused(ask, headers):
    answer = ask(**headers)
    assert answer.status == 403
    assert b"another site" in answer.data


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]"])
def test_its_own_names_are_not(ask, host):
    assert ask(Host=host).data == b"1\n"
