"""`lab open`: which page, and what if nobody serves it."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest


class Refusing(BaseHTTPRequestHandler):
    """Answers as an API does that wants a token."""

    def do_GET(self):
        self.send_error(401)

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def opened(monkeypatch):
    """What a browser was sent to."""
    found = []
    monkeypatch.setattr("webbrowser.open", lambda address: not found.append(address))
    return found


def test_the_first_page_or_that_of_a_run(backtested, opened, monkeypatch):
    run_id = backtested.runs["ladder"]["runId"]
    with serving() as address:
        monkeypatch.setenv("LAB_API_URL", f"{address}/")
        assert backtested("open").out == f"{address}/lab\n"
        assert backtested("open", run_id[:8]).out == f"{address}/lab/runs/{run_id}\n"
        assert opened == [f"{address}/lab", f"{address}/lab/runs/{run_id}"]
        assert backtested("open", "--no-browser").out == f"{address}/lab\n"
        assert len(opened) == 2
        ended = backtested("open", "none")
    assert ended.status == 2
    assert "unknown run 'none'" in ended.err
    assert "unknown sweep 'none'" in ended.err


def test_that_of_a_sweep(lab, swept_home, opened, monkeypatch):
    sweep_id = next(path.name for path in (swept_home / "sweeps").iterdir() if (path / "manifest.json").exists())
    monkeypatch.setenv("LAB_HOME", str(swept_home))
    with serving() as address:
        monkeypatch.setenv("LAB_API_URL", address)
        assert lab("open", sweep_id).out == f"{address}/lab/sweeps/{sweep_id}\n"
    assert opened == [f"{address}/lab/sweeps/{sweep_id}"]


def test_where_there_is_no_browser_it_says_so(lab, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    with serving() as address:
        monkeypatch.setenv("LAB_API_URL", address)
        assert lab("open").out == f"{address}/lab\nno browser was found here: open it yourself\n"


def test_where_nobody_serves_them_it_says_what_does(lab, opened, monkeypatch):
    with serving() as address:
        pass
    monkeypatch.setenv("LAB_API_URL", address)
    ended = lab("open")
    assert ended.status == 2
    assert f"nothing answers at {address}: `lab up` serves {address}/lab" in ended.err
    monkeypatch.delenv("LAB_API_URL")
    monkeypatch.setenv("LAB_API_PORT", "0")
    assert "the address that `lab up` prints" in lab("open").err
    assert opened == []
