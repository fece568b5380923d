"""The whole lab, started by `lab up` and used over HTTP only."""

import contextlib
import json
import os
import signal
import time

import httpx
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ensure_resource_availability,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    use_after_free,
)

from lab_pipeline.api.app import create_app
from lab_pipeline.clickhouse.gateway.files import StateFiles
from lab_pipeline.client import Client, RunFailedError
from lab_pipeline.dagster_ext.instance import SILENT_SECONDS
from lab_pipeline.files.errors import StorageTimeoutError
from lab_pipeline.settings import Settings
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline_tests.api.labs import REQUEST, StandInWebserver
from lab_pipeline_tests.support.processes import processes
from lab_pipeline_tests.support.running_lab import BEARER, TOKEN

RANGE = {"start": "2018-01-10", "end": "2018-01-30"}
PROMPTLY = 40.0

pytestmark = pytest.mark.slow


class OverHTTP:
    def __init__(self, lab):
        self.home, self.settings, self.url = lab.home, Settings(home=lab.home), lab.api
        self.lab = Client(self.url, TOKEN)

    def pid_of(self, program):
        return processes(self.home, program)[0]


@pytest.fixture
def running(open_lab, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(open_lab.home))
    monkeypatch.setenv("DAGSTER_HOME", str(open_lab.home / "dagster"))
    return OverHTTP(open_lab)


def test_a_run_from_request_to_results(running):
    run = running.lab.backtest("ladder", "1m", **RANGE, callers=["ann"], seed=3, key="life")
    assert run.status in {"queued", "running"}
    done = run.wait(120)
    assert done.summary["calls"] == 2
    assert done.details["config"]["seed"] == 3
    assert done.artifact("trades")["caller"].unique().to_list() == ["ann"]
    assert done.metrics("equity", interval="1h")["equity"].height >= 1
    assert running.lab.backtest("ladder", "1m", **RANGE, callers=["ann"], seed=3, key="life").run_id == run.run_id
    assert httpx.get(f"{running.url}/api/health").status_code == 200
    again = done.retry()
    assert again.wait(120).details["fingerprint"] == done.details["fingerprint"]
    again.delete()


def events(lines):
    """Yield the kind and the data of each event of a stream."""
    kind = None
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def test_a_stream_follows_a_run_from_the_queue_to_its_end(running):
    daemon = stopped_daemon(running)  # so that the run waits, however fast it is
    try:
        run = running.lab.backtest("ladder", "1m", **RANGE, seed=11)
        headers = {**BEARER, "Accept": "text/event-stream"}
        with httpx.stream("GET", f"{running.url}/runs/{run.run_id}/logs", headers=headers, timeout=120) as answer:
            assert answer.status_code == 200
            seen, first_came_while = [], None
            for event in events(answer.iter_lines()):
                first_came_while = first_came_while or run.refresh().status
                os.kill(daemon, signal.SIGCONT)
                seen.append(event)
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert first_came_while == "queued"
    assert seen[-1] == ("end", {"status": "completed"})
    messages = [line["message"] for kind, line in seen if kind == "log"]
    assert messages == run.logs(limit="1000")["message"].to_list()
    assert any("rows of metrics and fills are in ClickHouse" in message for message in messages)


def test_a_running_run_is_canceled_within_seconds_and_leaves_only_its_log(running):
    run = running.lab.backtest("ladder", "1m", **RANGE, seed=12)
    server = StateFiles(running.settings.clickhouse_dir).server_pid()
    os.kill(server, signal.SIGSTOP)  # so that the run waits for it, however fast it is
    try:
        deadline = time.monotonic() + 60
        while run.status != "running" or not (running.settings.artifacts_dir / run.run_id).exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
            run = run.refresh()
        began = time.monotonic()
        run.cancel()
        while run.status == "running":
            assert time.monotonic() - began < 15
            time.sleep(0.1)
            run = run.refresh()
    finally:
        os.kill(server, signal.SIGCONT)
    assert run.status == "canceled"
    while (running.settings.artifacts_dir / run.run_id).exists():
        assert time.monotonic() - began < 60
        time.sleep(0.1)
    assert run.artifacts() == []
    assert run.metrics("equity")["equity"].height == 0
    assert run.logs().height > 0


@pytest.mark.long
def test_a_run_whose_process_was_killed_fails_and_says_so(running):
    run = running.lab.backtest("ladder", "1m", **RANGE, seed=4)
    deadline = time.monotonic() + PROMPTLY
    while run.status == "queued" and time.monotonic() < deadline:
        time.sleep(0.05)
        run = run.refresh()
    os.kill(running.pid_of(run.run_id), signal.SIGKILL)
    with pytest.raises(RunFailedError, match=r"worker|process"):
        run.wait(PROMPTLY)


@pytest.mark.long
def test_a_webserver_that_died_makes_requests_come_back_later_and_loses_nothing(running):
    os.kill(running.pid_of("/lab webserver "), signal.SIGKILL)
    answers = []
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        answer = httpx.post(
            f"{running.url}/backtest", json=REQUEST, headers={**BEARER, "Idempotency-Key": "web"}, timeout=60
        )
        answers.append(answer)
        assert answer.status_code in {202, 503}, answer.text
        if answer.status_code == 202:
            break
        assert int(answer.headers["retry-after"]) > 0
        assert httpx.get(f"{running.url}/runs", headers=BEARER).status_code == 200
        time.sleep(1)
    assert answers[0].status_code == 503
    assert answers[-1].status_code == 202
    running.lab.run(answers[-1].json()["runId"]).wait(120)


def stopped_daemon(running):
    """Stop the daemon while it is not in the middle of a transaction, which everybody else would wait for."""
    daemon, runs = (
        running.pid_of("lab_pipeline.dagster_ext.daemon"),
        DuckFile.at(running.settings.dagster_home / "runs.duckdb"),
    )
    while True:
        os.kill(daemon, signal.SIGSTOP)
        try:
            with runs.transaction(write=True, timeout=2):
                return daemon
        except StorageTimeoutError:
            os.kill(daemon, signal.SIGCONT)
            time.sleep(0.05)


def health_after(patch, running, seconds):
    """Ask for the health of this lab, in this process, some time from now."""
    now = time.time
    patch.setattr("lab_pipeline.api.routes.health.time.time", lambda: now() + seconds)
    app = create_app(running.settings)
    with TestClient(app) as client:
        app.state.stores.webserver = StandInWebserver(app.state.stores.instance)
        return client.get("/api/health")


def test_with_the_daemon_stopped_runs_wait_and_can_be_canceled(running, monkeypatch):
    daemon = stopped_daemon(running)
    try:
        run = running.lab.backtest("ladder", "1m", **RANGE, seed=6)
        time.sleep(6)
        assert run.refresh().status == "queued"
        run.cancel()
        with monkeypatch.context() as patch:
            health = health_after(patch, running, SILENT_SECONDS + 60)
        assert health.status_code == 503
        assert "the daemon has been silent" in health.json()["error"]["message"]
    finally:
        os.kill(daemon, signal.SIGCONT)
    time.sleep(6)
    assert run.refresh().status == "canceled"
    assert run.refresh().details["startedAt"] is None


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def has_a_wrong_body(case):
    """Return whether it must be refused; wrong parameters may vanish once they are written into an address."""
    body = case.meta.components.get(ParameterLocation.BODY)
    return body is not None and body.mode is GenerationMode.NEGATIVE and not case.path.endswith("/validate")


@pytest.fixture(scope="module")
def schema(open_lab):
    """The document as the server tells it, and a run and a strategy for those requests that want one that is there."""
    running = OverHTTP(open_lab)
    run_id = running.lab.backtest("ladder", "1m", **RANGE, key="life", seed=3, callers=["ann"]).wait(120).run_id
    deadline = time.monotonic() + 120
    while httpx.get(f"{running.url}/statistics/overview", headers=BEARER).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(1)

    @schemathesis.hook
    def map_path_parameters(_context, parameters):
        if parameters and "runId" in parameters and len(parameters["runId"]) % 2:
            parameters["runId"] = run_id
        if parameters and "id" in parameters and len(parameters["id"]) % 2:
            parameters["id"] = "ladder"
        return parameters

    yield schemathesis.openapi.from_url(f"{running.url}/openapi.json", headers=BEARER)
    schemathesis.hooks.unregister_all()


@pytest.mark.long
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_made_up_requests_get_answers_that_the_document_describes(schema, mode):
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        try:
            made_up = operation.as_strategy(generation_mode=mode)
        except Unsatisfiable:
            continue  # there is nothing that could be wrong with a request that takes nothing

        @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=made_up)
        def ask(case):
            nonlocal asked
            asked += 1
            checks = [*CHECKS, negative_data_rejection] if has_a_wrong_body(case) else CHECKS
            case.call_and_validate(checks=checks, headers=BEARER, timeout=120)

        with contextlib.suppress(Unsatisfiable):
            ask()
    assert asked > 100


@pytest.mark.long
def test_requests_that_lead_to_one_another_get_answers_that_the_document_describes(schema):
    machine = schema.as_state_machine()

    class Stateful(machine):
        def get_call_kwargs(self, _case):
            return {"headers": BEARER, "timeout": 120}

        def validate_response(self, response, case, **_kwargs):
            case.validate_response(response, checks=[*CHECKS, use_after_free, ensure_resource_availability])

    run_state_machine_as_test(
        Stateful,
        settings=settings(
            max_examples=15,
            stateful_step_count=6,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
