"""`lab migrate storage` on a lab with runs, to a real Postgres by the dagster.yaml of `deploy/`, and back."""

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from lab_pipeline.cli.up import only_one
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations import move_storage
from lab_pipeline.operations.log_shipper import shipping
from lab_pipeline.settings import load_settings
from lab_pipeline.storage.copy import MOVED, DagsterStores
from lab_pipeline_tests.support.postgres import cluster

TARGET = Path(__file__).parents[2] / "deploy" / "dagster.yaml"
NUMBERS = re.compile(r'(?<="storage_id": )\d+|(?<=": ")\d+(?=")')
BACKTEST = ("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")


@pytest.fixture(scope="module")
def new_database():
    with cluster() as database:
        yield database


def seen(lab, run_id):
    """Show a run and its log as people see them, without the numbers of events, which are the storage's."""
    log = NUMBERS.sub("0", lab("runs", "logs", run_id, "--level", "debug", "--json").out)
    lines = [{key: value for key, value in json.loads(line).items() if key != "seq"} for line in log.splitlines()]
    return lab("runs", "show", run_id, "--json").json, lines


@pytest.mark.long
def test_runs_logs_and_statistics_go_along(stocked, new_database, monkeypatch):
    run_id = stocked(*BACKTEST).json["runId"]
    before = seen(stocked, run_id)
    assert len(before[1]) > 20
    config = stocked.home / "dagster" / "dagster.yaml"
    written_by_lab = config.read_text()

    monkeypatch.setenv("DAGSTER_POSTGRES_URL", new_database())
    ended = stocked("migrate", "storage", TARGET)
    assert ended.status == 0, ended.err
    assert "1  runs" in ended.out
    assert config.read_text() == TARGET.read_text()
    (kept,) = config.parent.glob("dagster.yaml.2*")
    assert kept.read_text() == written_by_lab
    assert seen(stocked, run_id) == before
    assert "already" in stocked("migrate", "storage", TARGET).out
    with open_instance(load_settings()) as instance:
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"

    again = stocked(*BACKTEST).json["runId"]  # on Postgres
    expected = [seen(stocked, one) for one in (run_id, again)]
    assert stocked("migrate", "storage", "embedded").status == 0
    assert [seen(stocked, one) for one in (run_id, again)] == expected
    assert stocked(*BACKTEST).status == 0


def test_nothing_moves_while_something_runs(lab, tmp_path):
    target = tmp_path / "target.yaml"
    target.write_text((TARGET.parents[1] / "dagster.yaml").read_text().replace("runs.duckdb", "other.duckdb"))
    settings = load_settings()
    with open_instance(settings) as instance:
        run_id = instance.add_run(dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.STARTING)).run_id
    ended = lab("migrate", "storage", target)
    assert ended.status == 2
    assert f"1 runs are not finished ({run_id})" in ended.err
    with only_one(settings):
        ended = lab("migrate", "storage", target)
    assert ended.status == 2
    assert "already up" in ended.err


@pytest.fixture
def other_store(lab, tmp_path):
    """A dagster.yaml with another run storage, and what of the lab a move would change."""
    with open_instance(load_settings()):
        pass
    target = tmp_path / "target.yaml"
    target.write_text((TARGET.parents[1] / "dagster.yaml").read_text().replace("runs.duckdb", "other.duckdb"))
    config = lab.home / "dagster" / "dagster.yaml"
    before = config.read_text()
    yield target
    assert config.read_text() == before
    with open_instance(load_settings()) as instance:
        assert DagsterStores.of(instance).mark(MOVED) is None


def test_nothing_moves_while_a_log_shipper_is_at_work(lab, other_store):
    with shipping(load_settings()):
        ended = lab("migrate", "storage", other_store)
    assert ended.status == 2
    assert "a log shipper is at work on this home: stop `lab clickhouse ship` first" in ended.err


def test_nothing_moves_while_a_daemon_is_at_work(lab, other_store, monkeypatch):
    with open_instance(load_settings()) as instance:
        heartbeat(instance, time.time() - 10)
        monkeypatch.setattr(move_storage.time, "sleep", lambda _: heartbeat(instance, time.time()))
        ended = lab("migrate", "storage", other_store)
    assert ended.status == 2
    assert "a Dagster daemon is at work on this storage" in ended.err


def test_a_daemon_that_was_stopped_is_waited_for_no_longer_than_its_heartbeat(lab, monkeypatch):  # noqa: ARG001 - it sets where the home is
    slept = []
    clock = SimpleNamespace(time=lambda: 1000.0, monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(move_storage, "time", clock)
    with open_instance(load_settings()) as instance:
        for at, expected in ((990.0, 25), (900.0, 0), (5000.0, 35)):  # the last by a clock that was ahead
            slept.clear()
            heartbeat(instance, at)
            move_storage._require_idle(load_settings(), instance)  # noqa: SLF001 - the wait alone
            assert sum(slept) == expected


def heartbeat(instance, at):
    instance.add_daemon_heartbeat(DaemonHeartbeat(at, "SENSOR", "one", []))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot read"),
        ("storage: {postgres: {}}", "cannot open the storage of the target"),
        ("run_storage: {module: nowhere, class: Nothing}", "cannot open the storage of the target"),
    ],
)
def test_a_target_that_cannot_be_used_is_one_clear_message(lab, tmp_path, text, reason):
    path = tmp_path / "target.yaml"
    if text:
        path.write_text(text)
    ended = lab("migrate", "storage", path)
    assert ended.status == 2
    assert reason in ended.err
    assert "Traceback" not in ended.err
    assert not list((lab.home / "dagster").glob(".target*"))


def test_a_target_that_does_not_answer_is_one_clear_message(lab, monkeypatch):
    pytest.importorskip("dagster_postgres", reason="dagster-postgres is not installed")
    monkeypatch.setattr("dagster_postgres.utils.time.sleep", lambda _: None)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://lab:secret@127.0.0.1:1/none")
    ended = lab("migrate", "storage", TARGET)
    assert ended.status == 2
    assert "Connection refused" in ended.err
    assert "secret" not in ended.err
