"""`LAB_HOST` off loopback: with the token everything works, without it nothing answers, or nothing starts."""

import ipaddress
import re

import httpx
import psutil
import pytest

from lab_pipeline.client import Client
from lab_pipeline.doors import listen
from lab_pipeline_tests.support.processes import of_home
from lab_pipeline_tests.support.running_lab import BEARER, EVERYWHERE, TOKEN

QUERY = {"query": "{ version }"}


@pytest.mark.parametrize("words", [("up",), ("api",), ("webserver", "-w", "workspace.yaml")])
def test_nothing_starts_without_it(lab, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    monkeypatch.setenv("LAB_HOST", EVERYWHERE)
    ended = lab(*words)
    assert ended.status == 2
    assert ended.err.splitlines() == [
        f"error: LAB_HOST is {EVERYWHERE}, which others reach: set LAB_API_TOKEN, or LAB_HOST to 127.0.0.1"
    ]


def test_a_port_that_is_taken_is_one_clear_message(lab, monkeypatch, tmp_path):
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    with listen("127.0.0.1", 0, "LAB_PORT") as listener:
        monkeypatch.setenv("LAB_PORT", str(listener.getsockname()[1]))
        ended = lab("webserver", "-w", tmp_path / "workspace.yaml")
    assert ended.status == 2
    assert re.fullmatch(r"error: cannot listen on 127.0.0.1:\d+: .*\. Set LAB_PORT to another\.\n", ended.err)


def listeners(home):
    """Return the addresses on which processes of a home listen."""
    found = set()
    for pid in of_home(home):
        try:
            sockets = psutil.Process(pid).net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        found |= {one.laddr for one in sockets if one.status == psutil.CONN_LISTEN}
    return found


def loopback(host):
    address = ipaddress.ip_address(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@pytest.mark.slow
def test_with_it_everything_works_and_without_it_nothing_answers(open_lab):
    ui, api = urls = (open_lab.url, open_lab.api)
    run = Client(api, TOKEN).backtest("ladder", "1m", start="2018-01-10", end="2018-01-30")  # through the UI's server
    run.cancel()
    assert httpx.post(f"{ui}/graphql", json=QUERY, headers=BEARER).json()["data"]
    assert httpx.get(f"{api}/api/health").status_code in {200, 503}

    open_ports = {address.port for address in listeners(open_lab.home) if not loopback(address.ip)}
    assert open_ports == {httpx.URL(url).port for url in urls}
    for url in urls:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Host": "127.0.0.1"}):
            assert httpx.get(url, headers=headers).status_code == 401
            assert httpx.post(f"{url}/graphql", json=QUERY, headers=headers).status_code == 401
            assert httpx.post(f"{url}/runs/{run.run_id}/retry", headers=headers).status_code == 401
        assert httpx.get(url, headers={**BEARER, "Host": "evil.example"}).status_code == 421
        assert httpx.post(url, headers={**BEARER, "Origin": "http://evil.example"}).status_code == 403
    attack = f'mutation {{ deletePipelineRun(runId: "{run.run_id}") {{ __typename }} }}'
    assert httpx.get(f"{ui}/graphql", params={"query": attack}, headers=BEARER).status_code == 400
    assert run.refresh().run_id == run.run_id
