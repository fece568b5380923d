import errno
import shutil

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import SecretStr

from lab_pipeline.api.app import create_app
from lab_pipeline.api.middleware import BODY_BYTES
from lab_pipeline.api.routes.health import LOW_DISK_BYTES
from lab_pipeline.dagster_ext.graphql import DagsterDownError
from lab_pipeline.settings import Settings
from lab_pipeline_tests.api.errors import error

JSON = {"content-type": "application/json"}


def paths(found):
    return [detail["path"] for detail in found["details"]]


def test_an_unknown_address(api):
    assert "/nothing" in error(api.get("/nothing"), 404, "not_found")["message"]


def test_a_method_that_an_address_does_not_have(api):
    answer = api.delete("/strategies")
    error(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert api.put("/strategies/ladder").headers["allow"] == "GET, HEAD, PATCH"
    assert api.get("/backtest").headers["allow"] == "POST"
    assert api.head("/backtest").headers["allow"] == "POST"
    assert api.delete("/sweeps").headers["allow"] == "GET, HEAD, POST"


def test_what_can_be_got_can_be_asked_for_without_its_body(api, openapi):
    names = {"runId": "nothing", "name": "nothing", "id": "ladder", "sweepId": "nothing", "setId": 0}
    asked = [path.format(**names) for path, operations in openapi["paths"].items() if "get" in operations]
    for path in (*asked, "/docs", "/docs/swagger-ui-bundle.js", "/openapi.json", "/nothing", "/runs?limt=1"):
        got, head = api.get(path), api.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"], path
        if path != "/metrics":  # which counts the requests
            assert head.headers["content-length"] == got.headers["content-length"], path


def test_a_thousand_wrong_parameters_are_a_short_error(api):
    many = "&".join(f"wrong{number}=1" for number in range(1000))
    found = error(api.get(f"/runs?{many}"), 422, "invalid")
    assert paths(found) == [f"wrong{number}" for number in range(10)]
    assert found["message"].endswith("... (1,000 in total)")
    assert len(found["message"]) < 2000


def test_a_thousand_wrong_values_are_a_short_error(api):
    metrics = "&".join(f"type=wrong{number}" for number in range(1000))
    for answer in (
        api.get(f"/runs/nothing/metrics?{metrics}"),
        api.post("/strategies", json={f"wrong{number}": 1 for number in range(1000)}),
        api.post("/strategies", json={"id": "x", "config": {"exit": {"targets": [{"multiple": 0}] * 1000}}}),
    ):
        found = error(answer, 422, "invalid")
        assert len(found["details"]) == 10
        assert "in total)" in found["message"]
        assert len(answer.content) < 5000


def test_a_long_value_is_a_short_error(api):
    for answer in (
        api.post("/strategies", json={"id": "x" * 100_000}),
        api.post("/strategies", json={"x" * 100_000: 1}),
        api.get("/strategies", params={"x" * 10_000: 1}),
        api.get(f"/strategies/{'x' * 10_000}"),
        api.get("/runs", params={"status": "x" * 10_000}),
    ):
        assert answer.status_code in {404, 422}
        assert len(answer.content) < 5000


def test_an_unknown_thing(api):
    assert "this lab has" in error(api.get("/strategies/nope"), 404, "not_found")["message"]


def test_text_that_is_no_json(api):
    error(api.post("/strategies", content="{", headers=JSON), 400, "malformed")


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}])
def test_a_body_that_does_not_say_it_is_json(api, headers):
    found = error(api.post("/strategies", content='{"id": "x"}', headers=headers), 422, "invalid")
    assert "Content-Type" in found["message"]


def test_every_wrong_field_is_named(api):
    body = {"id": "x!", "config": {"exit": {"stopLoss": 2, "targets": [{"multiple": 0.5}]}}, "nmae": ""}
    found = error(api.post("/strategies", json=body), 422, "invalid")
    assert set(paths(found)) == {
        "id",
        "nmae",
        "config.exit.stopLoss",
        "config.exit.targets[0].multiple",
        "config.exit.targets[0].fraction",
    }


def test_every_wrong_parameter_is_named(api):
    found = error(api.get("/strategies?limt=1&limit=2&limit=3"), 422, "invalid")
    assert paths(found) == ["limt", "limit"]
    assert paths(error(api.get("/strategies?limit=101"), 422, "invalid")) == ["limit"]
    assert paths(error(api.get("/strategies?cursor=abc"), 422, "invalid")) == ["cursor"]


def test_a_parameter_where_there_is_none(api):
    assert paths(error(api.post("/strategies?x=1", json={}), 422, "invalid")) == ["x"]


@pytest.mark.parametrize("sized", [True, False])
def test_a_body_that_is_too_large(api, sized):
    chunk = b" " * (BODY_BYTES + 1)
    error(api.post("/strategies", content=chunk if sized else iter([chunk]), headers=JSON), 413, "too_large")


def test_an_error_of_our_own(home, monkeypatch):
    def broken(*_args):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("lab_pipeline.runs.strategies.StrategyStore.list_latest", broken)
    with TestClient(create_app(Settings(home=home))) as client:
        assert "secret detail" not in error(client.get("/strategies"), 500, "internal")["message"]


def test_what_is_down_is_named_and_when_to_come_back(api):
    answer = api.get("/api/health")
    found = error(answer, 503, "unavailable")
    assert paths(found) == ["checks.dagster"]
    assert int(answer.headers["retry-after"]) > 0


def test_a_disk_that_is_almost_full_is_named(api, monkeypatch):
    usage = shutil.disk_usage("/")
    for free, named in ((LOW_DISK_BYTES, False), (LOW_DISK_BYTES - 1, True)):
        monkeypatch.setattr(
            "lab_pipeline.api.routes.health.shutil.disk_usage", lambda _, f=free: usage._replace(free=f)
        )
        found = error(api.get("/api/health"), 503, "unavailable")
        assert ("checks.disk" in paths(found)) is named
    assert "104,857,599 bytes free" in found["message"]


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("met", [FULL, sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))])
def test_a_full_disk_is_named_whoever_meets_it(home, monkeypatch, met):
    def broken(*_args):
        raise met

    monkeypatch.setattr("lab_pipeline.runs.strategies.StrategyStore.list_latest", broken)
    with TestClient(create_app(Settings(home=home, port=1)), raise_server_exceptions=False) as client:
        answer = client.get("/strategies")
    message = error(answer, 503, "unavailable")["message"]
    assert f"the disk of {home} is full (" in message
    assert message.endswith("make room, then do it again")
    assert answer.headers["retry-after"]


def test_a_full_disk_is_named_though_who_met_it_does_not_say_so(home, monkeypatch):
    def broken(*_args):
        raise DagsterDownError("the webserver answers 500")

    monkeypatch.setattr("lab_pipeline.runs.strategies.StrategyStore.list_latest", broken)
    with TestClient(create_app(Settings(home=home, port=1))) as client:
        assert error(client.get("/strategies"), 503, "unavailable")["message"] == "the webserver answers 500"
        monkeypatch.setattr("lab_pipeline.api.errors.is_full", lambda _: True)
        message = error(client.get("/strategies"), 503, "unavailable")["message"]
    assert message.startswith(f"the webserver answers 500: the disk of {home} is full (")


def test_a_clients_request_id_is_kept_unless_it_is_strange(api):
    assert api.get("/strategies", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert api.get("/strategies", headers={"x-request-id": "a b"}).headers["x-request-id"] != "a b"


@pytest.fixture
def guarded(home):
    with TestClient(create_app(Settings(home=home, api_token=SecretStr("s3cret")))) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer s3cre"},
        {"authorization": "Basic s3cret"},
        {"authorization": "s3cret"},
        {"authorization": "Bearer s\u00e9cret".encode("latin-1")},
    ],
)
@pytest.mark.parametrize("path", ["/strategies", "/openapi.json", "/docs", "/nothing"])
def test_without_the_token_nothing_is_told(guarded, path, headers):
    answer = guarded.get(path, headers=headers)
    error(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_with_the_token_everything_is(guarded):
    assert guarded.get("/strategies", headers={"authorization": "bearer s3cret"}).status_code == 200


def test_health_tells_anybody_whether_the_lab_works_and_what_does_not_whoever_has_the_token(guarded):
    said = error(guarded.get("/api/health"), 503, "unavailable")
    assert (said["message"], said["details"]) == (
        "not everything works; send the token to see what does not",
        [],
    )
    said = error(guarded.get("/api/health", headers={"authorization": "Bearer s3cret"}), 503, "unavailable")
    assert paths(said) == ["checks.dagster"]
