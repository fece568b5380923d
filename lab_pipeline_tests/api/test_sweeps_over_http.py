"""Sweeps over HTTP, on a lab with one that Dagster has run and one that was made without it."""

import io
import json
import shutil
from datetime import UTC, datetime

import polars as pl
import pytest
from fastapi.testclient import TestClient

from lab_pipeline.api.app import create_app
from lab_pipeline.api.schemas.sweeps import CallerItem, FoldItem, SelectionAnswer, SetItem
from lab_pipeline.cli.jobs import run_sweep_job
from lab_pipeline.client import ApiError, Client, RunFailedError
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations.launch import Launcher
from lab_pipeline.runs.idempotency import IdempotencyKeys
from lab_pipeline.settings import load_settings
from lab_pipeline.sweeps.running import run_sweep
from lab_pipeline_tests.api.errors import error
from lab_pipeline_tests.api.labs import StandInWebserver
from lab_pipeline_tests.support import swept_lab

SPACE = swept_lab.REQUEST["space"]
REQUEST = {
    "strategy": "mine",
    "timeframe": "1m",
    "space": SPACE,
    "objective": {"minTrades": 20, "minDays": 5},
    "validation": {"walkForward": {"trainDays": 10, "testDays": 4, "stepDays": 4}, "bootstrap": 200, "placebo": 3},
}


class Made:
    """The lab and its sweeps."""


@pytest.fixture(scope="module")
def made(tmp_path_factory, clickhouse_url):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        patch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
        lab = load_settings()
        swept_lab.stock(lab)
        made = Made()
        with open_instance(lab) as instance:
            ended = run_sweep_job(instance, swept_lab.SPEC)
            assert ended.error is None
            made.sweep = ended.run_id
        app = create_app(lab)
        with TestClient(app) as client:
            stores = app.state.stores
            made.webserver = stores.webserver = StandInWebserver(stores.instance)
            stores.launcher = Launcher(stores.runs, made.webserver, IdempotencyKeys(lab.catalog_path), 1000)
            made.settings, made.stores, made.client, made.lab = lab, stores, client, Client(http=client)
            made.directory = lab.sweeps_dir / made.sweep
            some = swept_lab.SPEC.model_copy(update={"space": {"exit.stopLoss": [0.1, 0.2]}, "seed": 1})
            manifest, _ = run_sweep(some, lake=stores.lake, strategies=stores.strategies, store=stores.sweeps)
            made.other = manifest.sweep_id
            made.table = lambda name: pl.read_parquet(made.directory / f"{name}.parquet")
            yield made


def got(made, path, **parameters):
    answer = made.client.get(f"/sweeps/{made.sweep}{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def paths(found):
    return {one["path"] for one in found["details"]}


# -- the list ---------------------------------------------------------------------------------------------------------


def test_sweeps_are_listed_newest_first_whoever_made_them(made):
    sweeps = made.client.get("/sweeps").json()["sweeps"]
    by_id = {one["sweepId"]: one for one in sweeps if one["status"] == "completed"}
    assert list(by_id) == [made.other, made.sweep]
    run, other = by_id[made.sweep], by_id[made.other]
    assert (run["strategyId"], run["strategyVersion"], run["timeframe"], run["sets"]) == ("mine", "1", "1m", 24)
    assert run["verdict"].startswith("not supported")
    assert run["createdAt"] <= run["startedAt"] <= run["completedAt"]
    assert (other["sets"], other["startedAt"]) == (2, None)
    first = made.client.get("/sweeps?limit=1").json()
    rest = made.client.get("/sweeps", params={"limit": 100, "cursor": first["nextCursor"]}).json()
    assert [one["sweepId"] for one in first["sweeps"] + rest["sweeps"]] == [one["sweepId"] for one in sweeps]
    assert rest["nextCursor"] is None


def test_a_sweep_says_what_it_was_asked_and_what_became_of_it(made):
    sweep = got(made, "")
    assert sweep["config"]["space"] == SPACE
    asked = {"name": "expectancy_lower", "beside": [], "minTrades": 20, "minDays": 5, "minCallers": 3}
    assert sweep["config"]["objective"] == asked
    assert sweep["config"]["validation"]["walkForward"]["trainDays"] == 10
    assert (len(sweep["fingerprint"]), len(sweep["snapshot"]), sweep["error"]) == (64, 64, None)
    assert sweep["dagsterUrl"].endswith(f"/runs/{made.sweep}")
    other = made.client.get(f"/sweeps/{made.other}").json()
    assert (other["status"], other["dagsterUrl"], other["config"]["seed"]) == ("completed", None, 1)


# -- sets -------------------------------------------------------------------------------------------------------------


def test_every_column_of_the_tables_is_told(made):
    """A column that is added to a file is to be said over HTTP, too."""
    plain = {name for name in made.table("sets").columns if not name.startswith("p.")}
    assert plain <= set(SetItem.model_fields)
    assert set(made.table("callers").columns) <= set(CallerItem.model_fields)
    assert set(made.table("folds").columns) == set(FoldItem.model_fields)
    assert set(json.loads((made.directory / "selection.json").read_bytes())) <= set(SelectionAnswer.model_fields)


def test_sets_are_what_the_file_has_best_first(made):
    sets = got(made, "/sets")["sets"]
    file = made.table("sets").sort("rank", nulls_last=True)
    assert [one["setId"] for one in sets] == file["set_id"].to_list()
    assert [one["expectancyLower"] for one in sets] == file["expectancy_lower"].to_list()
    assert [one["params"]["exit.maxHoldMinutes"] for one in sets] == file["p.exit.maxHoldMinutes"].to_list()
    assert set(sets[0]["params"]) == set(SPACE)


@pytest.mark.parametrize("sort", ["rank", "expectancyLower", "trades", "exit.maxHoldMinutes", "configHash"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_of_sets_hold_each_once_in_any_order(made, sort, order):
    whole = got(made, "/sets", sort=sort, order=order, limit=100)["sets"]
    seen = list(made.lab.pages(f"/sweeps/{made.sweep}/sets", "sets", {"sort": sort, "order": order, "limit": 7}))
    assert seen == whole
    assert len({one["setId"] for one in seen}) == 24
    named = sort if sort in whole[0] else None
    values = [one[named] if named else one["params"][sort] for one in whole]
    known = [value for value in values if value is not None]
    assert values == sorted(known, reverse=order == "desc") + [None] * (24 - len(known))


def test_filters_leave_sets_out(made):
    def ids(*filters):
        return {one["setId"] for one in got(made, "/sets", filter=list(filters), limit=100)["sets"]}

    file = made.table("sets")
    stop, hold = pl.col("p.exit.stopLoss"), pl.col("p.exit.maxHoldMinutes")
    for filters, same in (
        (["exit.stopLoss<=0.2"], stop <= 0.2),
        (["exit.stopLoss>0.1", " exit.maxHoldMinutes = 15 "], (stop > 0.1) & (hold == 15)),
        (["exit.maxHoldMinutes=null"], hold.is_null()),
        (["exit.maxHoldMinutes!=null"], hold.is_not_null()),
        (["exit.maxHoldMinutes!=15"], hold.ne_missing(15)),
        (["exit.maxHoldMinutes<null"], pl.lit(value=False)),
        (["eligible=true"], pl.col("eligible")),
        ([f"configHash={file['config_hash'][3]}"], pl.col("set_id") == 3),
        (["trades>=1e300"], pl.lit(value=False)),
        (["setId<3"], pl.col("set_id") < 3),
    ):
        assert ids(*filters) == set(file.filter(same)["set_id"]), filters


HOSTILE = [
    "__import__('os').system('true')>0",
    "trades>=(lambda: 1)()",
    "trades>=1 or 1=1",
    "trades>=1; DROP TABLE sweep_sets",
    "trades>=nan",
    "trades>=inf",
    "trades>=0x10",
    "trades>=",
    "trades",
    "",
    ">=1",
    "pl.col('trades')>1",
    "eligible=yes",
    "eligible>maybe",
    "../../manifest>1",
    "p.exit.stopLoss>0",
    "exit.stopLos>0",
    "\x00>1",
    "trades>=" + "9" * 400,
]


@pytest.mark.parametrize("filter", HOSTILE)
def test_a_filter_is_parsed_and_never_run(made, filter):  # noqa: A002 - as the parameter is called
    answer = made.client.get(f"/sweeps/{made.sweep}/sets", params={"filter": filter})
    assert paths(error(answer, 422, "invalid")) == {"filter"}
    assert len(answer.content) < 2000


def test_every_wrong_filter_is_named_and_the_nearest_column(made):
    sent = {"filter": ["exit.stopLos>0", "tradez>1"]}
    found = error(made.client.get(f"/sweeps/{made.sweep}/sets", params=sent), 422, "invalid")
    assert "exit.stopLoss" in found["details"][0]["message"]
    assert "trades" in found["details"][1]["message"]
    many = {"filter": ["trades>1"] * 21}
    assert paths(error(made.client.get(f"/sweeps/{made.sweep}/sets", params=many), 422, "invalid")) == {"filter"}
    long = {"filter": "trades>" + "1" * 1000}
    error(made.client.get(f"/sweeps/{made.sweep}/sets", params=long), 422, "invalid")
    for sort in ("exit.stopLos", "__class__", "p.exit.stopLoss"):
        assert paths(error(made.client.get(f"/sweeps/{made.sweep}/sets", params={"sort": sort}), 422, "invalid")) == {
            "sort"
        }


def test_a_cursor_is_one_of_its_list_alone(made):
    def ask(path, cursor, **more):
        return made.client.get(f"/sweeps/{path}", params={"cursor": cursor, **more})

    cursor = got(made, "/sets", limit=5)["nextCursor"]
    callers = got(made, "/callers", limit=5)["nextCursor"]
    listed = made.client.get("/sweeps?limit=1").json()["nextCursor"]
    assert ask(f"{made.sweep}/sets", cursor).status_code == 200
    last = got(made, "/sets", limit=5)["sets"][-1]["setId"]
    for path, wrong, more in (
        (f"{made.sweep}/sets", cursor, {"sort": "trades"}),
        (f"{made.sweep}/sets", cursor, {"order": "desc"}),
        (f"{made.sweep}/sets", cursor, {"filter": f"setId!={last}"}),  # it was shown on no page of this list
        (f"{made.other}/sets", cursor, {}),
        (f"{made.sweep}/sets", callers, {}),
        (f"{made.sweep}/sets", listed, {}),
        (f"{made.sweep}/callers", cursor, {}),
        (f"{made.other}/callers", callers, {}),
        ("", cursor, {}),
        (f"{made.sweep}/sets", "nonsense", {}),
        (f"{made.sweep}/sets", "", {}),
    ):
        answer = ask(path.rstrip("/"), wrong, **more)
        assert answer.status_code in {404, 422} if path == "" else answer.status_code == 422, (path, more)
    for wrong in (cursor, callers, "W10"):
        assert paths(error(made.client.get("/sweeps", params={"cursor": wrong}), 422, "invalid")) == {"cursor"}


def test_a_set_is_the_strategy_that_it_is_and_what_it_earned_by_day(made):
    best = got(made, "/sets", limit=1)["sets"][0]
    found = got(made, f"/sets/{best['setId']}")
    assert {name: found[name] for name in best} == best
    assert found["config"]["exit"]["stopLoss"] == best["params"]["exit.stopLoss"]
    days = made.table("days").filter(pl.col("set_id") == best["setId"])
    assert [one["netSum"] for one in found["byDay"]] == days["net_sum"].to_list()
    assert sum(one["trades"] for one in found["byDay"]) == best["trades"]
    assert len(found["lanes"]) == 8
    for unknown, status in ((24, 404), (2**31 - 1, 404), (2**31, 422), (-1, 422), ("x", 422)):
        assert made.client.get(f"/sweeps/{made.sweep}/sets/{unknown}").status_code == status


# -- pictures and judgement -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce", ["best", "median"])
def test_a_heat_map_has_a_cell_for_each_pair_of_values(made, reduce):
    found = got(made, "/heatmap", x="exit.stopLoss", y="exit.maxHoldMinutes", reduce=reduce)
    assert found["x"] == {"path": "exit.stopLoss", "values": [0.1, 0.2, 0.3, 0.4], "width": None}
    assert found["y"]["values"] == [None, 15.0, 30.0]
    assert found["sets"] == [[2] * 4] * 3
    for row, hold in enumerate(found["y"]["values"]):
        for column, stop in enumerate(found["x"]["values"]):
            cell = made.table("sets").filter(
                pl.col("p.exit.maxHoldMinutes").eq_missing(hold), pl.col("p.exit.stopLoss") == stop, "eligible"
            )["expectancy_lower"]
            assert found["eligible"][row][column] == len(cell)
            assert found["values"][row][column] == (cell.max() if reduce == "best" else cell.median())


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"x": "exit.stopLos"}, "x"),
        ({"y": "trades"}, "y"),
        ({"y": "exit.stopLoss"}, "y"),
        ({"z": "configHash"}, "z"),
        ({"z": "exit.stopLoss"}, "z"),
        ({"reduce": "worst"}, "reduce"),
    ],
)
def test_what_a_heat_map_cannot_show_is_named(made, changes, path):
    asked = {"x": "exit.stopLoss", "y": "entry.delayMinutes", **changes}
    answer = made.client.get(f"/sweeps/{made.sweep}/heatmap", params=asked)
    assert paths(error(answer, 422, "invalid")) == {path}


def test_selection_folds_and_callers_are_those_of_the_files(made):
    told = json.loads((made.directory / "selection.json").read_bytes())
    selection = got(made, "/selection")
    assert (selection["winner"], selection["dsr"], selection["verdict"]) == (
        told["winner"],
        told["dsr"],
        told["verdict"],
    )
    assert selection["pathExpectancies"] == told["path_expectancies"]
    folds, file = got(made, "/folds"), made.table("folds")
    assert folds["nextCursor"] is None
    assert [one["setId"] for one in folds["folds"]] == file["set_id"].to_list()
    assert folds["folds"][0]["testStart"].endswith("Z")
    everyone = list(made.lab.pages(f"/sweeps/{made.sweep}/callers", "callers", {"limit": 7}))
    callers = made.table("callers").sort("set_id", "caller")
    assert [(one["setId"], one["caller"], one["trades"]) for one in everyone] == list(
        callers.select("set_id", "caller", "trades").iter_rows()
    )
    name = callers["caller"][0]
    some = got(made, "/callers", setId=[1, 2], caller=name)["callers"]
    assert [(one["setId"], one["caller"]) for one in some] == [(1, name), (2, name)]
    assert got(made, "/callers", caller="' OR 1=1 --")["callers"] == []
    for wrong in ("-1", "2147483648", "x"):
        assert made.client.get(f"/sweeps/{made.sweep}/callers", params={"setId": wrong}).status_code == 422


# -- files ------------------------------------------------------------------------------------------------------------


def test_files_are_those_of_the_manifest_and_no_others(made):
    listed = got(made, "/artifacts")["artifacts"]
    there = {str(path.relative_to(made.directory)) for path in made.directory.rglob("*") if path.is_file()}
    assert {one["name"] for one in listed} == there - {"manifest.json"}
    assert "top/1/trades.parquet" in there
    for one in listed:
        answer = made.client.get(one["downloadUrl"])
        assert (answer.status_code, answer.headers["etag"]) == (200, f'"{one["sha256"]}"')
        assert answer.content == (made.directory / one["name"]).read_bytes()
    rows = made.client.get(f"/sweeps/{made.sweep}/artifacts/folds?format=csv").content
    assert pl.read_csv(io.BytesIO(rows)).height == made.table("folds").height
    for name in ("manifest.json", "../catalog.duckdb", "%2e%2e/%2e%2e/catalog.duckdb", "..%2f..%2fcatalog.duckdb",
                 "nothing", "/etc/passwd", "sets.parquet/", "top%2f..%2fsets.parquet"):  # fmt: skip
        assert made.client.get(f"/sweeps/{made.sweep}/artifacts/{name}").status_code == 404, name


READ = ["", "/sets", "/sets/0", "/heatmap?x=a&y=b", "/selection", "/folds", "/callers", "/artifacts", "/artifacts/sets"]
WRITE = [("/cancel", None), ("/reveal", {"by": "ann"}), ("/sets/0/promote", {"as": "x"})]
NOBODY = ["nope", "%2e%2e", "0d9c0a4a-5d7f-4b53-b5b2-a7c1f0c1d2e3", "' OR 1=1 --", ".staging", "x" * 300]


@pytest.mark.parametrize("sweep_id", NOBODY)
def test_an_unknown_sweep_is_not_found(made, sweep_id):
    for path in READ:
        assert made.client.get(f"/sweeps/{sweep_id}{path}").status_code in {404, 405}, path
    for path, body in WRITE:
        assert made.client.post(f"/sweeps/{sweep_id}{path}", json=body).status_code in {404, 405}, path


def test_what_is_lost_or_damaged_is_an_error_and_never_empty(made):
    sweep = made.stores.sweeps.directory / "damaged"
    shutil.copytree(made.directory, sweep)
    manifest = json.loads((sweep / "manifest.json").read_bytes()) | {"sweep_id": "damaged"}
    (sweep / "manifest.json").write_text(json.dumps(manifest))
    try:
        assert made.client.get("/sweeps/damaged/sets").status_code == 200
        size = (sweep / "sets.parquet").stat().st_size
        (sweep / "sets.parquet").write_bytes(b"x" * size)  # no Parquet, of the same length
        for path in ("/sets", "/sets/0", "/heatmap?x=exit.stopLoss&y=entry.delayMinutes"):
            found = error(made.client.get(f"/sweeps/damaged{path}"), 503, "unavailable")
            assert "cannot be read" in found["message"]
        (sweep / "callers.parquet").unlink()
        (sweep / "folds.parquet").write_bytes(b"")
        (sweep / "selection.json").write_text("{")
        for path in ("/callers", "/folds", "/selection"):
            error(made.client.get(f"/sweeps/damaged{path}"), 503, "unavailable")
        (sweep / "manifest.json").write_text("{}")
        for path in READ[1:-2]:
            error(made.client.get(f"/sweeps/damaged{path}"), 503, "unavailable")
        listed = {one["sweepId"]: one for one in made.client.get("/sweeps").json()["sweeps"]}
        assert listed["damaged"]["verdict"] is None
        assert "is damaged" in made.client.get("/sweeps/damaged").json()["error"]
    finally:
        shutil.rmtree(sweep)
    assert made.client.get("/sweeps/damaged").status_code == 404


# -- asking for one ---------------------------------------------------------------------------------------------------


def test_a_queued_sweep_is_recorded_when_the_answer_comes(made):
    answer = made.client.post("/sweeps", json=REQUEST)
    assert answer.status_code == 202
    sweep_id = made.webserver.launched[-1]
    assert answer.json() == {"sweepId": sweep_id, "status": "queued"}
    assert answer.headers["location"] == f"/sweeps/{sweep_id}"
    sweep = made.client.get(answer.headers["location"]).json()
    assert (sweep["status"], sweep["strategyId"], sweep["strategyVersion"]) == ("queued", "mine", "1")
    assert sweep["config"]["space"] == SPACE
    assert sweep["config"]["validation"]["walkForward"]["trainDays"] == 10
    assert (sweep["sets"], sweep["verdict"], sweep["fingerprint"]) == (None, None, None)
    assert made.client.get("/sweeps").json()["sweeps"][0]["sweepId"] == sweep_id
    for path in ("/sets", "/sets/0", "/heatmap?x=a&y=b", "/selection", "/folds", "/callers"):
        found = error(made.client.get(f"/sweeps/{sweep_id}{path}"), 409, "conflict")
        assert "has published nothing" in found["message"]
    assert made.client.get(f"/sweeps/{sweep_id}/artifacts").json()["artifacts"] == []
    assert made.client.get(f"/sweeps/{sweep_id}/artifacts/sets").status_code == 404
    assert made.client.get(f"/runs/{sweep_id}").status_code == 404  # it is no backtest
    assert made.client.post(f"/sweeps/{sweep_id}/cancel").json() == {"sweepId": sweep_id, "status": "canceled"}
    assert made.client.post(f"/sweeps/{sweep_id}/cancel").status_code == 409
    assert made.client.post(f"/sweeps/{made.sweep}/cancel").status_code == 409
    assert made.client.post(f"/sweeps/{made.other}/cancel").status_code == 409
    made.stores.instance.delete_run(sweep_id)


def test_the_same_key_is_the_same_sweep(made):
    headers = {"Idempotency-Key": "nightly"}
    first = made.client.post("/sweeps", json=REQUEST, headers=headers).json()
    assert made.client.post("/sweeps", json=REQUEST, headers=headers).json() == first
    other = made.client.post("/sweeps", json={**REQUEST, "seed": 5}, headers=headers)
    error(other, 409, "conflict")
    made.stores.instance.delete_run(first["sweepId"])


WRONG = [
    ({"strategy": "nope"}, {"strategy"}),
    ({"strategyVersion": "9"}, {"strategyVersion"}),
    ({"timeframe": "4h"}, {"timeframe"}),
    ({"space": {}}, {"space"}),
    ({"space": {"exit.stopLos": [0.1]}}, {"space.exit.stopLos"}),
    ({"space": {"exit.stopLoss": {"from": 0.5, "to": 0.1, "n": 3}}}, {"space.exit.stopLoss"}),
    ({"constraints": ["exit.stopLos > 1", "__import__('os')"]}, {"constraints[0]", "constraints[1]"}),
    ({"space": {"exit.stopLoss": {"from": 0.1, "to": 0.5}}, "search": {"method": "grid"}}, {"space.exit.stopLoss"}),
    ({"callers": ["zoe"]}, {"callers"}),
    ({"mints": ["ZZZ"]}, {"mints"}),
    ({"mints": ["ZZZ"], "callers": ["zoe"]}, {"callers"}),
    ({"start": "2030-01-01", "end": "2020-01-01"}, {"end"}),
    ({"validation": {"walkForward": {"testDays": 9, "stepDays": 3}}}, {"validation.walkForward.stepDays"}),
    ({"validation": {"walk_forward": {}}, "search": {"Sets": 3}}, {"validation.walk_forward", "search.Sets"}),
    ({"objective": {"minTrades": 0}, "seed": -1, "x": 1}, {"objective.minTrades", "seed", "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "wrong"), WRONG)
@pytest.mark.parametrize("path", ["/sweeps", "/sweeps/dry-run"])
def test_every_wrong_field_is_named_and_nothing_is_queued(made, changes, wrong, path):
    launched = list(made.webserver.launched)
    found = error(made.client.post(path, json={**REQUEST, **changes}), 422, "invalid")
    assert paths(found) == wrong
    assert made.webserver.launched == launched


def test_a_dry_run_says_what_a_sweep_would_be(made):
    found = made.client.post("/sweeps/dry-run", json=REQUEST).json()
    assert (found["valid"], found["exact"], found["method"], found["asked"]) == (True, True, "grid", 24)
    assert (found["duplicates"], found["excluded"], found["invalid"], found["firstInvalid"]) == (0, 0, 0, [])
    cost = found["estimatedCost"]
    space = json.loads((made.directory / "space.json").read_bytes())
    assert found["holdoutDays"] == space["holdout_days"]
    assert cost["sets"] == 24
    assert cost["days"] <= 28 - found["holdoutDays"]
    assert (
        cost["calls"]
        == made.stores.lake.calls(
            start=datetime.fromisoformat(space["start"]), end=datetime.fromisoformat(space["end"]).astimezone(UTC)
        ).height
    )
    assert 0 < cost["memoryBytes"] < cost["memoryAllowedBytes"]
    without = {**REQUEST, "validation": {**REQUEST.get("validation", {}), "placebo": 0}}
    unsaid = made.client.post("/sweeps/dry-run", json=without).json()["unsaid"]
    assert unsaid["placebo, p"] == "validation.placebo is 0"
    some = {"exit.stopLoss": [0.1, 7.0, 0.1], "exit.maxHoldMinutes": [None, 15]}
    found = made.client.post("/sweeps/dry-run", json={**REQUEST, "space": some}).json()
    assert (found["asked"], found["estimatedCost"]["sets"], found["duplicates"], found["invalid"]) == (6, 2, 2, 2)
    assert found["firstInvalid"][0]["values"] == {"exit.stopLoss": 7.0, "exit.maxHoldMinutes": None}


def test_a_dry_run_counts_the_calls_that_are_left_out(made):
    whole = made.client.post("/sweeps/dry-run", json=REQUEST).json()
    assert (whole["repeats"], whole["faulty"]) == (0, 0)
    rules = {"firstMention": {"by": "token", "windowDays": 1000}, "withoutFaults": ["spike"]}
    found = made.client.post("/sweeps/dry-run", json={**REQUEST, **rules}).json()
    calls = made.stores.lake.calls()
    assert found["repeats"] == calls.height - calls["mint"].n_unique() > 0
    assert found["estimatedCost"]["calls"] < whole["estimatedCost"]["calls"]
    wrong = {"firstMention": {"by": "anybody", "windowDays": 0}, "withoutFaults": ["ugly"]}
    refused = error(made.client.post("/sweeps/dry-run", json={**REQUEST, **wrong}), 422, "invalid")
    assert paths(refused) == {"firstMention.by", "firstMention.windowDays", "withoutFaults[0]"}


def test_a_dry_run_counts_what_it_cannot_make(made, monkeypatch):
    monkeypatch.setattr("lab_pipeline.sweeps.checking.MOST_MADE", 20)
    monkeypatch.setattr("lab_pipeline.sweeps.checking.SAMPLE", 10)
    found = made.client.post("/sweeps/dry-run", json=REQUEST).json()
    assert (found["exact"], found["method"], found["asked"], found["estimatedCost"]["sets"]) == (False, "grid", 24, 24)
    assert found["duplicates"] is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": {"exit.stopLoss": [7.0]}}, "none of 1 sets is a strategy"),
        ({"constraints": ["exit.stopLoss > 1"]}, "none of 24 sets passes"),
        ({"validation": {"holdout": 0.99}}, "leave no day to select on"),
    ],
)
def test_a_dry_run_names_what_only_its_sets_show(made, changes, says):
    found = error(made.client.post("/sweeps/dry-run", json={**REQUEST, **changes}), 422, "invalid")
    assert says in found["message"]


def test_more_cells_than_memory_are_refused_with_what_to_cut(made):
    with TestClient(create_app(made.settings.model_copy(update={"sweep_memory": 10_000}))) as client:
        found = error(client.post("/sweeps/dry-run", json=REQUEST), 422, "invalid")
    assert "cut the sets from 24 to" in found["message"]


# -- what is made of one ----------------------------------------------------------------------------------------------


def test_the_holdout_is_opened_and_every_look_counted(made):
    sweep = f"/sweeps/{made.other}"
    for body, wrong in (({}, {"by"}), ({"by": ""}, {"by"}), ({"by": "ann", "x": 1}, {"x"})):
        assert paths(error(made.client.post(f"{sweep}/reveal", json=body), 422, "invalid")) == wrong
    first = made.client.post(f"{sweep}/reveal", json={"by": "ann"})
    assert first.status_code == 200, first.text
    assert [(one["sweepId"], one["by"]) for one in first.json()["seen"]] == [(made.other, "ann")]
    assert first.json()["sets"][0]["roles"][0] == "winner"
    second = made.client.post(f"{sweep}/reveal", json={"by": "' OR 1=1 --"}).json()
    assert [one["by"] for one in second["seen"]] == ["ann", "' OR 1=1 --"]
    assert second["sets"] == first.json()["sets"]
    assert made.client.get(sweep).json()["holdout"] == second, "to look at a sweep is no look at what it holds out"


def test_a_set_is_promoted_only_if_somebody_insists(made):
    sweep = f"/sweeps/{made.sweep}/sets"
    refused = error(made.client.post(f"{sweep}/1/promote", json={"as": "tight"}), 409, "conflict")
    assert "is not supported" in refused["message"]
    for body, wrong in (({"as": "a b"}, {"as"}), ({}, {"as"}), ({"as": "../x"}, {"as"}), ({"as": "x", "y": 1}, {"y"})):
        assert paths(error(made.client.post(f"{sweep}/1/promote", json=body), 422, "invalid")) == wrong
    asked = {"as": "tight", "despiteVerdict": True}
    answer = made.client.post(f"{sweep}/1/promote", json=asked)
    assert (answer.status_code, answer.json()["version"], answer.json()["isNew"]) == (201, "1", True)
    assert f"sweep:{made.sweep}" in answer.json()["tags"]
    stored = made.client.get(answer.headers["location"]).json()
    assert stored["configHash"] == got(made, "/sets/1")["configHash"]
    again = made.client.post(f"{sweep}/1/promote", json=asked)
    assert (again.status_code, again.json()["isNew"]) == (200, False)
    assert made.client.post(f"{sweep}/999/promote", json=asked).status_code == 404


# -- from Python ------------------------------------------------------------------------------------------------------


def test_the_client_does_the_same(made):
    sweep = made.lab.find_sweep(made.sweep)
    assert (sweep.sweep_id, sweep.status) == (made.sweep, "completed")
    assert sweep.wait() is sweep
    sets = sweep.sets(sort="expectancyLower", order="desc", filters=["eligible=true"])
    assert sets["exit.stopLoss"].dtype == pl.Float64
    assert sets["expectancyLower"].is_sorted(descending=True)
    assert sweep.sets(limit=3).height == 3
    assert sweep.set(0)["config"]["exit"]["stopLoss"] == 0.1
    assert sweep.selection()["verdict"] == sweep.verdict
    heat = sweep.heatmap("exit.stopLoss", "entry.delayMinutes")
    assert heat.columns == ["exit.stopLoss", "entry.delayMinutes", "expectancyLower", "sets", "eligible"]
    assert heat.height == 8
    assert sweep.folds().height == made.table("folds").height
    assert sweep.callers(set_ids=[0]).height == made.table("callers").filter(pl.col("set_id") == 0).height
    assert sweep.artifact("days").equals(made.table("days"))
    assert [one["sweepId"] for one in made.lab.sweeps()][-1] == made.sweep
    with pytest.raises(ApiError, match="is not supported"):
        sweep.promote(2, "wide")
    assert sweep.promote(2, "wide", despite_verdict=True)["version"] == "1"


def test_the_client_asks_for_a_sweep(made):
    assert made.lab.sweep_dry_run(REQUEST)["estimatedCost"]["sets"] == 24
    sweep = made.lab.sweep(REQUEST, key="py")
    assert (sweep.status, sweep.verdict) == ("queued", None)
    assert made.lab.sweep(REQUEST, key="py").sweep_id == sweep.sweep_id
    sweep.cancel()
    with pytest.raises(RunFailedError, match="canceled: somebody stopped it"):
        sweep.wait()
    with pytest.raises(ApiError, match=r"nearest is exit\.stopLoss"):
        made.lab.sweep({**REQUEST, "space": {"exit.stopLos": [1]}})
    made.stores.instance.delete_run(sweep.sweep_id)
