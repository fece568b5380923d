import dagster as dg
import pytest

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.settings import load_settings


@pytest.fixture
def ran(stocked):
    """The command line, and the id of a backtest that has completed."""
    ended = stocked("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")
    assert ended.status == 0, ended.err
    return stocked, ended.json["runId"]


def waiting():
    config = {"ops": {"run": {"config": {"strategy": "ladder", "timeframe": "1m"}}}}
    with open_instance(load_settings()) as instance:
        return instance.add_run(
            dg.DagsterRun("backtest", run_config=config, status=dg.DagsterRunStatus.NOT_STARTED)
        ).run_id


def status(lab, run_id):
    return lab("runs", "show", run_id, "--json").json["status"]


def test_a_waiting_run_is_canceled_and_a_finished_one_is_not(ran):
    lab, done = ran
    run_id = waiting()
    ended = lab("runs", "cancel", run_id[:8])
    assert (ended.status, ended.out) == (0, f"canceling run {run_id}\n")
    assert status(lab, run_id) == "canceled"
    refused = lab("runs", "cancel", done)
    assert refused.status != 0
    assert "completed" in refused.err
    assert status(lab, done) == "completed"


def test_a_run_is_deleted_when_that_is_confirmed(ran, monkeypatch):
    lab, done = ran
    store = ArtifactStore.of(load_settings())
    monkeypatch.setattr("typer.confirm", lambda *_words, **_options: False)
    assert lab("runs", "delete", done).status == 0
    assert store.has(done)
    ended = lab("runs", "delete", done[:8], "--yes")
    assert (ended.status, ended.out) == (0, f"deleted run {done}\n")
    assert not store.has(done)
    assert "unknown run" in lab("runs", "show", done).err


def test_a_run_that_waits_is_not_deleted(ran):
    lab, _ = ran
    run_id = waiting()
    refused = lab("runs", "delete", run_id, "--yes")
    assert refused.status != 0
    assert "cancel" in refused.err
    assert status(lab, run_id) == "queued"


def test_a_retry_needs_the_webserver_and_says_so(ran, monkeypatch):
    lab, done = ran
    monkeypatch.setenv("LAB_DAGSTER_URL", "http://127.0.0.1:9")
    refused = lab("runs", "retry", done)
    assert refused.status != 0
    assert "`lab up` starts it" in refused.err
