"""The pages of sweeps, as HTML: what they say, what can be done from them, and that names stay text."""

import html
import json
import re

import polars as pl
import pytest
from dagster._core.test_utils import create_run_for_test
from fastapi.testclient import TestClient

from lab_pipeline.api.app import create_app
from lab_pipeline.api.pages import sweeps as sweep_pages
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import Settings
from lab_pipeline.sweeps.running import run_sweep
from lab_pipeline_tests.api.errors import error
from lab_pipeline_tests.api.labs import StandInWebserver
from lab_pipeline_tests.support import swept_lab
from lab_pipeline_tests.support.sweeps import sweeps_of

HTML = {"accept": "text/html"}
HOSTILE = '"><img src=x onerror=alert(1)>'


class Made:
    """The lab, its sweep, and a client."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        made = Made()
        made.lab = Settings(home=home, port=1)
        swept_lab.stock(made.lab)
        manifest, _ = run_sweep(
            swept_lab.SPEC, lake=Lake(made.lab.lake_dir), strategies=StrategyStore.of(made.lab), store=sweeps_of(home)
        )
        made.manifest, made.sweep = manifest, manifest.sweep_id
        made.directory = made.lab.sweeps_dir / made.sweep
        made.selection = json.loads((made.directory / "selection.json").read_bytes())
        app = create_app(made.lab)
        with TestClient(app, headers=HTML) as made.client:
            made.stores = app.state.stores
            made.stores.webserver = StandInWebserver(made.stores.instance)
            yield made


@pytest.fixture
def run_of_dagster(made):
    """A sweep that Dagster has recorded and that has not begun."""
    with open_instance(made.lab) as instance:
        run = create_run_for_test(instance, job_name="sweep", tags={"lab/strategy": "mine"})
        yield instance, run
        instance.delete_run(run.run_id)


def page_of(made, path=""):
    answer = made.client.get(f"/lab/sweeps/{made.sweep}{path}")
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_sweep_is_listed_with_verdict_method_sets_and_tries(made):
    page = made.client.get("/lab/sweeps").text
    assert f"/lab/sweeps/{made.sweep}" in page
    row = re.search(rf"<tr><th scope=\"row\"><a href=\"/lab/sweeps/{made.sweep}.*?</tr>", page, re.DOTALL)[0]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
    assert cells[2:5] == ["grid", "24", f"{made.selection['trials']:,}"]
    assert cells[5].startswith("Not supported: ")
    assert cells[5] in page_of(made)
    assert made.client.get("/lab/sweeps?cursor=x").status_code == 422


def test_a_damaged_sweep_says_so_in_the_list(made):
    path = made.directory / "selection.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    sweep_pages.found_of.cache_clear()  # what a healthy one says is remembered
    try:
        assert "selection.json is damaged" in made.client.get("/lab/sweeps").text
    finally:
        path.write_bytes(whole)


def test_the_sheet_stands_in_place_and_its_script_is_served(made):
    page = page_of(made)
    assert page.count("<main") == page.count("<html") == 1
    published = (made.directory / "report.html").read_text()
    sheet = published.partition("<main>\n")[2].partition("</main>")[0]
    numbers = re.compile(r'<p class="numbers">.*</p>\n')
    assert sheet in numbers.sub("", page)
    for address in re.findall(r'<p class="numbers"><a href="([^"]+)"', page):
        assert made.client.get(address).headers["content-type"].startswith("text/csv")
    assert re.findall(r"<script(?![^>]*src=)[^>]*>", page) == ['<script type="application/json" id="data">']
    script = made.client.get("/lab/static/sweep-sheet.js")
    assert script.text in published
    assert made.client.get("/lab/static/sweep-sheet.css").headers["content-type"].startswith("text/css")
    for name in re.findall(r'(?:src|href)="(/lab/static/[^"]+)"', page):
        assert made.client.get(name).status_code == 200


def test_a_set_is_promoted_and_a_refusal_is_said(made):
    page = page_of(made)
    winner = made.selection["winner"]
    assert f'data-promote="/sweeps/{made.sweep}"' in page
    assert re.search(r'name="set"[^>]*value="(\d+)"', page)[1] == str(winner)
    path = f"/sweeps/{made.sweep}/sets/{winner}/promote"
    refused = made.client.post(path, json={"as": "swept"}, headers={"accept": "*/*"})
    assert "is not supported: the verdict is" in error(refused, 409, "conflict")["message"]
    stored = made.client.post(path, json={"as": "swept", "despiteVerdict": True})
    assert (stored.status_code, stored.json()["version"]) == (201, "1")
    assert "<option selected>swept</option>" in made.client.get("/lab/launch?strategy=swept").text


def test_a_look_at_the_holdout_is_counted_and_shown(made):
    page = page_of(made)
    assert "Holdout: not seen yet" in page
    assert "data-confirm=" in page
    assert "Where it was selected" not in page
    looked = made.client.post(f"/sweeps/{made.sweep}/reveal", json={"by": HOSTILE})
    assert looked.status_code == 200
    page = page_of(made)
    assert "Holdout: seen once" in page
    assert "Where it was selected" in page
    assert f"{made.selection['winner']}, winner" in page
    assert "<img" not in page
    assert "Look again" in page


def test_a_sweep_without_a_run_can_be_kept_and_has_no_name(made):
    path = f"/sweeps/{made.sweep}"
    assert made.client.patch(path, json={"pinned": True}).json()["pinned"]
    assert (made.directory / "pinned").exists(), "as the command line marks it"
    assert "★" in made.client.get("/lab/sweeps").text
    assert "Keep it no longer" in page_of(made)
    assert not made.client.patch(path, json={"pinned": False}).json()["pinned"]
    refused = made.client.patch(path, json={"name": "x", "pinned": True}, headers={"accept": "*/*"})
    assert "Dagster has no run" in error(refused, 409, "conflict")["message"]
    assert not (made.directory / "pinned").exists(), "all of a change, or nothing"


def test_what_is_written_about_a_sweep_stays_with_its_run(made, run_of_dagster):
    _, run = run_of_dagster
    path = f"/sweeps/{run.run_id}"
    change = {"name": "exits", "labels": ["good"], "notes": HOSTILE}
    said = made.client.patch(path, json=change).json()
    assert {name: said[name] for name in change} == change
    page = made.client.get(f"/lab{path}").text
    assert "<img" not in page
    assert "exits" in made.client.get("/lab/sweeps").text
    refused = made.client.patch(path, json={"pinned": True}, headers={"accept": "*/*"})
    assert "published nothing" in error(refused, 409, "conflict")["message"]
    assert made.client.patch("/sweeps/none", json=change).status_code == 404


def test_progress_is_what_the_log_said_last_in_its_own_words(made, run_of_dagster):
    instance, run = run_of_dagster
    path = f"/lab/sweeps/{run.run_id}/progress.json"
    before = made.client.get(path).json()
    assert (before["status"], before["finished"], before["done"]) == ("queued", False, None)
    for line in (
        "1,000 sets x 100 of 4,000 calls (2%), 70 s left",
        "1,000 sets x 1,200 of 4,000 calls (30%), 1,061 s left; best so far is set 7 (expectancy_lower +0.0100)",
        "something else",
    ):
        instance.report_engine_event(line, run)
    at = made.client.get(path).json()
    assert [at[name] for name in ("done", "total", "noun", "secondsLeft")] == [1200, 4000, "calls", 1061]
    assert at["best"] == "best so far is set 7 (expectancy_lower +0.0100)"
    page = made.client.get(f"/lab/sweeps/{run.run_id}").text
    assert f'data-source="{path}"' in page
    assert "Stop it" in page
    assert f"/lab/sweeps/{run.run_id}" in made.client.get("/lab/launch/sweep").text


@pytest.mark.parametrize("path", ["/lab/sweeps/{}", "/lab/launch/sweep?strategy={}", "/lab/sweeps?{}=1"])
def test_a_hostile_address_stays_text(made, path):
    assert "<img" not in made.client.get(path.format(HOSTILE)).text


def test_the_sweep_to_launch_is_filled_in_and_runs_dry(made):
    page = made.client.get("/lab/launch/sweep?strategy=mine").text
    text = html.unescape(re.search(r"<textarea[^>]*name=\"text\"[^>]*>(.*?)</textarea>", page, re.DOTALL)[1])
    assert 'strategy: "mine"' in text
    request = made.client.post("/lab/launch/sweep/validate", json={"text": text})
    assert request.status_code == 200, request.text
    dry = made.client.post("/sweeps/dry-run", json=request.json()).json()
    assert dry["exact"]
    assert dry["invalid"] == 0
    assert dry["estimatedCost"]["sets"] > 1


def test_a_sweep_as_in_a_file_is_the_same_request(made):
    written = json.dumps(swept_lab.REQUEST)
    request = made.client.post("/lab/launch/sweep/validate", json={"text": written}).json()
    assert request["objective"] == {"minTrades": 20, "minDays": 5}
    assert request["space"] == swept_lab.REQUEST["space"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("strategy: [", "not valid YAML"),
        ("strategy: mine\nstrategy: other", "strategy is given more than once"),
        ("just text", "must be an object"),
        ("strategy: mine\ntimeframe: 1m\nspace: {}\nobjective: {minTrades: 3}", "objective.minTrades"),
    ],
)
def test_what_is_wrong_with_the_text_is_named_as_it_is_written(made, text, says):
    wrong = made.client.post("/lab/launch/sweep/validate", json={"text": text}, headers={"accept": "*/*"})
    assert says in error(wrong, 422, "invalid")["message"]


def test_a_read_only_lab_reads_a_sweep_and_starts_none(made):
    with TestClient(create_app(made.lab.model_copy(update={"read_only": True}))) as client:
        text = json.dumps(swept_lab.REQUEST)
        assert client.post("/lab/launch/sweep/validate", json={"text": text}).status_code == 200
        refused = error(client.post(f"/sweeps/{made.sweep}/reveal", json={"by": "x"}), 403, "forbidden")
        assert "LAB_READ_ONLY" in refused["message"]


def test_the_winner_stands_beside_other_rules_with_its_tries(made):
    assert f"?sweep={made.sweep}" in made.client.get("/lab/answer").text
    page = made.client.get("/lab/answer", params={"sweep": made.sweep}).text
    assert f"The winner of {made.selection['trials']:,} tries of mine" in page
    assert "winner of a sweep" in page
    cells = pl.read_csv(made.client.get("/lab/answer.csv", params={"sweep": made.sweep}).content)
    mine = cells.filter(pl.col("run_id") == made.sweep)
    sets = pl.read_parquet(made.directory / "sets.parquet")
    assert mine["trades"].sum() == sets.filter(pl.col("rank") == 1)["trades"][0]
    assert made.client.get("/lab/answer?sweep=none").status_code == 404
