"""The one rule for everything that listens, without anything that listens."""

import pytest
from pydantic import SecretStr

from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.doors import Door, OpenDoorError, is_from_other_site, listen, opens_page
from lab_pipeline.settings import Settings, load_settings

HERE = Door("127.0.0.1")
EVERYWHERE = Door("0.0.0.0", "s3cret", frozenset({"lab.example"}))  # noqa: S104 - that is the point
NAVIGATION = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:3000", "localhost:3000", "LOCALHOST", "[::1]:3000", "127.0.0.2"]
)
def test_loopback_is_known_by_its_names(host):
    assert HERE.knows_host({"host": host})
    assert EVERYWHERE.knows_host({"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "evil.example/127.0.0.1",
        "10.0.0.1",
        "[::2]",
        "127.0.0.1 evil.example",
        "127.0.0.1:3000:3000",
        "[::1",
        "::1",
        "",
    ],
)
def test_another_name_is_not(host):
    assert not HERE.knows_host({"host": host})
    assert not HERE.knows_host({})


def test_other_names_come_from_the_settings():
    door = Door.of(Settings(host="10.0.0.7", api_token=SecretStr("x"), allowed_hosts="Lab.Example, 2001:db8::7"))
    for host in ("10.0.0.7:3000", "lab.example", "LAB.example:443", "[2001:db8::7]:3000", "localhost"):
        assert door.knows_host({"host": host})
    for host in ("www.lab.example", "10.0.0.8"):
        assert not door.knows_host({"host": host})


def test_what_listens_on_every_address_is_known_by_addresses_because_no_page_can_take_one():
    assert EVERYWHERE.knows_host({"host": "10.0.0.8:3000"})
    assert EVERYWHERE.knows_host({"host": "lab.example"})
    assert not EVERYWHERE.knows_host({"host": "evil.example"})


@pytest.mark.parametrize("hosts", ["http://lab.example", "lab.example:3000", "lab.example/x", "*", "a b"])
def test_a_name_that_no_host_has_is_refused(hosts, monkeypatch):
    monkeypatch.setenv("LAB_ALLOWED_HOSTS", hosts)
    with pytest.raises(InvalidConfigError, match=r"LAB_ALLOWED_HOSTS.*without scheme and port"):
        load_settings()


@pytest.mark.parametrize("token", ["a b", "s\u00e9cret", " ", "a\n"])
def test_a_token_that_no_header_holds_is_refused(token, monkeypatch):
    monkeypatch.setenv("LAB_API_TOKEN", token)
    with pytest.raises(InvalidConfigError, match=r"LAB_API_TOKEN.*without spaces"):
        load_settings()


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:5000"},
        {"origin": "http://127.0.0.1"},
        {"origin": "http://localhost:3000"},
        {"origin": "file://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1:3000.evil.example"},
        {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_a_page_of_another_site_or_port_is_told_from_our_own(headers):
    assert is_from_other_site({"host": "127.0.0.1:3000", **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:3000"},
        {"origin": "HTTP://127.0.0.1:3000"},
        {"host": "lab.example", "origin": "https://lab.example"},
        {"host": "lab.example:443", "origin": "https://lab.example"},
    ],
)
def test_programs_and_our_own_pages_may(headers):
    assert not is_from_other_site({"host": "127.0.0.1:3000", **headers})


def test_only_a_link_opens_a_page():
    assert opens_page("GET", NAVIGATION)
    assert not opens_page("POST", NAVIGATION)
    assert not opens_page("GET", {**NAVIGATION, "sec-fetch-dest": "iframe"})
    assert not opens_page("GET", {**NAVIGATION, "sec-fetch-mode": "no-cors"})
    assert not opens_page("GET", {})


def test_the_token_is_asked_for_where_there_is_one():
    assert HERE.has_token({})
    assert EVERYWHERE.has_token({"authorization": "bearer s3cret"})
    for given in ("", "Bearer", "Bearer s3cre", "Bearer s3cret1", "Basic s3cret", "s3cret", "Bearer s\u00e9cret"):
        assert not EVERYWHERE.has_token({"authorization": given})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "lab.example"])  # noqa: S104 - that is the point
def test_there_is_no_door_to_the_network_without_a_token(host):
    with pytest.raises(OpenDoorError, match="set LAB_API_TOKEN"):
        Door.of(Settings(host=host))
    assert Door.of(Settings(host=host, api_token=SecretStr("x"))).has_token({"authorization": "Bearer x"})


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_loopback_needs_none(host):
    assert Door.of(Settings(host=host)).token is None


def test_a_port_that_is_taken_is_one_clear_message():
    with listen("127.0.0.1", 0, "LAB_PORT") as listener:
        port = listener.getsockname()[1]
        with pytest.raises(LabError, match=f"cannot listen on 127.0.0.1:{port}: .*Set LAB_PORT to another"):
            listen("127.0.0.1", port, "LAB_PORT")
