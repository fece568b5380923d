"""What a power cut leaves of the embedded server's own files opens it to nobody and stops nobody."""

import http.client
import time

import pytest

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.gateway.files import StateFiles
from lab_pipeline.clickhouse.gateway.launch import answering, lease_server, stop_server
from lab_pipeline.clickhouse.gateway.requests import Credentials

DAMAGE = {
    "empty": b"",
    "zeros": bytes(40),
    "cut": b'{"host": "127.0.0.1", "po',
    "no-text": b"\xff\xfe\x00\x9c",
    "another-type": b"[1, 2]",
    "wrong-types": b'{"host": 1, "port": "x", "username": null, "password": "", "database": 1, "pid": "1"}',
    "null": b"null",
}
damaged = pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)


@pytest.fixture
def own_files(tmp_path):
    files = StateFiles(tmp_path / "state")
    files.prepare()
    return files


@damaged
def test_a_damaged_endpoint_is_none(content, own_files):
    (own_files.directory / "endpoint.json").write_bytes(content)

    assert own_files.endpoint() is None
    assert answering(own_files) is None


@damaged
def test_a_damaged_port_is_none(content, own_files):
    (own_files.directory / "port").write_bytes(content)

    assert own_files.last_port() == 0


@pytest.mark.parametrize("port", ["-1", "0", "65536", "9" * 30])
def test_a_number_that_is_no_port_is_none(port, own_files):
    (own_files.directory / "port").write_text(port)

    assert own_files.last_port() == 0


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n", bytes(33), b"\xff" * 40, b"two words of a password"])
def test_a_password_that_is_none_is_made_anew(content, own_files):
    path = own_files.directory / "password"
    path.write_bytes(content)

    made = own_files.password()

    assert len(made) >= 32
    assert path.read_text() == f"{made}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert own_files.password() == made


def test_a_server_without_a_password_cannot_be():
    with pytest.raises(ValueError, match="open to everybody"):
        Credentials("default", "")


def test_an_emptied_password_opens_the_server_to_nobody(own_server):
    with lease_server(own_server) as lease:
        before = lease.endpoint.password
    stop_server(own_server)
    (own_server.state_dir / "password").write_bytes(b"")
    (own_server.state_dir / "port").write_bytes(b"")
    (own_server.state_dir / "endpoint.json").write_bytes(b"")

    with lease_server(own_server) as lease:
        assert lease.endpoint.password not in ("", before)
        connection = http.client.HTTPConnection(lease.endpoint.host, lease.endpoint.port, timeout=20)
        connection.request("GET", "/?query=SELECT+1")
        assert connection.getresponse().status == 403
        connection.close()


@pytest.mark.parametrize("content", [b"", DAMAGE["cut"], None], ids=["empty", "cut", "gone"])
def test_a_running_server_writes_its_endpoint_again(content, own_server):
    with lease_server(own_server) as lease:
        path = own_server.state_dir / "endpoint.json"
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with ClickHouse(own_server) as clickhouse:
            assert clickhouse.query("SELECT 1 AS one").item() == 1
        assert StateFiles(own_server.state_dir).endpoint() == lease.endpoint


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"1"])
def test_a_server_is_stopped_whatever_its_lock_file_says(content, own_server):
    with lease_server(own_server) as lease:
        (own_server.state_dir / "gateway.lock").write_bytes(content)
        files = StateFiles(own_server.state_dir)
        assert files.server_pid() == lease.endpoint.pid

        assert stop_server(own_server)

        deadline = time.monotonic() + 20
        while files.server_pid() is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
