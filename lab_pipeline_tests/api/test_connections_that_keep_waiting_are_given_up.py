import json
import time

import pytest
from pydantic import SecretStr

from lab_pipeline.api import connections, middleware
from lab_pipeline.api.app import create_app
from lab_pipeline.api.connections import Connection
from lab_pipeline.settings import Settings
from lab_pipeline_tests.api.servers import connect, get, read_all, serving

HALF = b"GET / HTTP/1.1\r\nHost: 127"


async def small(scope, _receive, send):
    """Answer everything, whatever is asked; `/much` with more than any buffer holds."""
    body = b"x" * (64 << 20 if scope["path"] == "/much" else 2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def refused(answer, status):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"connection: close" in head.lower()
    error = json.loads(body)["error"]
    assert set(error) == {"code", "message", "details", "requestId"}
    assert f"x-request-id: {error['requestId']}".encode() in head.lower()
    return error["message"]


@pytest.mark.parametrize("sent", [b"", HALF, HALF + b"\r\n", get("/") + HALF])
def test_half_a_request_gets_an_answer_and_no_more_time(monkeypatch, sent):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with serving(small) as port, connect(port, sent) as half:
        answer = read_all(half)
    if sent.startswith(get("/")):
        whole, answer = answer[: answer.index(b"xx") + 2], answer[answer.index(b"xx") + 2 :]
        assert whole.startswith(b"HTTP/1.1 200")
    assert "headers may take" in refused(answer, 408)


def test_headers_that_come_byte_by_byte_get_no_more_time(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)
    with serving(small) as port, connect(port, HALF) as slow:
        slow.settimeout(0.1)
        began, answer = time.monotonic(), b""
        while not answer:
            slow.sendall(b"x")
            try:
                answer = slow.recv(4096)
            except TimeoutError:
                assert time.monotonic() - began < 30
        refused(answer, 408)


def test_headers_without_an_end_are_refused():
    with serving(small) as port, connect(port, HALF) as endless:
        for _ in range(2 * connections.HEAD_BYTES // 4096):
            try:
                endless.sendall(b"x" * 4096)
            except OSError:
                break  # it hung up
        answer = read_all(endless)
    if answer:  # else the answer was lost with what was still on its way to the server
        assert "65,536 bytes" in refused(answer, 431)


def test_what_is_no_request_is_refused_in_the_one_shape():
    with serving(small) as port, connect(port, b"\x16\x03\x01\x02\x00\x01\r\n\r\n") as other:
        refused(read_all(other), 400)


def test_a_new_connection_takes_the_place_of_the_one_that_has_kept_waiting_longest(monkeypatch):
    monkeypatch.setattr(Connection, "most", 3)
    with serving(small) as port:
        waiting = [connect(port, HALF) for _ in range(3)]
        for _ in range(5):
            with connect(port, get("/", "Connection: close")) as good:
                assert read_all(good).endswith(b"xx")
        assert read_all(waiting[0]) == b""
        waiting[-1].sendall(b".0.0.1\r\nConnection: close\r\n\r\n")
        assert read_all(waiting[-1]).endswith(b"xx")
        for connection in waiting:
            connection.close()


def test_where_all_are_at_work_a_new_connection_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(Connection, "most", 1)

    async def never(_scope, receive, _send):
        await receive()
        await receive()

    with serving(never) as port, connect(port, get("/")) as busy:
        time.sleep(0.2)
        with connect(port) as late:
            assert "come later" in refused(read_all(late), 503)
        busy.close()


def test_a_client_that_takes_nothing_is_given_up_and_a_slow_one_is_not(monkeypatch):
    monkeypatch.setattr(connections, "STALLED_SECONDS", 3.0)
    with serving(small) as port:
        with connect(port, get("/much")) as stalled:
            time.sleep(8)
            assert len(read_all(stalled)) < 64 << 20
        with connect(port, get("/much", "Connection: close")) as slow:
            taken, began = 0, time.monotonic()
            while data := slow.recv(1 << 20):
                taken += len(data)
                time.sleep(0.1 if time.monotonic() - began < 5 else 0)
            assert taken > 64 << 20


@pytest.mark.parametrize("sent", [b"", b"{"])
def test_half_a_body_gets_an_answer_and_no_more_time(home, monkeypatch, sent):
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.5)
    headers = ("Content-Type: application/json", "Content-Length: 1000", "Authorization: Bearer s3cret")
    app = create_app(Settings(home=home, port=1, api_token=SecretStr("s3cret")))
    request = get("/strategies", *headers).replace(b"GET", b"POST")
    with serving(app, lifespan="on") as port, connect(port, request + sent) as half:
        assert "body may take" in refused(read_all(half), 408)


def test_a_body_that_nobody_reads_gets_no_more_time(monkeypatch):
    monkeypatch.setattr(connections, "LAST_BODY_SECONDS", 0.5)
    request = get("/", "Content-Length: 1000")
    with serving(small) as port, connect(port, request) as half:
        assert read_all(half).endswith(b"xx")
