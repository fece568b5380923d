import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from lab_pipeline.clickhouse.client import ClickHouse, status
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.errors import EmbeddedServerError
from lab_pipeline.clickhouse.gateway import launch
from lab_pipeline.clickhouse.gateway.files import StateFiles
from lab_pipeline.clickhouse.gateway.launch import lease_server, stop_server
from lab_pipeline_tests.support.embedded import stopped_at_the_end

STARTER = """
import json, sys
from pathlib import Path
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.gateway.launch import lease_server
with lease_server(ClickHouseConfig(state_dir=Path(sys.argv[1]))) as lease:
    print(json.dumps([lease.endpoint.pid, lease.endpoint.port, lease.endpoint.instance]))
"""


def start_from_another_process(config):
    command = [sys.executable, "-c", STARTER, str(config.state_dir)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_processes_that_race_get_the_same_server(own_server):
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(start_from_another_process, [own_server] * 6))
    assert len({tuple(one) for one in found}) == 1
    assert found[0][0] == StateFiles(own_server.state_dir).server_pid()


def test_a_killed_server_is_replaced_and_old_clients_go_on(own_server):
    with ClickHouse(own_server) as clickhouse:
        clickhouse.command("CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n")
        endpoint = lease_server(own_server).endpoint
        outside = clickhouse_connect.get_client(
            host=endpoint.host, port=endpoint.port, username=endpoint.username, password=endpoint.password
        )
        clickhouse.command("INSERT INTO t VALUES (1)")
        os.kill(endpoint.pid, signal.SIGKILL)
        assert clickhouse.query("SELECT n FROM t").rows() == [(1,)]
        assert status(own_server).pid != endpoint.pid
        assert outside.query("SELECT n FROM lab.t").result_rows == [(1,)]


def test_a_server_that_dies_while_it_starts_is_started_again(own_server):
    files = StateFiles(own_server.state_dir)
    with ThreadPoolExecutor(1) as pool:
        lease = pool.submit(lease_server, own_server)
        while not own_server.state_dir.is_dir() or (pid := files.server_pid()) is None:
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        assert lease.result(timeout=30).endpoint.pid != pid


def test_an_unused_server_stops_and_leaves_no_trace(own_server):
    impatient = replace(own_server, idle_seconds=0.4)
    files = StateFiles(own_server.state_dir)
    lease = lease_server(impatient)
    time.sleep(1.2)
    assert files.server_pid() == lease.endpoint.pid, "a lease keeps it running"
    lease.close()
    deadline = time.monotonic() + 5
    while files.server_pid() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert files.endpoint() is None
    with ClickHouse(impatient) as clickhouse:
        assert clickhouse.query("SELECT 1 AS one").rows() == [(1,)]


@pytest.mark.parametrize("how", ["deleted", "moved away and made again"])
def test_a_server_whose_directory_is_gone_stops_and_leaves_a_new_one_alone(own_server, how):
    directory = own_server.state_dir
    with lease_server(own_server) as lease:
        old = lease.endpoint.pid
        if how == "deleted":
            shutil.rmtree(directory)
        else:
            directory.rename(directory.with_name("elsewhere"))
        with ClickHouse(own_server) as clickhouse:
            assert clickhouse.query("SELECT 1 AS one").rows() == [(1,)]
            deadline = time.monotonic() + 20
            while Path(f"/proc/{old}").exists():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert StateFiles(directory).endpoint().pid != old
            assert clickhouse.query("SELECT 2 AS two").rows() == [(2,)]


def test_clients_of_a_stopping_server_never_fail(own_server):
    impatient = replace(own_server, idle_seconds=0.05)
    for _ in range(4):
        with ClickHouse(impatient) as clickhouse:
            assert clickhouse.query("SELECT 1 AS one").rows() == [(1,)]
        time.sleep(0.06)


def test_start_stop_and_status(own_server):
    assert status(own_server).state == "stopped"
    assert not stop_server(own_server)
    with lease_server(own_server) as lease:
        found = status(own_server)
        assert (found.state, found.port, found.pid) == ("running", lease.endpoint.port, lease.endpoint.pid)
        assert found.version
        assert lease.endpoint.password not in repr(found) + repr(lease.endpoint)
    assert stop_server(own_server)
    assert status(own_server).state == "stopped"


@pytest.mark.slow
def test_stopping_ends_what_is_running(own_server):
    with ClickHouse(own_server) as clickhouse, ThreadPoolExecutor(1) as pool:
        endless = pool.submit(clickhouse.client.command, "SELECT sum(sipHash64(number)) FROM numbers(100000000000)")
        time.sleep(0.5)
        assert stop_server(own_server)
        with pytest.raises(DatabaseError):
            endless.result(timeout=5)
    log = StateFiles(own_server.state_dir).log.read_text()
    assert log.endswith("stopped\n")
    assert "generator" not in log


def test_only_the_user_can_read_the_password(own_server):
    with lease_server(own_server) as lease:
        assert stat.S_IMODE(own_server.state_dir.stat().st_mode) == 0o700
        for name in ("password", "endpoint.json"):
            file = own_server.state_dir / name
            assert lease.endpoint.password in file.read_text()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_config_file_in_the_working_directory_is_not_obeyed(own_server, tmp_path, monkeypatch):
    (tmp_path / "config.xml").write_text("<clickhouse><path>/nowhere</path></clickhouse>")
    monkeypatch.chdir(tmp_path)
    with ClickHouse(own_server) as clickhouse:
        assert clickhouse.query("SELECT 1 AS one").rows() == [(1,)]


def test_a_directory_may_have_any_name(own_server):
    odd = replace(own_server, state_dir=own_server.state_dir / "a b?config-file=&é'%20")
    with stopped_at_the_end(odd), ClickHouse(odd) as clickhouse:
        path = clickhouse.query("SELECT path FROM system.disks WHERE name = 'default'")["path"].item()
        assert Path(path) == odd.state_dir / "data"


def test_a_proxy_in_the_environment_is_not_asked(own_server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with ClickHouse(own_server) as clickhouse:
        assert clickhouse.query("SELECT 1 AS one").rows() == [(1,)]


def test_a_server_that_cannot_start_says_why(own_server):
    own_server.state_dir.mkdir(parents=True)
    (own_server.state_dir / "data").write_text("in the way")
    with pytest.raises(EmbeddedServerError, match=r"ended at its start: .*data"):
        lease_server(own_server)


def test_without_chdb_and_without_a_server_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda _: None)
    with (
        pytest.raises(EmbeddedServerError, match=r"lab-pipeline\[embedded\].*LAB_CLICKHOUSE_URL"),
        ClickHouse(ClickHouseConfig(state_dir=tmp_path)) as clickhouse,
    ):
        clickhouse.query("SELECT 1")
