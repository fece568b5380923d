import threading
import time
from contextlib import closing

import clickhouse_connect
import pytest

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.errors import ClickHouseUnavailableError
from lab_pipeline.clickhouse.pool import ClickHousePool


def warming():
    return [thread for thread in threading.enumerate() if thread.name == "clickhouse-warm-up"]


def wait_until_warm():
    deadline = time.monotonic() + 60
    while warming():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_needs_it_finds_it_connected(config, clickhouse, monkeypatch):
    assert clickhouse.client.ping()
    connections = []
    get_client = clickhouse_connect.get_client
    monkeypatch.setattr(clickhouse_connect, "get_client", lambda **k: connections.append(k) or get_client(**k))
    with closing(ClickHousePool(config)) as pool:
        pool.warm_up()
        wait_until_warm()
        assert len(connections) == 1
        with pool.connection() as ready:
            assert ready.query("SELECT 1 AS one")["one"].item() == 1
            assert len(connections) == 1
            with pool.connection() as another:
                assert another.query("SELECT 1 AS one")["one"].item() == 1
            assert len(connections) == 2


def test_a_connection_of_a_run_that_has_ended_meanwhile_is_closed(config, clickhouse, monkeypatch):
    assert clickhouse.client.ping()
    closed, close = [], ClickHouse.close
    monkeypatch.setattr(ClickHouse, "close", lambda one: closed.append(one) or close(one))
    pool = ClickHousePool(config)
    pool.close()
    pool.warm_up()
    wait_until_warm()
    assert len(closed) == 1


def test_the_embedded_server_is_started_meanwhile(own_server):
    with closing(ClickHousePool(own_server)) as pool:
        pool.warm_up()
        wait_until_warm()
        assert (own_server.state_dir / "endpoint.json").exists()
        with pool.connection() as ready:
            assert ready.client.ping()


def test_a_server_that_is_away_is_met_by_who_needs_it(tmp_path):
    pool = ClickHousePool(ClickHouseConfig(state_dir=tmp_path, url="http://127.0.0.1:9"))
    pool.warm_up()
    wait_until_warm()
    with pytest.raises(ClickHouseUnavailableError), pool.connection() as clickhouse:
        clickhouse.query("SELECT 1")
