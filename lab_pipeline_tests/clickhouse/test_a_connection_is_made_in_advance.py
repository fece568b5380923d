import threading
import time
from dataclasses import replace

import clickhouse_connect
import pytest

from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.errors import ClickHouseUnavailableError
from lab_pipeline.clickhouse.warmup import connected, warm_up


def warming():
    return [thread for thread in threading.enumerate() if thread.name == "clickhouse-warm-up"]


def wait_until_warm():
    deadline = time.monotonic() + 60
    while warming():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_needs_it_finds_it_connected(config, clickhouse, monkeypatch):
    assert clickhouse.client.ping()
    mine = replace(config, write_deadline_seconds=7)
    connections = []
    get_client = clickhouse_connect.get_client
    monkeypatch.setattr(clickhouse_connect, "get_client", lambda **k: connections.append(k) or get_client(**k))
    for _ in range(2):  # the connection of a run that failed is closed when the next is made
        warm_up(mine)
        wait_until_warm()
    assert len(connections) == 2
    with connected(mine) as ready:
        assert ready.query("SELECT 1 AS one")["one"].item() == 1
    assert len(connections) == 2
    with connected(mine) as another:
        assert another.query("SELECT 1 AS one")["one"].item() == 1
    assert len(connections) == 3


def test_the_embedded_server_is_started_meanwhile(own_server):
    warm_up(own_server)
    wait_until_warm()
    assert (own_server.state_dir / "endpoint.json").exists()
    with connected(own_server) as ready:
        assert ready.client.ping()


def test_a_server_that_is_away_is_met_by_who_needs_it(tmp_path):
    config = ClickHouseConfig(state_dir=tmp_path, url="http://127.0.0.1:9")
    warm_up(config)
    wait_until_warm()
    with connected(config) as clickhouse, pytest.raises(ClickHouseUnavailableError):
        clickhouse.query("SELECT 1")
