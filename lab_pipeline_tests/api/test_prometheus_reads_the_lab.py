import dagster as dg
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from lab_pipeline.api import telemetry
from lab_pipeline.api.app import create_app
from lab_pipeline.operations.disk_usage import disk_use
from lab_pipeline.operations.runs import Runs
from lab_pipeline.settings import Settings


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr(telemetry, "FRESH_SECONDS", -1.0)


def samples(client):
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def record(instance, status, seconds=None):
    run = instance.create_run_for_job(job_def=job)
    change = "UPDATE runs SET status = :status, start_time = :start, end_time = :end WHERE run_id = :id"
    times = {"start": None, "end": None} if seconds is None else {"start": 1000, "end": 1000 + seconds}
    with instance.run_storage.connect() as connection:
        connection.execute(sa.text(change), {"status": status.value, "id": run.run_id, **times})


@dg.job(name="backtest")
def job():
    """Stands for the lab's: only its name is looked at."""


def test_runs_are_counted_by_status_and_by_how_long_they_took(api):
    instance = api.app.state.stores.instance
    for seconds in (1, 4, 4000):
        record(instance, dg.DagsterRunStatus.SUCCESS, seconds)
    record(instance, dg.DagsterRunStatus.FAILURE, 2.5)
    record(instance, dg.DagsterRunStatus.STARTED)
    for _ in range(2):
        record(instance, dg.DagsterRunStatus.QUEUED)
    found = samples(api)
    counts = {"queued": 2, "running": 1, "completed": 3, "failed": 1, "canceled": 0}
    assert {status: found["lab_runs", status] for status in counts} == counts
    assert found["lab_queued_runs",] == 2
    within = {bound: found["lab_run_seconds_bucket", bound, "completed"] for bound in ("1.0", "5.0", "3600.0", "+Inf")}
    assert within == {"1.0": 1, "5.0": 2, "3600.0": 2, "+Inf": 3}
    assert found["lab_run_seconds_sum", "completed"] == 4005
    assert found["lab_run_seconds_count", "failed"] == 1
    assert ("lab_run_seconds_count", "running") not in found


def test_disk_and_answers_are_counted(api, home):
    api.get("/strategies/nothing")
    api.get("/nothing/at/all")
    api.head("/strategies")
    api.request("BREW", "/strategies")
    found = samples(api)
    assert found["lab_disk_free_bytes",] > 0
    assert {name[1] for name in found if name[0] == "lab_disk_used_bytes"} == set(disk_use(Settings(home=home)))
    assert found["lab_disk_used_bytes", "catalog"] == (home / "catalog.duckdb").stat().st_size
    for labels in (("GET", "/strategies/{id}", "404"), ("GET", "none", "404"), ("HEAD", "/strategies", "200")):
        assert found[("lab_http_requests_total", *labels)] == 1
    assert found["lab_http_request_seconds_count", "GET", "/strategies/{id}"] == 1
    assert {name[1] for name in found if name[0] == "lab_http_requests_total"} == {"GET", "HEAD", "other"}


def test_what_is_down_is_said_and_its_numbers_are_missing(home, monkeypatch):
    def broken(*_args):
        raise sa.exc.OperationalError("SELECT", {}, Exception("cut"))

    away = Settings(home=home, port=1, clickhouse_url=SecretStr("http://127.0.0.1:9/lab"))
    with TestClient(create_app(away)) as client:
        found = samples(client)
        assert {name[1]: value for name, value in found.items() if name[0] == "lab_store_up"} == {
            "dagster": 0, "clickhouse": 0, "catalog": 1, "artifacts": 1, "runs": 1,
        }  # fmt: skip
        assert ("lab_shipper_lag_seconds",) not in found
        monkeypatch.setattr(Runs, "counts", broken)
        found = samples(client)
        assert found["lab_store_up", "runs"] == 0
        assert not [name for name in found if name[0].startswith(("lab_runs", "lab_run_seconds", "lab_queued"))]


def test_the_stores_are_asked_once_however_many_scrape(api, monkeypatch):
    looks = []
    look = telemetry.look
    monkeypatch.setattr(telemetry, "FRESH_SECONDS", 60.0)
    monkeypatch.setattr(telemetry, "look", lambda stores: looks.append(1) or look(stores))
    for _ in range(5):
        samples(api)
    assert len(looks) == 1


def test_the_numbers_are_for_whoever_has_the_token(home):
    with TestClient(create_app(Settings(home=home, port=1, api_token=SecretStr("s3cret")))) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"authorization": "Bearer s3cret"}).status_code == 200
