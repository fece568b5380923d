import os
import subprocess

import pytest

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.gateway import launch
from lab_pipeline.clickhouse.series import visible_rows
from lab_pipeline.clickhouse.writer import delete_run

NOWHERE = "http://user:secret@127.0.0.1:9/lab"


@pytest.fixture
def embedded(lab, monkeypatch):
    """The command line on a home whose ClickHouse is the embedded one."""
    monkeypatch.delenv("LAB_CLICKHOUSE_URL", raising=False)
    yield lab
    launch.stop_server(ClickHouseConfig(state_dir=lab.home / "clickhouse"))


def test_the_embedded_server_starts_shows_itself_and_stops(embedded):
    keys = ["state", "host", "port", "username", "password", "database", "pid", "version"]
    assert embedded("clickhouse", "status", "--json").json == {**dict.fromkeys(keys), "state": "stopped"}
    assert not (embedded.home / "clickhouse").exists()
    assert embedded("clickhouse", "start").status == 0
    seen = embedded("clickhouse", "status", "--json").json
    assert list(seen) == keys
    assert seen["state"] == "running"
    os.kill(seen["pid"], 0)
    address = f"http://{seen['host']}:{seen['port']}/?database={seen['database']}"
    curl = ["curl", "--silent", "--noproxy", "*", "--user", f"{seen['username']}:{seen['password']}", address]
    answer = subprocess.run([*curl, "-d", "EXISTS run_metrics"], capture_output=True, text=True, check=True)
    assert answer.stdout == "1\n"
    shown = embedded("clickhouse", "status")
    assert f"127.0.0.1\nport       {seen['port']}" in shown.out
    assert seen["password"] not in shown.out + shown.err
    assert "up to date" in embedded("clickhouse", "migrate").out
    assert f"the embedded server at 127.0.0.1:{seen['port']} runs" in embedded("doctor").out
    assert embedded("clickhouse", "stop").out == "stopped\n"
    assert embedded("clickhouse", "stop").out == "it was not running\n"
    assert "the embedded server is stopped" in embedded("doctor").out


def test_a_server_that_is_away_is_said_to_be(lab, monkeypatch):
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", NOWHERE)
    status = lab("clickhouse", "status", "--json")
    assert (status.status, status.json["state"], status.json["port"]) == (1, "unreachable", 9)
    migrate = lab("clickhouse", "migrate")
    assert migrate.status == 2
    assert migrate.err.startswith("error: ClickHouse at 127.0.0.1:9 does not answer (check LAB_CLICKHOUSE_URL")
    doctor = lab("doctor")
    assert "FAIL clickhouse   the server at 127.0.0.1:9 does not answer" in doctor.out
    assert "secret" not in migrate.err + doctor.out


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_somebody_elses_server_is_left_alone(lab, monkeypatch, verb):
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", NOWHERE)
    ended = lab("clickhouse", verb)
    assert ended.status == 2
    assert f"not the lab's to {verb}" in ended.err


def test_without_chdb_and_url_the_error_says_what_to_do(embedded, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    ended = embedded("clickhouse", "start")
    assert ended.status == 2
    assert "pip install 'lab-pipeline[embedded]'" in ended.err
    assert "LAB_CLICKHOUSE_URL" in ended.err
    assert "FAIL clickhouse   there is none" in embedded("doctor").out


def test_a_backtest_needs_no_server_and_what_is_lost_is_rebuilt(embedded, stocked):
    runs = [stocked("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json").json["runId"] for _ in range(2)]
    with ClickHouse(ClickHouseConfig(state_dir=embedded.home / "clickhouse")) as clickhouse:
        written = visible_rows(clickhouse, runs[0])
        assert written["fills"] > 3
        for run_id in runs:
            delete_run(clickhouse, run_id)
        assert stocked("clickhouse", "rebuild", runs[0][:8]).out.startswith("1 runs, ")
        assert (visible_rows(clickhouse, runs[0]), visible_rows(clickhouse, runs[1])) == (written, {})
        assert stocked("clickhouse", "rebuild").out.startswith("2 runs, ")
        assert [visible_rows(clickhouse, run_id) for run_id in runs] == [written] * 2
    unknown = stocked("clickhouse", "rebuild", "nothing")
    assert unknown.status == 2
    assert "unknown run 'nothing'" in unknown.err
