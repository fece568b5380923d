"""One lab with a completed, a failed and a waiting run; what the API says of them."""

import csv
import hashlib
import io
import json
import time
import uuid
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from lab_pipeline.api import downloads
from lab_pipeline.api.app import create_app
from lab_pipeline.api.schemas.series import LogLine
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.clickhouse.logs import append_lines
from lab_pipeline.client import ApiError, Client, RunFailedError
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.definitions import defs
from lab_pipeline.operations.launch import Launcher
from lab_pipeline.operations.runs import RunFilter, Runs
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.idempotency import IdempotencyKeys
from lab_pipeline.settings import Settings
from lab_pipeline_tests.api.labs import REQUEST, StandInWebserver, finish, finished
from lab_pipeline_tests.api.servers import connect, get, serving
from lab_pipeline_tests.support.embedded import skip_without_chdb
from lab_pipeline_tests.support.logbook import MOMENT, lines_of
from lab_pipeline_tests.support.markets import stock

LINES = 250


class Made:
    """The lab and its runs."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    skip_without_chdb()
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        stock(home)
        lab = Settings(home=home)
        made = Made()
        made.home, made.settings = home, lab
        try:
            with open_instance(lab) as instance:
                made.whole = finished(instance, seed=1)
                made.ann = finished(instance, callers=["ann"])
                made.failed = finished(instance, timeframe="4h")
                with ClickHouse(clickhouse_config(lab)) as clickhouse:
                    append_lines(clickhouse, lines_of(made.whole, range(1, LINES + 1)))
            app = create_app(lab)
            with TestClient(app) as client:
                stores = app.state.stores
                webserver = StandInWebserver(stores.instance)
                launcher = Launcher(stores.runs, webserver, IdempotencyKeys(lab.catalog_path), 1000)
                stores.webserver, stores.launcher = webserver, launcher
                made.instance, made.runs = stores.instance, stores.runs
                made.client, made.webserver = client, webserver
                made.lab = Client(http=client)
                yield made
        finally:
            stop_server(clickhouse_config(lab))


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [run["runId"] for run in answer.json()["runs"]]


# -- the list ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/runs", "/api/simulation-runs"])
def test_runs_are_listed_newest_first_with_their_numbers(made, path):
    runs = [run for run in made.client.get(path).json()["runs"] if run["status"] != "queued"]
    assert [run["runId"] for run in runs][-3:] == [made.failed, made.ann, made.whole]
    whole = runs[-1]
    assert (whole["status"], whole["strategyId"], whole["strategyVersion"]) == ("completed", "ladder", "1")
    assert whole["summary"]["calls"] == 3
    assert whole["summary"]["winRate"] == 1.0
    assert whole["createdAt"] <= whole["startedAt"] <= whole["completedAt"]
    assert runs[-3]["summary"] is None


def test_every_filter_filters(made):
    get = made.client.get
    created = get(f"/runs/{made.ann}").json()["createdAt"]
    later = (datetime.fromisoformat(created) + timedelta(milliseconds=1)).isoformat().replace("+00:00", "Z")
    assert set(ids(get("/runs?status=failed"))) == {made.failed}
    assert set(ids(get("/runs?status=completed"))) == {made.whole, made.ann}
    assert ids(get("/runs?strategyId=dip-scalper")) == []
    assert made.ann in ids(get("/runs?strategyId=ladder"))
    assert ids(get("/runs?timeframe=4h")) == [made.failed]  # failed before it was tagged
    assert ids(get("/runs?caller=ann")) == [made.ann]
    assert ids(get("/runs?caller=an")) == []
    assert made.whole not in ids(get("/runs", params={"from": created}))
    assert made.ann in ids(get("/runs", params={"from": created}))
    assert set(ids(get("/runs", params={"to": later}))) == {made.whole, made.ann}
    assert ids(get("/runs?status=completed&caller=ann&timeframe=1m&strategyId=ladder")) == [made.ann]
    assert set(ids(get("/runs?status=completed&status=failed"))) == {made.whole, made.ann, made.failed}
    assert set(ids(get("/runs?timeframe=4h&timeframe=1m"))) == {made.whole, made.ann, made.failed}
    assert ids(get("/runs?caller=ann&caller=nobody")) == [made.ann]
    assert ids(get("/runs?strategyId=dip-scalper&strategyId=ladder&status=failed")) == [made.failed]
    assert get("/runs?status=done").status_code == 422
    assert get("/runs?status=completed&status=done").status_code == 422
    assert get("/runs?from=2018-01-01&from=2019-01-01").status_code == 422
    assert get("/runs?from=soon").status_code == 422


def test_a_run_of_the_materialize_button_is_listed_and_another_assets_is_not(made):
    job = defs().resolve_implicit_global_asset_job_def()
    config = {"ops": {"run": {"config": {"strategy": "trend-rider", "timeframe": "1m"}}}}
    selected = [key for key in job.asset_layer.executable_asset_keys if key.path[0] == "backtest"]
    mine = made.instance.create_run_for_job(job_def=job.get_subset(asset_selection=set(selected)), run_config=config,
                                            asset_selection=frozenset(selected))  # fmt: skip
    key = dg.AssetKey(["lake", "calls"])
    other = made.instance.create_run_for_job(
        job_def=job.get_subset(asset_selection={key}), asset_selection=frozenset([key])
    )
    assert ids(made.client.get("/runs?strategyId=trend-rider")) == [mine.run_id]
    assert made.client.get(f"/runs/{other.run_id}").status_code == 404
    for run in (mine, other):
        made.instance.delete_run(run.run_id)


def test_a_status_that_is_new_to_the_lab_keeps_its_name(made):
    run_id = made.client.post("/backtest", json=REQUEST).json()["runId"]
    with made.instance.run_storage.connect() as connection:
        connection.exec_driver_sql(f"UPDATE runs SET status = 'SUSPENDED' WHERE run_id = '{run_id}'")  # noqa: S608 - our own
    assert made.client.get(f"/runs/{run_id}").json()["status"] == "suspended"
    made.instance.delete_run(run_id)


def fake_run(instance, moment):
    config = {"ops": {"run": {"config": {"strategy": "walk", "timeframe": "1m"}}}}
    run = dg.DagsterRun(job_name="backtest", run_id=str(uuid.uuid4()), run_config=config)
    instance.run_storage.add_historical_run(run, moment)
    return run.run_id


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    home = tmp_path_factory.mktemp("walked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        with open_instance(Settings(home=home)) as instance:
            yield instance, Runs(instance, ArtifactStore(home / "artifacts"))


STEPS = st.lists(st.tuples(st.sampled_from(["add", "delete", "page"]), st.integers(0, 3)), max_size=12)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(st.integers(0, 3), min_size=1, max_size=8), steps=STEPS, limit=st.integers(1, 3))
def test_a_walk_gives_each_run_that_was_there_throughout_exactly_once(walked, before, steps, limit):
    instance, runs = walked
    for run in instance.get_runs():
        instance.run_storage.delete_run(run.run_id)
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n) for n in range(4)]  # many a tie
    there = {fake_run(instance, moments[n]) for n in before}
    seen, after, begun = [], None, False
    steps = [*steps, *[("page", 0)] * 24]
    for action, number in steps:
        if action == "add":
            fake_run(instance, moments[number])
        elif action == "delete" and there:
            gone = sorted(there)[number % len(there)]
            instance.run_storage.delete_run(gone)
            there.discard(gone)
        elif action == "page" and not (begun and after is None):
            page, after = runs.page(RunFilter(strategy_ids=["walk"]), after=after, limit=limit)
            seen += [run.run_id for run in page]
            begun = True
    assert after is None
    assert len(seen) == len(set(seen))
    assert there <= set(seen)


# -- one run ----------------------------------------------------------------------------------------------------------


def test_a_run_says_what_it_was_asked_and_what_became_of_it(made):
    run = made.client.get(f"/runs/{made.ann}").json()
    assert run["config"]["universe"] == {"type": "callers", "callers": ["ann"]}
    assert run["config"]["strategy"]["horizonMinutes"] == 1440.0
    assert len(run["fingerprint"]) == 64
    assert run["dagsterUrl"].endswith(f"/runs/{made.ann}")
    assert run["error"] is None
    failed = made.client.get(f"/runs/{made.failed}").json()
    assert "no 4h candles" in failed["error"]
    assert failed["config"]["timeframe"] == "4h"
    assert failed["config"]["strategy"] is None


def test_a_run_says_one_of_how_many_tries_it_is(made):
    tries = made.client.get(f"/runs/{made.whole}").json()["tries"]
    assert tries["trials"] >= 2  # all calls, and those of one caller
    assert tries["said"].startswith(f"one of {tries['trials']} tries on these calls; ")
    assert made.client.get(f"/runs/{made.failed}").json()["tries"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("GET", "/logs"),
        ("GET", "/metrics"),
        ("GET", "/artifacts"),
        ("GET", "/artifacts/trades"),
    ],
)
@pytest.mark.parametrize(
    "run_id", ["nope", "%2e%2e", "%2e%2e%2f", "0d9c0a4a-5d7f-4b53-b5b2-a7c1f0c1d2e3", "' OR 1=1 --"]
)
def test_an_unknown_run_is_not_found(made, method, path, run_id):
    answer = made.client.request(method, f"/runs/{run_id}{path}")
    assert answer.status_code in ({404, 405} if run_id == ".." else {404})


def test_a_waiting_run_is_canceled_and_a_finished_one_cannot_be(made):
    run_id = made.client.post("/backtest", json=REQUEST).json()["runId"]
    assert made.client.delete(f"/runs/{run_id}").status_code == 409
    assert made.client.post(f"/runs/{run_id}/retry").status_code == 409
    assert made.client.post(f"/runs/{run_id}/cancel").json() == {"runId": run_id, "status": "canceled"}
    assert made.client.post(f"/runs/{run_id}/cancel").status_code == 409
    assert made.client.post(f"/runs/{made.whole}/cancel").status_code == 409
    made.instance.delete_run(run_id)


def test_a_run_that_others_started_is_a_conflict_and_goes_on(made):
    run_id = made.instance.add_run(dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.STARTED)).run_id
    answer = made.client.post(f"/runs/{run_id}/cancel")
    assert answer.status_code == 409
    assert f"run {run_id} goes on: LabRunLauncher cannot stop it" in answer.text
    assert made.client.get(f"/runs/{run_id}").json()["status"] == "running"
    made.instance.delete_run(run_id)


def test_a_retry_asks_for_the_same_in_the_same_version(made):
    again = made.client.post(f"/runs/{made.ann}/retry")
    assert again.status_code == 202
    run = made.client.get(again.headers["location"]).json()
    assert run["parentRunId"] == made.ann
    assert run["config"]["universe"] == {"type": "callers", "callers": ["ann"]}
    assert run["strategyVersion"] == "1"
    assert run["fingerprint"] is None
    made.instance.delete_run(run["runId"])


def test_a_deleted_run_leaves_nothing(made):
    run_id = finished(made.instance, mints=["AAA"])
    with ClickHouse(clickhouse_config(made.settings)) as clickhouse:
        append_lines(clickhouse, lines_of(run_id, range(1, 4)))
        assert made.client.delete(f"/runs/{run_id}").status_code == 204
        for table in ("run_metrics", "run_fills", "run_logs", "run_commits"):
            left = clickhouse.query(f"SELECT count() AS n FROM {table} WHERE run_id = {{r:String}}", {"r": run_id})  # noqa: S608
            assert left["n"].item() == 0, table
    assert made.client.get(f"/runs/{run_id}").status_code == 404
    assert made.client.delete(f"/runs/{run_id}").status_code == 404
    assert not (made.home / "artifacts" / run_id).exists()
    assert not list((made.home / "artifacts" / ".staging").glob(f"**/{run_id}"))
    assert made.instance.all_logs(run_id) == []


def test_a_key_is_free_again_when_its_run_is_deleted(made):
    first = made.client.post("/backtest", json=REQUEST, headers={"Idempotency-Key": "free"}).json()["runId"]
    finish(made.instance, first)
    assert made.client.delete(f"/runs/{first}").status_code == 204
    second = made.client.post("/backtest", json=REQUEST, headers={"Idempotency-Key": "free"}).json()["runId"]
    assert second != first
    made.instance.delete_run(second)


# -- logs -------------------------------------------------------------------------------------------------------------


def log_pages(made, **parameters):
    seen, cursor = [], None
    while True:
        sent = parameters | ({"cursor": cursor} if cursor else {})
        page = made.client.get(f"/runs/{made.whole}/logs", params=sent).json()
        seen += [line["message"] for line in page["logs"]]
        cursor = page["nextCursor"]
        if cursor is None:
            return seen


def test_pages_of_a_log_hold_every_line_once_in_either_order(made):
    everything = [f"Candle {n} read" for n in range(1, LINES + 1)]
    assert log_pages(made, limit=70) == everything
    assert log_pages(made, limit=70, order="desc") == everything[::-1]
    assert len(made.client.get(f"/runs/{made.whole}/logs").json()["logs"]) == 100


def test_a_log_is_filtered(made):
    errors = log_pages(made, level="ERROR")
    assert errors == [f"Candle {n} read" for n in range(1, LINES + 1) if n % 5 in (3, 4)]
    assert log_pages(made, q="ANDLE 17 ") == ["Candle 17 read"]
    moment = (MOMENT + timedelta(seconds=2)).isoformat()
    assert log_pages(made, **{"from": moment, "to": moment}) == []
    assert log_pages(made, **{"from": moment})[0] == "Candle 100 read"
    assert log_pages(made, to=moment)[-1] == "Candle 99 read"
    line = made.client.get(f"/runs/{made.whole}/logs?limit=1").json()["logs"][0]
    assert line["timestamp"] == "2026-05-01T12:00:00.000Z"
    assert (line["level"], line["step"]) == ("INFO", "simulate")
    assert line["data"] == {"a": 1, "logger": "dagster"}
    for wrong in ("level=LOUD", "limit=1001", "order=up", "cursor=x"):
        assert made.client.get(f"/runs/{made.whole}/logs?{wrong}").status_code == 422


def test_a_line_whose_data_is_odd_is_sent_as_json(made):
    odd = '{"a": NaN, "b": "\\ud800", "c": Infinity}'
    with made.client.app.state.stores.clickhouse.connection() as clickhouse:
        append_lines(clickhouse, lines_of(made.ann, [1, 2], data=[odd, "[1]"], message="\u2192 \x1b"))
    first, second = made.client.get(f"/runs/{made.ann}/logs").json()["logs"]
    assert LogLine.model_validate(first).data["b"] == "?"
    assert (first["data"]["a"], first["data"]["c"]) == (None, None)
    assert (second["data"]["value"], second["message"]) == ([1], "\u2192 \x1b")


def test_a_log_can_be_downloaded_as_text(made):
    answer = made.client.get(f"/runs/{made.whole}/logs", headers={"accept": "text/plain"})
    assert answer.headers["content-disposition"] == f'attachment; filename="{made.whole}.log"'
    lines = [line for line in answer.text.splitlines() if " - " in line]
    assert len(lines) == LINES
    assert lines[0] == "2026-05-01T12:00:00.000Z INFO simulate - Candle 1 read"
    assert made.client.get(f"/runs/{made.whole}/logs", headers={"accept": "image/png"}).status_code == 406


def events(text):
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if fields:
            yield fields


def test_a_stream_gives_every_line_and_ends_with_the_run_and_goes_on_after_an_event(made, monkeypatch):
    monkeypatch.setattr("lab_pipeline.api.routes.logs.LAST_LINES_SECONDS", 0.0)
    headers = {"accept": "text/event-stream"}
    answer = made.client.get(f"/runs/{made.whole}/logs", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = list(events(answer.text))
    assert [event["event"] for event in seen] == ["log"] * LINES + ["end"]
    assert json.loads(seen[-1]["data"]) == {"status": "completed"}
    assert json.loads(seen[9]["data"])["message"] == "Candle 10 read"
    rest = made.client.get(f"/runs/{made.whole}/logs", headers=headers | {"last-event-id": seen[199]["id"]})
    assert json.loads(next(events(rest.text))["data"])["message"] == "Candle 201 read"


def test_streams_have_places_that_become_free_again(made, monkeypatch):
    places = made.client.app.state.stores.followers
    monkeypatch.setattr("lab_pipeline.api.routes.logs.LAST_LINES_SECONDS", 0.0)
    follow = {"accept": "text/event-stream"}
    with monkeypatch.context() as patch:
        patch.setattr(places, "taken", places.most)
        full = made.client.get(f"/runs/{made.whole}/logs", headers=follow)
        assert (full.status_code, int(full.headers["retry-after"]) > 0) == (503, True)
        assert made.client.get(f"/runs/{made.whole}/logs").status_code == 200
    assert made.client.get(f"/runs/{made.whole}/logs", headers=follow).status_code == 200
    assert places.taken == 0


def test_downloads_have_places_that_become_free_again(made, monkeypatch):
    places = made.client.app.state.stores.downloads
    urls = (f"/runs/{made.whole}/artifacts/trades", f"/runs/{made.whole}/artifacts/trades?format=csv")
    with monkeypatch.context() as patch:
        patch.setattr(places, "taken", places.most)
        for url in urls:
            full = made.client.get(url)
            assert (full.status_code, int(full.headers["retry-after"]) > 0) == (503, True)
        assert made.client.get(f"/runs/{made.whole}/logs", headers={"accept": "text/plain"}).status_code == 503
        assert made.client.get(f"/runs/{made.whole}/artifacts").status_code == 200
    for url in (*urls, f"/runs/{made.whole}/artifacts/nothing", f"/runs/{uuid.uuid4()}/artifacts/trades"):
        made.client.get(url)
        made.client.get(url, headers={"range": "bytes=99999999-"})
        made.client.get(url, headers={"if-none-match": "*"})
    assert places.taken == 0


def test_a_place_is_free_again_when_its_client_is_gone(made, monkeypatch):
    monkeypatch.setattr("lab_pipeline.api.routes.logs.LAST_LINES_SECONDS", 60.0)
    monkeypatch.setattr("lab_pipeline.api.routes.logs._settled", lambda _: False)
    stores = made.client.app.state.stores
    with serving(made.client.app) as port:
        following = [connect(port, get(f"/runs/{made.whole}/logs", "Accept: text/event-stream")) for _ in range(3)]
        for one in following:
            assert one.recv(15) == b"HTTP/1.1 200 OK"
        assert stores.followers.taken == 3
        for one in following:
            one.close()
        deadline = time.monotonic() + 60
        while stores.followers.taken or stores.following._followed:  # noqa: SLF001
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_many_streams_ask_the_stores_as_often_as_one(made, monkeypatch):
    monkeypatch.setattr("lab_pipeline.api.routes.logs.LAST_LINES_SECONDS", 60.0)
    monkeypatch.setattr("lab_pipeline.api.routes.logs._settled", lambda _: False)
    looks = []
    get_many = made.runs.get_many
    monkeypatch.setattr(made.runs, "get_many", lambda ids: looks.append(time.monotonic()) or get_many(ids))
    with serving(made.client.app) as port:
        many = [connect(port, get(f"/runs/{made.whole}/logs", "Accept: text/event-stream")) for _ in range(20)]
        time.sleep(4)
        for one in many:
            one.close()
    assert 1 <= len(looks) <= 5


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.integers(0, 9),
    steps=st.lists(st.sampled_from(["add", "page"]), max_size=8),
    limit=st.integers(1, 4),
    order=st.sampled_from(["asc", "desc"]),
)
def test_a_walk_through_a_growing_log_gives_each_line_exactly_once(made, before, steps, limit, order):
    run_id = finished_without_a_log(made)
    wanted = {"limit": limit, "order": order}
    seen, said, cursor, begun = [], 0, None, False

    def say(count):
        nonlocal said
        if count:
            with ClickHouse(clickhouse_config(made.settings)) as clickhouse:  # all of them at the same moment
                append_lines(clickhouse, lines_of(run_id, range(said + 1, said + count + 1), timestamp=MOMENT))
            said += count

    say(before)
    for step in [*steps, *["page"] * 12]:
        if step == "add":
            say(2)
        elif not (begun and cursor is None):
            page = made.client.get(f"/runs/{run_id}/logs", params={**wanted, "cursor": cursor} if cursor else wanted)
            seen += [line["message"] for line in page.json()["logs"]]
            cursor, begun = page.json()["nextCursor"], True
    while cursor is not None:
        page = made.client.get(f"/runs/{run_id}/logs", params={**wanted, "cursor": cursor})
        seen += [line["message"] for line in page.json()["logs"]]
        cursor = page.json()["nextCursor"]
    assert len(seen) == len(set(seen))
    assert {f"Candle {number} read" for number in range(1, before + 1)} <= set(seen)


def finished_without_a_log(made):
    run = dg.DagsterRun(job_name="backtest", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.SUCCESS)
    made.instance.run_storage.add_historical_run(run, datetime(2020, 1, 1, tzinfo=UTC))
    return run.run_id


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_are_those_of_the_artifacts(made):
    equity = pl.read_parquet(made.home / "artifacts" / made.whole / "equity.parquet")
    answer = made.client.get(f"/runs/{made.whole}/metrics").json()["metrics"]
    assert set(answer) == {"equity", "drawdown", "exposure", "fills"}
    assert [point["close"] for point in answer["equity"]] == equity["equity"].to_list()
    hours = made.client.get(f"/runs/{made.whole}/metrics?type=equity&type=drawdown&interval=1h").json()["metrics"]
    wanted = equity.group_by_dynamic("timestamp", every="1h").agg(
        open=pl.col("equity").first(), close=pl.col("equity").last(), min=pl.col("drawdown").min()
    )
    assert [point["open"] for point in hours["equity"]] == wanted["open"].to_list()
    assert [point["close"] for point in hours["equity"]] == wanted["close"].to_list()
    assert [point["min"] for point in hours["drawdown"]] == wanted["min"].to_list()
    assert set(hours) == {"equity", "drawdown"}
    fills = pl.read_parquet(made.home / "artifacts" / made.whole / "fills.parquet")
    assert sum(point["count"] for point in answer["fills"]) == fills.height


def test_metrics_are_limited_in_points_and_time(made):
    url = f"/runs/{made.whole}/metrics?type=equity"
    everything = made.client.get(url).json()["metrics"]["equity"]
    assert len(made.client.get(f"{url}&maxPoints=5").json()["metrics"]["equity"]) <= 5
    part = made.client.get(url, params={"from": everything[3]["timestamp"], "to": everything[7]["timestamp"]})
    assert part.json()["metrics"]["equity"] == everything[3:7]
    assert (
        made.client.get(url, params={"from": "0001-01-01", "to": "9999-01-01"}).json()["metrics"]["equity"]
        == everything
    )
    for wrong in ("type=x", "interval=2h", "maxPoints=1"):
        assert made.client.get(f"/runs/{made.whole}/metrics?{wrong}").status_code == 422


# -- artifacts --------------------------------------------------------------------------------------------------------


def test_artifacts_are_listed_as_the_manifest_says(made):
    answer = made.client.get(f"/runs/{made.whole}/artifacts").json()
    assert answer["nextCursor"] is None
    shown = {file["name"]: file for file in answer["artifacts"]}
    manifest = ArtifactStore(made.home / "artifacts").manifest(made.whole)
    assert set(shown) == {file.name for file in manifest.files}
    trades = shown["trades.parquet"]
    assert trades["schema"][0] == {"name": "call_id", "type": "string"}
    content = made.client.get(trades["downloadUrl"]).content
    assert (len(content), hashlib.sha256(content).hexdigest()) == (trades["bytes"], trades["sha256"])
    assert (made.home / trades["path"]).read_bytes() == content
    assert made.client.get(f"/runs/{made.failed}/artifacts").json() == {"artifacts": [], "nextCursor": None}


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=5-99999999", slice(5, None)),
        ("bytes=-99999999", slice(0, None)),
    ],
)
def test_a_part_of_a_file(made, wanted, part):
    url = f"/runs/{made.whole}/artifacts/trades"
    whole = made.client.get(url)
    answer = made.client.get(url, headers={"range": wanted})
    assert answer.status_code == 206
    assert answer.content == whole.content[part]
    begin = range(len(whole.content))[part]
    assert answer.headers["content-range"] == f"bytes {begin[0]}-{begin[-1]}/{len(whole.content)}"
    assert answer.headers["etag"] == whole.headers["etag"]


def test_ranges_that_are_none_and_tags_that_are_known(made):
    url = f"/runs/{made.whole}/artifacts/trades.parquet"
    whole = made.client.get(url)
    etag, size = whole.headers["etag"], len(whole.content)
    assert whole.headers["content-disposition"] == 'attachment; filename="trades.parquet"'
    beyond = made.client.get(url, headers={"range": f"bytes={size}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{size}"
    assert beyond.json()["error"]["code"] == "range_not_satisfiable"
    for nonsense in ("bytes=9-3", "lines=1-2", "bytes=1-2,5-6", "bytes=-"):
        assert made.client.get(url, headers={"range": nonsense}).content == whole.content
    assert made.client.get(url, headers={"range": "bytes=0-1", "if-range": '"old"'}).status_code == 200
    assert made.client.get(url, headers={"range": "bytes=0-1", "if-range": etag}).status_code == 206
    for known in (etag, f'"x", W/{etag}', "*"):
        unchanged = made.client.get(url, headers={"if-none-match": known})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert made.client.get(url, headers={"if-none-match": '"x"'}).status_code == 200


@pytest.mark.parametrize("rows_at_once", [1, 7, 5000])
@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_part_of_a_converted_table(made, monkeypatch, form, rows_at_once):
    monkeypatch.setattr(downloads, "ROWS_AT_ONCE", rows_at_once)
    downloads._measured.cache_clear()  # noqa: SLF001 - as after a new start
    for name in ("equity", "fills", "trades"):
        url = f"/runs/{made.whole}/artifacts/{name}?format={form}"
        whole = made.client.get(url)
        size = len(whole.content)
        assert whole.headers["content-length"] == str(size)
        for first, last in (
            (0, 0),
            (1, size // 2),
            (size // 2, size // 2),
            (size // 3, size - 1),
            (size - 1, 2 * size),
        ):
            part = made.client.get(url, headers={"range": f"bytes={first}-{last}"})
            assert (part.status_code, part.content) == (206, whole.content[first : last + 1])
        assert made.client.get(url, headers={"range": "bytes=-5"}).content == whole.content[-5:]
        assert made.client.get(url, headers={"range": f"bytes={size}-"}).status_code == 416


def test_what_is_sent_can_be_asked_for_without_its_body(made):
    for name in ("trades", "trades.parquet", "report", "equity?format=csv", "equity?format=json"):
        url = f"/runs/{made.whole}/artifacts/{name}"
        whole, head = made.client.get(url), made.client.head(url)
        assert (head.status_code, head.content) == (200, b"")
        for header in ("content-length", "etag", "accept-ranges", "content-type", "content-disposition"):
            assert head.headers[header] == whole.headers[header], (name, header)
    for form in ("text/event-stream", "text/plain", "application/json"):
        head = made.client.head(f"/runs/{made.whole}/logs", headers={"accept": form})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith(form)
    stores = made.client.app.state.stores
    assert (stores.followers.taken, stores.downloads.taken) == (0, 0)


def test_polars_reads_tables_by_their_address(made):
    frame = pl.read_parquet(made.home / "artifacts" / made.whole / "trades.parquet")
    with serving(made.client.app) as port:
        url = f"http://127.0.0.1:{port}/runs/{made.whole}/artifacts"
        assert pl.read_csv(f"{url}/trades?format=csv").height == frame.height
        assert pl.scan_csv(f"{url}/trades?format=csv").select("mint").collect().equals(frame.select("mint"))
        assert pl.read_parquet(f"{url}/trades.parquet").equals(frame)
        assert pl.scan_parquet(f"{url}/trades.parquet").select("mint").collect().equals(frame.select("mint"))


@pytest.mark.parametrize("name", ["trades", "fills", "paths", "outcomes", "equity"])
def test_tables_are_converted_without_a_loss(made, name):
    url = f"/runs/{made.whole}/artifacts/{name}"
    frame = pl.read_parquet(made.home / "artifacts" / made.whole / f"{name}.parquet")
    as_csv = made.client.get(f"{url}?format=csv")
    rows = list(csv.reader(io.StringIO(as_csv.text)))
    assert rows[0] == frame.columns
    back = pl.read_csv(io.StringIO(as_csv.text), schema_overrides={c: pl.String() for c in frame.columns})
    times = [pl.col(c).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="ms").dt.replace_time_zone("UTC")
             for c, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]  # fmt: skip
    booleans = [pl.col(c) == "true" for c, kind in frame.schema.items() if kind == pl.Boolean()]
    assert back.with_columns(*times, *booleans).cast(dict(frame.schema)).equals(frame)
    as_json = made.client.get(f"{url}?format=json").json()
    assert len(as_json) == frame.height
    if frame.height:
        assert [row[frame.columns[-1]] for row in as_json] == frame[frame.columns[-1]].to_list()
    assert made.client.get(f"{url}?format=csv", headers={"if-none-match": as_csv.headers["etag"]}).status_code == 304


def test_what_is_no_table_is_not_converted_and_no_name_leads_elsewhere(made):
    assert made.client.get(f"/runs/{made.whole}/artifacts/report?format=csv").status_code == 422
    assert made.client.get(f"/runs/{made.whole}/artifacts/report").text.startswith("<!")
    assert made.client.get(f"/runs/{made.whole}/artifacts/summary?format=json").json()["calls"] == 3
    for name in ("manifest.json", "..%2f..%2fcatalog.duckdb", "%2fetc%2fpasswd", "nothing", "%2e%2e"):
        assert made.client.get(f"/runs/{made.whole}/artifacts/{name}").status_code == 404


# -- comparison -------------------------------------------------------------------------------------------------------


def test_runs_are_compared(made):
    answer = made.client.get("/compare", params={"run": [made.whole, made.ann]}).json()
    assert [run["runId"] for run in answer["runs"]] == [made.whole, made.ann]
    assert answer["configDiff"] == {
        "seed": [1, 0],
        "universe.type": ["all", "callers"],
        "universe.callers": [None, ["ann"]],
    }
    for run_id, series in zip([made.whole, made.ann], answer["equity"]["series"], strict=True):
        assert len(series["values"]) == len(answer["equity"]["timestamps"])
        equity = pl.read_parquet(made.home / "artifacts" / run_id / "equity.parquet")
        assert [value for value in series["values"] if value is not None][-1] == equity["equity"][-1]


def test_what_cannot_be_compared(made):
    def compare(*runs):
        return made.client.get("/compare", params={"run": runs}).status_code

    assert compare(made.whole) == 422
    assert compare(made.whole, made.whole) == 422
    assert compare(*[str(n) for n in range(21)]) == 422
    assert compare(made.whole, "nope") == 404
    assert compare(made.whole, made.failed) == 409


# -- stores that are down ----------------------------------------------------------------------------------------------


def test_without_clickhouse_what_needs_it_is_unavailable_and_the_rest_works(made):
    away = made.settings.model_copy(update={"clickhouse_url": SecretStr("http://127.0.0.1:9/lab")})
    with TestClient(create_app(away)) as client:
        for path in (f"/runs/{made.whole}/logs", f"/runs/{made.whole}/metrics"):
            answer = client.get(path)
            assert answer.status_code == 503, path
            assert int(answer.headers["retry-after"]) > 0
        stream = client.get(f"/runs/{made.whole}/logs", headers={"accept": "text/event-stream"})
        assert stream.status_code == 503
        assert client.delete(f"/runs/{made.whole}").status_code == 503
        assert "checks.clickhouse" in client.get("/api/health").text
        assert made.whole in ids(client.get("/runs"))
        assert client.get(f"/runs/{made.whole}").json()["summary"]["calls"] == 3
        assert client.get(f"/runs/{made.whole}/artifacts/trades").status_code == 200
        assert client.get("/compare", params={"run": [made.whole, made.ann]}).status_code == 200
        assert client.post("/backtest", json=REQUEST).status_code == 503  # nor is there a webserver


# -- the client -------------------------------------------------------------------------------------------------------


def test_the_client_gives_frames(made, tmp_path):
    run = made.lab.run(made.whole).wait()
    assert run.artifact("trades").equals(pl.read_parquet(made.home / "artifacts" / made.whole / "trades.parquet"))
    series = run.metrics("equity", "fills", interval="1h")
    assert series["equity"].schema["timestamp"] == pl.Datetime("ms", "UTC")
    assert series["fills"]["count"].sum() > 0
    assert run.logs(level="ERROR")["message"].str.starts_with("Candle").all()
    assert run.download("trades", tmp_path / "trades.csv", form="csv").read_text().startswith("call_id,caller")
    assert {file["name"] for file in run.artifacts()} >= {"trades.parquet", "report.html"}
    assert [one["runId"] for one in made.lab.runs(caller="ann")] == [made.ann]
    assert made.lab.compare(made.whole, made.ann)["configDiff"]["seed"] == [1, 0]


def test_the_client_raises_what_went_wrong(made, tmp_path):
    with pytest.raises(ApiError, match="unknown strategy") as caught:
        made.lab.backtest("nope", "1m", start="2018-01-10", end="2018-01-30")
    assert (caught.value.status, caught.value.code) == (422, "invalid")
    assert [error.path for error in caught.value.errors] == ["strategyId"]
    with pytest.raises(RunFailedError, match="no 4h candles"):
        made.lab.run(made.failed).wait()
    with pytest.raises(ApiError, match="has no artifact"):
        made.lab.run(made.whole).download("nothing", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_client_starts_repeats_stops_and_deletes(made):
    run = made.lab.backtest("ladder", "1m", start="2018-01-10", end="2018-01-30", callers=["ann"], seed=4, key="client")
    assert run.status == "queued"
    assert made.lab.backtest("ladder", "1m", start="2018-01-10", end="2018-01-30", callers=["ann"], seed=4,
                             key="client").run_id == run.run_id  # fmt: skip
    run.cancel()
    with pytest.raises(RunFailedError, match="somebody stopped it"):
        run.wait()
    again = run.retry()
    assert again.details["parentRunId"] == run.run_id
    again.cancel()
    for one in (run, again):
        one.delete()
