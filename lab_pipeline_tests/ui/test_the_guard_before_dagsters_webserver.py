"""What strangers try on Dagster's webserver: each works on it as it is, and none where the guard stands before it."""

import json
from urllib.parse import urlencode

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from lab_pipeline.doors import Door
from lab_pipeline.ui.guard import BODY_BYTES
from lab_pipeline.ui.server import guarded

HERE = "127.0.0.1:3000"
TOKEN = "s3cret"  # noqa: S105 - of a lab that lives for a second
EVIL = "http://evil.example"
RUN_ID = "7f3c1c4e-3d6c-4a0e-9d0c-1f2f3a4b5c6d"
DELETE = f'mutation {{ deletePipelineRun(runId: "{RUN_ID}") {{ __typename }} }}'
QUERY = "{ version }"
JSON = {"content-type": "application/json"}
BY_LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
FOREIGN = [
    {"origin": EVIL},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:8888"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    BY_LINK,
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """An instance, and Dagster's application on it as it is."""
    with (
        dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget(), version=__version__) as context,
    ):
        yield instance, create_app_from_workspace_process_context(context)


@pytest.fixture
def instance(served):
    """The instance with a run, whose deletion shows that a mutation was executed."""
    instance, _ = served
    if not instance.has_run(RUN_ID):
        instance.add_run(dg.DagsterRun("job", run_id=RUN_ID))
    return instance


@pytest.fixture
def dagsters(served):
    return served[1]


@pytest.fixture
def bare(dagsters):
    return TestClient(dagsters, f"http://{HERE}")


@pytest.fixture
def ui(dagsters):
    return TestClient(guarded(dagsters, Door("127.0.0.1"), 3000), f"http://{HERE}")


@pytest.fixture
def locked(dagsters):
    """The UI of a lab that has a token."""
    return TestClient(guarded(dagsters, Door("127.0.0.1", TOKEN), 3000), f"http://{HERE}", follow_redirects=False)


def picture(client):
    return client.get("/graphql", params={"query": DELETE})


def link(client):
    return client.get("/graphql", params={"query": DELETE}, headers={**BY_LINK, "accept": "*/*"})


def form(client):
    return client.post("/graphql", params={"query": DELETE}, data={"x": "y"}, headers={"origin": EVIL})


def form_with_a_file(client):
    return client.post("/graphql", params={"query": DELETE}, files={"x": b"y"}, headers={"origin": EVIL})


def plain_text(client):
    body = json.dumps({"query": DELETE})
    return client.post("/graphql", content=body, headers={"content-type": "text/plain; x=application/json"})


def graphql_text(client):
    return client.post("/graphql", content=DELETE, headers={"content-type": "application/graphql"})


def almost_json(client):
    body = json.dumps({"query": DELETE})
    return client.post("/graphql", content=body, headers={"content-type": "application/json-patch+json"})


def no_type(client):
    return client.post("/graphql", params={"query": DELETE})


def address_of_a_post(client):
    return client.post("/graphql", params={"query": DELETE}, content="{}", headers={"content-type": "x/y"})


def rebound_name(client):
    return client.post("/graphql", json={"query": DELETE}, headers={"host": "evil.example:3000"})


def foreign_page(client):
    return client.post("/graphql", json={"query": DELETE}, headers={"origin": EVIL})


ATTACKS = [
    picture,
    link,
    form,
    form_with_a_file,
    plain_text,
    graphql_text,
    almost_json,
    no_type,
    address_of_a_post,
    rebound_name,
    foreign_page,
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_dagster_alone_executes_what_a_stranger_sends(bare, instance, attack):
    assert attack(bare).status_code == 200
    assert not instance.has_run(RUN_ID)


@pytest.mark.parametrize("attack", ATTACKS)
def test_behind_the_guard_nothing_of_it_is_executed(ui, instance, attack):
    answer = attack(ui)
    assert answer.status_code in {400, 403, 415, 421}
    assert len(answer.text.splitlines()) == 1
    assert instance.has_run(RUN_ID)


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/graphql"),
        ("GET", "/graphql"),
        ("GET", f"/download_debug/{RUN_ID}"),
        ("GET", "/logs/x/y/out"),
        ("GET", "/notebook?path=x.ipynb&repoLocName=x"),
        ("GET", "/dagit/notebook?path=x.ipynb&repoLocName=x"),
        ("POST", "/report_asset_materialization/x"),
        ("POST", "/report_asset_check/x"),
        ("POST", "/report_asset_observation/x"),
        ("PUT", "/anything"),
        ("OPTIONS", "/graphql"),
        ("POST", "/"),
    ],
)
def test_a_page_of_another_site_is_refused(ui, method, path, headers):
    answer = ui.request(method, path, headers={**JSON, **headers})
    assert answer.status_code == 403
    assert answer.text == "a page of another site sent this, and may not\n"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("headers", FOREIGN[:-1])
@pytest.mark.parametrize("path", ["/", "/runs", "/server_info"])
def test_a_page_of_another_site_may_not_even_look(ui, path, headers):
    assert ui.get(path, headers=headers).status_code == 403


def test_a_link_from_elsewhere_opens_a_page(ui):
    answer = ui.get(f"/runs/{RUN_ID}", headers=BY_LINK)
    assert answer.status_code == 200
    assert "<html" in answer.text
    assert ui.get("/", headers={**BY_LINK, "sec-fetch-dest": "iframe"}).status_code == 403


def test_an_asset_cannot_be_reported_by_a_form(ui, instance):
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        answer = ui.post("/report_asset_materialization/x", content="x", headers={"content-type": kind})
        assert answer.status_code == 415
    assert ui.post("/report_asset_materialization/x").status_code == 200
    assert ui.post("/report_asset_materialization/x", json={"description": "by a program"}).status_code == 200
    assert len(instance.get_asset_keys()) == 1


def test_operations_are_posted_as_json_one_at_a_time(ui, instance):
    own = {"origin": f"http://{HERE}", "sec-fetch-site": "same-origin"}
    for headers in (JSON, {"content-type": "application/json; charset=utf-8"}, {**JSON, **own}):
        answer = ui.post("/graphql", content=json.dumps({"query": QUERY}), headers=headers)
        assert answer.json() == {"data": {"version": __version__}}
    batch = ui.post("/graphql", json=[{"query": DELETE}])
    assert (batch.status_code, batch.text) == (400, "send one operation at a time, as a JSON object\n")
    assert ui.post("/graphql", content="", headers=JSON).status_code == 400
    assert ui.post("/graphql?op=Version", json={"query": QUERY}).status_code == 200  # as the UI labels what it asks
    assert instance.has_run(RUN_ID)
    assert ui.post("/graphql", json={"query": DELETE}, headers=own).status_code == 200
    assert not instance.has_run(RUN_ID)


def test_an_operation_is_bounded(ui):
    answer = ui.post("/graphql", content=b'{"query": "' + b" " * BODY_BYTES, headers=JSON)
    assert answer.status_code == 413


def test_the_page_to_try_queries_on_is_there_without_a_query(ui):
    html = {"accept": "text/html"}
    assert "GraphiQL" in ui.get("/graphql", headers=html).text
    assert ui.get("/graphql", params={"query": DELETE}, headers=html).status_code == 400


@pytest.mark.parametrize("path", ["/", "/graphql", "/server_info", "/nothing.js"])
def test_no_page_of_another_site_frames_or_reads_what_is_answered(ui, path):
    answer = ui.get(path, headers={"accept": "text/html"})
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


def is_greeted(client, **headers):
    try:
        with client.websocket_connect(f"ws://{HERE}/graphql", ["graphql-ws"], headers=headers) as socket:
            socket.send_json({"type": "connection_init"})
            return socket.receive_json() == {"type": "connection_ack"}
    except WebSocketDisconnect:
        return False


@pytest.mark.parametrize(
    "headers", [{"origin": EVIL}, {"origin": "null"}, {"host": "evil.example"}, {"origin": f"https://{HERE}.evil"}]
)
def test_websockets_of_strangers_are_refused(bare, ui, headers):
    assert is_greeted(bare, **headers)
    assert not is_greeted(ui, **headers)


def test_websockets_of_our_pages_and_of_programs_are_not(ui):
    assert is_greeted(ui)
    assert is_greeted(ui, origin=f"http://{HERE}")


@pytest.mark.parametrize(
    "path", ["/", "/graphql", "/server_info", "/runs", f"/download_debug/{RUN_ID}", "/favicon.png"]
)
@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"cookie": "lab_session_3000=9999999999.0"}]
)
def test_without_the_token_nothing_is_told(locked, path, headers):
    for answer in (locked.get(path, headers=headers), locked.post(path, json={"query": QUERY}, headers=headers)):
        assert (answer.status_code, answer.text) == (401, "send the lab's token: Authorization: Bearer ...\n")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert not is_greeted(locked, **headers)


def test_programs_send_the_token(locked):
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert locked.post("/graphql", json={"query": QUERY}, headers=bearer).json()["data"]
    assert is_greeted(locked, **bearer)


def log_in(client, token=TOKEN, target="/runs?status=x", **headers):
    own = {"origin": f"http://{HERE}", "content-type": "application/x-www-form-urlencoded", **headers}
    return client.post("/login", content=urlencode({"token": token, "next": target}), headers=own)


def test_a_person_logs_in_once_and_out_again(locked):
    asked = locked.get("/runs?status=x&a=%22%3E", headers={"accept": "text/html"})
    assert asked.status_code == 401
    assert 'name="next" value="/runs?status=x&amp;a=%22%3E"' in asked.text
    answer = log_in(locked)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?status=x")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert locked.get("/runs", headers={"accept": "text/html"}).status_code == 200
    assert locked.post("/graphql", json={"query": QUERY}).status_code == 200
    assert is_greeted(locked)
    assert "Log out" in locked.get("/login").text
    assert locked.post("/logout", headers={"origin": f"http://{HERE}"}).status_code == 303
    assert locked.post("/graphql", json={"query": QUERY}).status_code == 401


def test_a_wrong_token_begins_no_session(locked, monkeypatch):
    monkeypatch.setattr("lab_pipeline.login.WRONG_TOKEN_SECONDS", 0)
    for token in ("", "wrong", "s\u00e9cret", TOKEN + "x"):
        answer = log_in(locked, token)
        assert answer.status_code == 401
        assert "not the token" in answer.text
        assert "set-cookie" not in answer.headers
    assert log_in(locked, "x" * 100_000).status_code == 413


def test_a_page_of_another_site_neither_logs_in_nor_out(locked):
    for headers in FOREIGN[:-1]:
        assert log_in(locked, **{"origin": "", **headers}).status_code == 403
    assert locked.post("/logout", headers={"origin": EVIL}).status_code == 403


@pytest.mark.parametrize(
    "target", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:x", "/a b", ""]
)
def test_a_log_in_leads_to_no_other_site(locked, target):
    assert log_in(locked, target=target).headers["location"] == "/"


def test_a_session_ends(locked, monkeypatch):
    log_in(locked)
    assert locked.get("/server_info").status_code == 200
    monkeypatch.setattr("lab_pipeline.login.time.time", lambda: 9e9)
    assert locked.get("/server_info").status_code == 401


def test_a_cookie_is_neither_forged_nor_kept_beyond_the_token(locked, dagsters):
    log_in(locked)
    (cookie,) = locked.cookies.jar
    end, _, signature = cookie.value.partition(".")
    other = TestClient(guarded(dagsters, Door("127.0.0.1", "another"), 3000), f"http://{HERE}")
    assert other.get("/server_info", headers={"cookie": f"{cookie.name}={cookie.value}"}).status_code == 401
    locked.cookies.clear()
    for value in (f"{int(end) + 1}.{signature}", end, f"{end}.", f".{signature}", "", "x.y", TOKEN):
        assert locked.get("/server_info", headers={"cookie": f"{cookie.name}={value}"}).status_code == 401
    beside = f'odd={{"a": 1}}; {cookie.name}={cookie.value}; b'
    assert locked.get("/server_info", headers={"cookie": beside}).status_code == 200


def test_a_link_from_elsewhere_does_not_ask_who_is_logged_in(locked):
    headers = {**BY_LINK, "accept": "text/html"}  # which come without the cookie
    answer = locked.get("/runs", headers=headers)
    assert 'http-equiv="refresh"' in answer.text
    again = locked.get("/runs", headers={**headers, "sec-fetch-site": "same-origin"})
    assert "<form" in again.text
