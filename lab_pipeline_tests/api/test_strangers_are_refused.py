"""What a page of another site sends, or who calls this server by another name, is refused on every route."""

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from lab_pipeline.api.app import create_app
from lab_pipeline.doors import SAFE_METHODS, OpenDoorError
from lab_pipeline.settings import Settings
from lab_pipeline_tests.api.errors import error

ROUTES = sorted(
    (method.upper(), path.format(runId="x", id="ladder", name="x", sweepId="x", setId="1"))
    for path, methods in create_app(Settings()).openapi()["paths"].items()
    for method in methods
)
CHANGING = [(method, path) for method, path in ROUTES if method not in SAFE_METHODS]
FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://testserver:81"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A client of an application that these tests share, since nothing that they send is carried out."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        with TestClient(create_app(Settings(home=home))) as client:
            yield client


def test_the_routes_that_change_something_were_found():
    assert {("POST", "/runs/x/retry"), ("DELETE", "/runs/x"), ("PATCH", "/strategies/ladder")} <= set(CHANGING)


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(("method", "path"), [*CHANGING, ("PUT", "/one/day")])
def test_a_page_of_another_site_changes_nothing(lab, method, path, headers):
    assert "another site" in error(lab.request(method, path, headers=headers), 403, "forbidden")["message"]


@pytest.mark.parametrize("headers", [{}, {"origin": "http://testserver", "sec-fetch-site": "same-origin"}])
def test_programs_and_the_apis_own_page_may(api, headers):
    body = {"id": "mine", "config": {"exit": {"stopLoss": 0.5}}}
    assert api.post("/strategies", json=body, headers=headers).status_code == 201


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_another_name_for_this_server_is_refused(lab, method, path):
    said = error(lab.request(method, path, headers={"host": "evil.example:8000"}), 421, "misdirected")
    assert "LAB_ALLOWED_HOSTS" in said["message"]


def test_names_that_are_known(home):
    bearer = {"authorization": "Bearer s3cret"}
    lab = Settings(home=home, host="0.0.0.0", api_token=SecretStr("s3cret"), allowed_hosts="lab.example")  # noqa: S104
    with TestClient(create_app(lab)) as client:
        for name in ("localhost:8000", "127.0.0.1", "[::1]:8000", "lab.example", "10.1.2.3:8000"):
            assert client.get("/strategies", headers={"host": name, **bearer}).status_code == 200
        error(client.get("/strategies", headers={"host": "evil.example", **bearer}), 421, "misdirected")


def test_the_network_is_not_served_without_a_token(home):
    client = TestClient(create_app(Settings(home=home, host="0.0.0.0")))  # noqa: S104 - that is the point
    with pytest.raises(OpenDoorError, match="set LAB_API_TOKEN"):
        client.get("/strategies")


def test_no_page_shows_the_api_in_a_frame(lab):
    answer = lab.get("/docs")
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
