import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from lab_pipeline.api.app import create_app
from lab_pipeline.dagster_ext.graphql import DagsterDownError
from lab_pipeline.operations import launch
from lab_pipeline.operations.launch import IDEMPOTENCY_TAG, Launcher
from lab_pipeline.operations.runs import Runs
from lab_pipeline.runs.idempotency import IdempotencyKeys, LaunchUnknownError
from lab_pipeline.settings import Settings
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline_tests.api.labs import REQUEST, StandInWebserver, finish
from lab_pipeline_tests.support.markets import stock

AHEAD = "import polars as pl\n\ndef signal(candles):\n    return pl.col('close').shift(-1) > pl.col('close')\n"


@pytest.fixture
def lab(home):
    """The application with a stand-in for the webserver; yields a client and the stand-in."""
    stock(home)
    (home / "signals").mkdir(exist_ok=True)
    (home / "signals" / "ahead.py").write_text(AHEAD)
    app = create_app(Settings(home=home, max_queued=3))
    with TestClient(app) as client:
        stores = app.state.stores
        webserver = StandInWebserver(stores.instance)
        launcher = Launcher(stores.runs, webserver, IdempotencyKeys(home / "catalog.duckdb"), 3)
        stores.webserver, stores.launcher = webserver, launcher
        yield client, webserver


def post(client, key=None, **changes):
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/backtest", json={**REQUEST, **changes}, headers=headers)


def problems(answer):
    assert answer.status_code == 422, answer.text
    return {problem["path"] for problem in answer.json()["error"]["details"]}


def test_a_queued_run_is_recorded_when_the_answer_comes(lab):
    client, webserver = lab
    answer = post(client)
    assert answer.status_code == 202
    assert answer.json() == {"runId": webserver.launched[0], "status": "queued"}
    assert answer.headers["location"] == f"/runs/{webserver.launched[0]}"
    run = client.get(answer.headers["location"]).json()
    assert (run["status"], run["strategyId"], run["strategyVersion"], run["timeframe"]) == (
        "queued",
        "ladder",
        "1",
        "1m",
    )
    assert run["config"]["range"] == {"start": "2018-01-10T00:00:00.000Z", "end": "2018-01-30T00:00:00.000Z"}
    assert run["config"]["universe"] == {"type": "all"}


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"strategyId": "nope", "timeframe": "4h"}, {"strategyId", "timeframe"}),
        ({"strategyVersion": "9"}, {"strategyVersion"}),
        (
            {"params": {"exit.stopLoss": 9, "exit.stopLos": 1, "costs.feeBps": "x"}},
            {"params.exit.stopLoss", "params.exit.stopLos", "params.costs.feeBps"},
        ),
        ({"universe": {"type": "tokens", "mints": ["ZZZ"]}, "strategyId": "nope"}, {"universe.mints", "strategyId"}),
        ({"universe": {"type": "callers", "callers": ["zoe"]}}, {"universe.callers"}),
        ({"range": {"start": "2018-02-01", "end": "2018-01-01"}}, {"range.end"}),
        (
            {
                "params": {
                    "exit.stopFill.through": 2,
                    "exit.trailing.distance": {"atr": {"n": 0, "k": 1}},
                    "costs.fixedFee": -1,
                    "costs.impact": {"model": "volume_share", "maxShare": 0},
                    "endOfData.haircut": -0.1,
                    "portfolio.stopAtDrawdown": 1.5,
                }
            },
            {
                "params.exit.stopFill.through",
                "params.exit.trailing.distance.atr.n",
                "params.costs.fixedFee",
                "params.costs.impact.maxShare",
                "params.endOfData.haircut",
                "params.portfolio.stopAtDrawdown",
            },
        ),
        ({"params": {"intrabar": "finer", "finerTimeframe": "5m"}}, {"params.finerTimeframe"}),
        ({"params": {"intrabar": "finer", "finerTimeframe": "30s"}}, {"params.finerTimeframe"}),
        ({"params": {"filters": [{"field": "luck", "min": 1}]}}, {"params.filters[0].field"}),
        (
            {"params": {"filters": [{"field": "hour_of_day", "min": 1}, {"field": "chain", "in": ["solana"]}]}},
            {"params.filters[1].field"},
        ),
        ({"params": {"costs.impact": {"model": "amm"}}}, {"params.costs.impact.liquidity"}),
        (
            {"params": {"exit.when": {"all": [{"kind": "registered", "name": "ahead"}]}}},
            {"params.exit.when.all[0].name"},
        ),
        ({"range": {"start": "soon", "end": "later"}, "seed": -1, "x": 1}, {"range.start", "range.end", "seed", "x"}),
    ],
)
@pytest.mark.parametrize("path", ["/backtest", "/backtest/dry-run"])
def test_every_wrong_field_is_named_and_nothing_is_queued(lab, changes, paths, path):
    client, webserver = lab
    assert problems(client.post(path, json={**REQUEST, **changes})) == paths
    assert webserver.launched == []


def test_the_same_key_is_the_same_run(lab):
    client, webserver = lab
    first = post(client, "k").json()
    assert post(client, "k").json() == first
    assert post(client, "k", seed=1).status_code == 409
    assert post(client, "other").json()["runId"] != first["runId"]
    assert len(webserver.launched) == 2


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\u00e9".encode("latin-1")])
def test_a_key_is_plain_text(lab, key):
    client, _ = lab
    assert client.post("/backtest", json=REQUEST, headers={"Idempotency-Key": key}).status_code == 422


def test_equal_requests_at_once_are_one_run(lab, monkeypatch):
    client, webserver = lab
    together = threading.Barrier(6)
    once = IdempotencyKeys.once

    def start_together(*args):
        together.wait(timeout=20)
        return once(*args)

    monkeypatch.setattr(IdempotencyKeys, "once", start_together)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: post(client, "k").json()["runId"], range(6)))
    assert set(answers) == set(webserver.launched)
    assert len(webserver.launched) == 1


def test_no_more_wait_than_may(lab):
    client, webserver = lab
    for _ in range(3):
        assert post(client).status_code == 202
    full = post(client, "k")
    assert full.status_code == 429
    assert int(full.headers["retry-after"]) > 0
    assert full.json()["error"]["code"] == "queue_full"
    finish(webserver.instance, webserver.launched[0])
    assert client.post(f"/runs/{webserver.launched[0]}/retry").status_code == 202
    assert post(client, "k").status_code == 429
    finish(webserver.instance, webserver.launched[1])
    assert post(client, "k").status_code == 202


def test_a_webserver_that_is_down_queues_nothing_and_frees_the_key(lab):
    client, webserver = lab
    webserver.down = True
    answer = post(client, "k")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    webserver.down = False
    assert post(client, "k", seed=5).status_code == 202


def test_a_run_whose_answer_was_lost_is_found(lab):
    client, webserver = lab
    webserver.lose = LaunchUnknownError("broke off")
    answer = post(client)
    assert answer.status_code == 202
    assert answer.json()["runId"] == webserver.launched[0]


def test_a_run_that_dagster_recorded_before_it_failed_is_not_launched_again(lab):
    client, webserver = lab
    webserver.lose = DagsterDownError("could not queue the run: disk I/O error")
    answer = post(client, "k")
    assert answer.status_code == 202
    assert answer.json()["runId"] == webserver.launched[0]
    webserver.lose = None
    assert post(client, "k").json()["runId"] == webserver.launched[0]
    assert len(webserver.launched) == 1


def test_a_key_stays_reserved_while_it_cannot_be_told_whether_a_run_was_recorded(lab, monkeypatch):
    client, webserver = lab
    webserver.lose = DagsterDownError("could not queue the run: disk I/O error")
    with monkeypatch.context() as patch:
        patch.setattr(Runs, "tagged", lambda *_: (_ for _ in ()).throw(OSError("disk I/O error")))
        assert post(client, "k").status_code == 503
    webserver.lose = None
    assert post(client, "k").json()["runId"] == webserver.launched[0]
    assert len(webserver.launched) == 1


def test_a_launch_that_was_cut_off_is_neither_lost_nor_doubled(lab, monkeypatch):
    client, webserver = lab
    monkeypatch.setattr(launch, "LOST_ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(Launcher, "_await", lambda *_args: None)
    webserver.lose = LaunchUnknownError("broke off")
    assert post(client, "k").status_code == 503
    monkeypatch.undo()
    webserver.lose = None
    assert post(client, "k").json()["runId"] == webserver.launched[0]
    assert len(webserver.launched) == 1
    (run,) = webserver.instance.get_runs()
    assert run.tags[IDEMPOTENCY_TAG] == "k"


@pytest.mark.parametrize("begun", [-timedelta(hours=1), timedelta(days=365)], ids=["long_ago", "by_a_clock_ahead"])
def test_a_launch_that_never_reached_dagster_is_made_again(lab, home, monkeypatch, begun):
    client, webserver = lab
    monkeypatch.setattr(launch, "CUT_OFF_SECONDS", 0.3)
    lost = post(client, "k").json()["runId"]
    at = (datetime.now(UTC) + begun).replace(tzinfo=None)
    with DuckFile.at(home / "catalog.duckdb").transaction(write=True) as connection:  # as a process that died leaves it
        connection.execute("UPDATE idempotency_keys SET run_id = NULL, reserved_at = ?", [at])
    webserver.instance.delete_run(lost)
    assert post(client, "k", seed=1).status_code == 409
    again = post(client, "k")
    assert again.status_code == 202
    assert again.json()["runId"] == webserver.launched[1] != lost


def test_a_dry_run_counts_what_is_in_the_lake_and_starts_nothing(lab):
    client, webserver = lab
    answer = client.post("/backtest/dry-run", json={**REQUEST, "params": {"exit.stopLoss": 0.25}})
    assert answer.status_code == 200
    document = answer.json()
    assert document["valid"] is True
    assert document["estimatedCost"]["calls"] == 3
    assert document["estimatedCost"]["candles"] == 240
    assert document["estimatedCost"]["estimatedTimeSeconds"] > 0
    assert document["resolvedConfig"]["strategyVersion"] == "1"
    assert document["resolvedConfig"]["strategy"]["exit"]["stopLoss"] == 0.25
    one = client.post("/backtest/dry-run", json={**REQUEST, "universe": {"type": "tokens", "mints": ["AAA"]}}).json()
    assert one["estimatedCost"]["calls"] == 1
    assert webserver.launched == []
