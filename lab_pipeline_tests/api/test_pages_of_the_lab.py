"""The pages under `/lab`, as HTML: who sees them, what they load, what they say."""

import itertools
import re

import polars as pl
import pytest
from dagster._core.test_utils import create_run_for_test
from fastapi.testclient import TestClient
from pydantic import SecretStr

from lab_pipeline.api.app import create_app
from lab_pipeline.api.pages import lake as lake_pages
from lab_pipeline.api.pages.frame import SECTIONS
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.lake import Lake
from lab_pipeline.lake.coverage import quality
from lab_pipeline.operations.runs import Runs
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.settings import Settings
from lab_pipeline_tests.api.errors import error
from lab_pipeline_tests.api.labs import finished
from lab_pipeline_tests.support.embedded import skip_without_chdb
from lab_pipeline_tests.support.markets import candles, stock

HTML = {"accept": "text/html"}
TOKEN = "s3cret"  # noqa: S105 - of the test
HOSTILE = '"><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A lab with one run: its settings and the id of the run."""
    skip_without_chdb()
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        stock(home)
        lab = Settings(home=home, port=1)
        with open_instance(lab) as instance:
            run_id = finished(instance, seed=1)
        yield lab, run_id


@pytest.fixture(scope="module")
def pages(made):
    with TestClient(create_app(made[0]), headers=HTML) as client:
        yield client


def test_the_root_leads_to_the_pages(pages):
    assert pages.get("/").url.path.startswith("/lab/")


def test_everything_that_a_page_loads_is_served_here(pages):
    page = pages.get("/lab/runs")
    loaded = [name for name in re.findall(r'(?:src|href)="([^"]+)"', page.text) if "/static/" in name]
    assert len(loaded) >= 3
    for name in loaded:
        answer = pages.get(name)
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"


def test_a_run_is_listed_with_its_numbers_and_leads_to_its_sheet(pages, made):
    _, run_id = made
    listed = pages.get("/lab/runs").text
    assert f"/lab/runs/{run_id}" in listed
    summary = pages.get(f"/runs/{run_id}").json()["summary"]
    assert f"{summary['trades']:,}" in listed
    sheet = pages.get(f"/lab/runs/{run_id}").text
    assert f'<data id="expectancy" value="{summary["expectancy"]}">' in sheet
    assert sheet.count("<html") == sheet.count("<main") == 1
    assert f"/runs/{run_id}" in re.search(r'href="(http[^"]+)">Log and lineage', sheet)[1]


def test_the_account_of_a_run_is_told_by_day_month_and_drawdown(pages, made):
    lab, run_id = made
    page = pages.get(f"/lab/runs/{run_id}").text
    equity = pl.read_parquet(lab.artifacts_dir / run_id / "equity.parquet")
    summary = pages.get(f"/runs/{run_id}").json()["summary"]
    days = pl.read_csv(pages.get(f"/lab/runs/{run_id}/days.csv").content)
    assert (days["return"] + 1).product() == pytest.approx(1 + summary["totalReturn"])
    assert days["equity"][-1] == equity["equity"][-1]
    assert 'id="days-title"' in page
    assert page.count(f'<th scope="row">{days["day"][0]}</th>') == 1
    falls = pl.read_csv(pages.get(f"/lab/runs/{run_id}/drawdowns.csv").content)
    deepest = falls["depth"].min() if falls.height else 0.0
    assert deepest == pytest.approx(-summary["maxDrawdown"])
    assert "Month by month" in page
    assert "% of the time" in page
    assert pages.get("/lab/runs/none/days.csv").status_code == 404


def test_the_parameters_of_a_run_are_listed_by_path_and_say_what_was_changed(pages, made):
    lab, _ = made
    with open_instance(lab) as instance:
        run_id = finished(instance, seed=5, params={"exit.stopLoss": 0.35})
    page = pages.get(f"/lab/runs/{run_id}").text
    rows = re.findall(r"<code>([^<]+)</code></th><td class=\"value\"><code>([^<]*)</code></td><td>([^<]*)</td>", page)
    told = {path: (value, changed) for path, value, changed in rows}
    assert told["exit.stopLoss"] == ("0.35", "changed for this run")
    assert {path for path, (_, changed) in told.items() if changed} == {"exit.stopLoss"}
    assert "costs.feeBps" in told


def test_what_is_wrong_is_a_page_for_a_person_and_json_for_a_program(pages):
    page = pages.get("/lab/runs/none")
    assert page.status_code == 404
    assert "unknown run &#39;none&#39;" in page.text
    error(pages.get("/lab/runs/none", headers={"accept": "application/json"}), 404, "not_found")
    assert "is no cursor of this list" in pages.get("/lab/runs?cursor=x").text


@pytest.mark.parametrize("path", ["/lab/runs?strategy={}", "/lab/runs/{}", "/lab/runs?{}=1"])
def test_a_hostile_address_stays_text(pages, path):
    assert "<img" not in pages.get(path.format(HOSTILE)).text


def test_a_person_logs_in_once_and_a_page_of_another_site_does_not(made, monkeypatch):
    monkeypatch.setattr("lab_pipeline.login.WRONG_TOKEN_SECONDS", 0)
    guarded = made[0].model_copy(update={"api_token": SecretStr(TOKEN)})
    with TestClient(create_app(guarded), headers=HTML) as client:
        asked = client.get("/lab/runs")
        assert asked.status_code == 401
        assert 'name="next" value="/lab/runs"' in asked.text
        assert client.post("/login", data={"token": "other", "next": "/lab/runs"}).status_code == 401
        assert client.get("/lab/runs").status_code == 401
        form = {"token": TOKEN, "next": "/lab/runs"}
        foreign = client.post("/login", data=form, headers={"origin": "http://evil.example"})
        assert foreign.status_code == 403
        assert client.post("/login", data=form).url.path == "/lab/runs"
        assert client.get("/lab/runs").status_code == 200
        assert client.get("/strategies", headers={"accept": "application/json"}).status_code == 200
        assert client.post("/logout").status_code == 200
        assert client.get("/lab/runs").status_code == 401


def test_programs_are_asked_for_the_token_as_before(made):
    guarded = made[0].model_copy(update={"api_token": SecretStr(TOKEN)})
    with TestClient(create_app(guarded)) as client:
        error(client.get("/runs", headers={"accept": "application/json"}), 401, "unauthorized")


def test_a_read_only_lab_shows_everything_and_changes_nothing(made):
    lab, run_id = made
    with TestClient(create_app(lab.model_copy(update={"read_only": True}))) as client:
        assert client.get("/lab/runs", headers=HTML).status_code == 200
        for method, path in (("DELETE", f"/runs/{run_id}"), ("POST", "/backtest"), ("PATCH", "/strategies/ladder")):
            assert "LAB_READ_ONLY" in error(client.request(method, path), 403, "forbidden")["message"]
        ladder = client.get("/strategies/ladder").json()["config"]
        assert client.post("/strategies/ladder/validate", json={"config": ladder}).status_code == 200
        assert client.get(f"/runs/{run_id}").status_code == 200


def test_the_answer_has_every_caller_under_the_rules_and_leads_to_the_trades_of_a_cell(pages, made):
    lab, run_id = made
    page = pages.get("/lab/answer").text
    cells = pl.read_csv(pages.get("/lab/answer.csv").content)
    calls = pl.read_parquet(lab.artifacts_dir / run_id / "outcomes.parquet").group_by("caller").len()
    assert dict(cells.select("caller", "calls").rows()).items() <= dict(calls.rows()).items()
    assert {"reached_2x", "mean_ath", "hold_expectancy", "random_expectancy"} <= set(cells.columns)
    for caller, trades in cells.select("caller", "trades").rows():
        assert f"/lab/runs/{run_id}/trades?caller={caller.replace(' ', '+')}" in page or f">{caller}</th>" in page
        assert f">{int(trades):,}</span>" in page
    assert pages.get(f"/lab/answer?run={run_id}").text.count('class="under">v1') == 1
    assert pages.get("/lab/answer?run=none").status_code == 404


def test_every_picture_of_a_run_has_its_numbers_its_address_and_its_fingerprint(pages, made):
    lab, run_id = made
    page = pages.get(f"/lab/runs/{run_id}").text
    told = re.findall(
        r'<p class="numbers"><a href="([^"]+)">Numbers as CSV</a><a href="#([^"]+)">.*?Fingerprint (\w+)', page
    )
    assert len(told) >= 6
    fingerprint = pages.get(f"/runs/{run_id}").json()["fingerprint"]
    for address, section, of in told:
        assert of == fingerprint
        assert page.count(f'id="{section}"') == 1
        assert pages.get(address).headers["content-type"].startswith("text/csv")
    assert "Numbers as CSV" not in (lab.artifacts_dir / run_id / "report.html").read_text()


def test_a_rule_is_shown_by_its_run_over_the_most_calls(pages, made):
    lab, run_id = made
    with open_instance(lab) as instance:
        night = finished(instance, seed=1, start="2018-01-11T00:00:00Z", end="2018-01-12T00:00:00Z")
    assert pages.get(f"/runs/{night}").json()["summary"]["calls"] == 0
    page = pages.get("/lab/answer").text
    assert f"/lab/runs/{run_id}" in page
    assert night not in page


def rows_of(answer):
    return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]


def test_rows_of_trades_come_as_they_are_asked_for(pages, made):
    lab, run_id = made
    trades = pl.read_parquet(lab.artifacts_dir / run_id / "trades.parquet")
    outcomes = pl.read_parquet(lab.artifacts_dir / run_id / "outcomes.parquet")
    address = f"/lab/runs/{run_id}/trades.json"
    best = pages.get(address, params={"sort": "net_return", "order": "desc", "limit": 3}).json()
    untraded = outcomes.join(trades, on="call_id", how="anti").height
    assert (best["trades"], best["total"]) == (trades.height, trades.height + untraded)
    assert [row["net_return"] for row in rows_of(best)] == trades["net_return"].sort(descending=True).head(3).to_list()
    assert best["meanReturn"] == pytest.approx(trades["net_return"].mean())
    reason = trades["exit_reason"][0]
    chosen = pages.get(address, params={"reason": reason}).json()
    assert chosen["total"] == trades.filter(pl.col("exit_reason") == reason).height
    pieces = (pages.get(address, params={"offset": offset, "limit": 2}).json()["rows"] for offset in range(0, 6, 2))
    assert list(itertools.chain.from_iterable(pieces)) == pages.get(address, params={"limit": 6}).json()["rows"]
    assert pages.get(address, params={"sort": "1; DROP"}).status_code == 422
    assert pages.get(f"/lab/runs/{run_id}/trades?caller=x").status_code == 200


def test_rows_are_the_same_however_they_are_asked_for(pages, made):
    _, run_id = made
    address = f"/lab/runs/{run_id}/trades.json"
    for sort in ("called_at", "caller", "mint", "net_return", "hold_minutes", "mfe", "pnl"):
        up, down = (
            rows_of(pages.get(address, params={"sort": sort, "order": order}).json()) for order in ("asc", "desc")
        )
        assert sorted(map(repr, up)) == sorted(map(repr, down))
        values = [row[sort] for row in up if row[sort] is not None]
        assert values == sorted(values)
        assert [row[sort] for row in down if row[sort] is not None] == values[::-1]
    taken = pages.get(address, params={"taken": "yes", "caller": "ann"}).json()
    assert {(row["taken"], row["caller"]) for row in rows_of(taken)} == {(True, "ann")}


def test_a_form_gives_back_the_very_name_that_it_was_given(pages, made):
    _, run_id = made
    family = "\N{MAN}\u200d\N{WOMAN}"  # the joiner is no text, and on the page itself it is written as its escape
    page = pages.get(f"/lab/runs/{run_id}/trades", params={"caller": family, "mint": HOSTILE}).text
    assert f'name="caller" value="{family}"' in page
    assert 'name="mint" value="&#34;&gt;&lt;img' in page


def test_a_form_whose_fields_are_empty_asks_for_everything(pages, made, monkeypatch):
    _, run_id = made
    empty = {"caller": "", "mint": "", "outcome": "", "reason": "", "taken": ""}
    for path in ("trades", "trades.json"):
        asked, all_ = (pages.get(f"/lab/runs/{run_id}/{path}", params=params) for params in (empty, {}))
        assert (asked.status_code, asked.text) == (200, all_.text)
    assert pages.get("/lab/runs?status=&strategy=").text == pages.get("/lab/runs").text
    monkeypatch.setattr("lab_pipeline.api.pages.runs.ON_A_PAGE", 1)
    with open_instance(made[0]) as instance:
        create_run_for_test(instance, job_name="backtest")
    older = re.search(r'rel="next" href="([^"]+)"', pages.get("/lab/runs").text)[1].replace("&amp;", "&")
    page = pages.get(f"/lab/runs{older}")
    assert page.status_code == 200
    assert "Newest" in page.text


def test_every_page_has_a_key_of_its_own(pages):
    keys = re.findall(r'data-key="(.)"', pages.get("/lab/runs").text)
    assert len(set(keys)) == len(keys) == len(SECTIONS) + 1


def test_a_call_is_shown_on_its_candles(pages, made):
    lab, run_id = made
    fills = pl.read_parquet(lab.artifacts_dir / run_id / "fills.parquet")
    call_id = fills["call_id"][0]
    mine = fills.filter(pl.col("call_id") == call_id)
    drawn = pages.get(f"/lab/runs/{run_id}/calls.json", params={"call": call_id}).json()
    assert [(fill[2], fill[3]) for fill in drawn["fills"]] == mine.select("side", "price").rows()
    times = [candle[0] for candle in drawn["candles"]]
    assert times == sorted(times)
    assert all(fill[0] in times for fill in drawn["fills"])
    assert {level[0] for level in drawn["levels"]} <= set(times)
    page = pages.get(f"/lab/runs/{run_id}/calls", params={"call": call_id})
    assert page.text.count("this run)") == 1
    assert "today" not in page.text
    table = pages.get(f"/lab/runs/{run_id}/calls.csv", params={"call": call_id}).text.splitlines()
    assert len(table) == len(times) + 1
    assert "has no call &#39;none&#39;" in pages.get(f"/lab/runs/{run_id}/calls?call=none").text


def test_runs_are_compared_call_by_call(pages, made):
    lab, run_id = made
    with open_instance(lab) as instance:
        other = finished(instance, seed=2)
    page = pages.get("/lab/compare", params={"run": [run_id, other]}).text
    assert "seed" in re.search(r"What was asked differently.*", page, re.DOTALL)[0]
    calls = pages.get(f"/runs/{run_id}").json()["summary"]["calls"]
    assert f'<td class="n">{calls:,}</td><td class="n">0</td><td class="n">0</td>' in page  # the seed changes no trade
    table = pl.read_csv(pages.get("/lab/compare/calls.csv", params={"run": [run_id, other]}).content)
    trades = pl.read_parquet(lab.artifacts_dir / other / "trades.parquet")
    assert table.height == calls
    assert table[other].sum() == pytest.approx(trades["net_return"].sum())
    curves = pl.read_csv(pages.get("/lab/compare/curves.csv", params={"run": [run_id, other]}).content)
    assert curves.columns == ["timestamp", run_id, other]
    assert "at least 2" in pages.get(f"/lab/compare?run={run_id}").text
    assert "more than once" in pages.get("/lab/compare", params={"run": [run_id, run_id]}).text


def test_the_form_is_filled_in_with_what_the_lake_has(pages):
    page = pages.get("/lab/launch?strategy=dip-scalper").text
    assert "<option selected>dip-scalper</option>" in page
    assert "<option>1m</option>" in page
    assert 'value="2018-01-10T00:00:30.000Z"' in page


def test_progress_is_what_the_log_said_last(pages, made):
    lab, run_id = made
    done = pages.get(f"/lab/runs/{run_id}/progress.json").json()
    assert (done["status"], done["finished"], done["done"]) == ("completed", True, None)
    with open_instance(lab) as instance:
        run = create_run_for_test(instance)
        for part in ("1", "2"):
            instance.report_engine_event(f"simulated {part},000 of 4,000 calls ({part})", run)
        instance.report_engine_event("something else", run)
        assert Runs(instance, ArtifactStore.of(lab)).progress(run.run_id) == (2000, 4000)


def test_the_lake_is_shown_by_token_and_day(pages, made):
    lab, _ = made
    page = pages.get("/lab/lake").text
    assert "240 candles of 2 tokens" in page
    assert 'id="coverage-title"' in page
    assert page.count("/lab/lake/token?mint=") == 2
    assert pages.get("/lab/lake.csv").text.splitlines()[0].startswith("mint,first,last,rows")
    assert "the lake has 1m" in pages.get("/lab/lake?timeframe=7m").text
    token = pages.get("/lab/lake/token.json?mint=BBB").json()
    candles = Lake(lab.lake_dir).candles("1m", "BBB", 0, 4_000_000_000_000)
    assert token["candles"] == [list(row) for row in candles.select(
        pl.col("timestamp").dt.epoch("s"), "open", "high", "low", "close", "volume").rows()]  # fmt: skip
    assert (token["together"], [caller for _, caller in token["calls"]]) == (1, ["ben", "ann"])
    assert "no 1m candles of this token" in pages.get("/lab/lake/token?mint=none").text


def test_faults_are_counted_by_token_and_marked_on_its_candles(api, home):
    lake, time = Lake(home / "lake"), pl.col("timestamp").cast(pl.Datetime("ms", "UTC"))
    sound = candles(("AAA",)).with_columns(pl.col("open", "high", "low", "close") * 2, time)
    lake.write_candles(sound, "1m")
    assert "Nothing was found" in api.get("/lab/lake/faults").text
    high = pl.when(pl.int_range(pl.len()) == 60).then(pl.col("high") * 9).otherwise("high")
    spiked = candles(("CCC",)).with_columns(high, time)
    lake.write_candles(spiked, "1m")
    page = api.get("/lab/lake/faults").text
    assert "1 of 2 tokens" in page
    assert "/lab/lake/token?mint=CCC" in page
    assert "high is" in api.get("/lab/lake/token?mint=CCC").text
    at = int(spiked["timestamp"].to_physical()[60]) // 1000
    assert api.get("/lab/lake/token.json?mint=CCC").json()["faults"] == [[at, "spike"]]
    assert api.get("/lab/lake/token.json?mint=AAA").json()["faults"] == []
    (line,) = pl.read_csv(api.get("/lab/lake/faults.csv").content).to_dicts()
    assert (line["mint"], line["fault"]) == ("CCC", "spike")


def test_a_lake_is_looked_through_once_for_as_long_as_nothing_is_ingested(api, home, monkeypatch):
    looked = []
    monkeypatch.setattr(lake_pages, "quality", lambda lake, length: looked.append(length) or quality(lake, length))
    stock(home)
    for _ in range(3):
        assert "240 candles of 2 tokens" in api.get("/lab/lake").text
        assert len(api.get("/lab/lake.csv").text.splitlines()) == 3
        assert "120 candles" in api.get("/lab/lake/token?mint=AAA").text
    assert looked == ["1m"]
    more = candles(("CCC",)).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))
    Lake(home / "lake").write_candles(more, "1m")
    assert "360 candles of 3 tokens" in api.get("/lab/lake").text
    assert looked == ["1m", "1m"]


def test_many_candles_are_drawn_together(pages, monkeypatch):
    monkeypatch.setattr("lab_pipeline.api.pages.lake.MOST_CANDLES", 50)
    token = pages.get("/lab/lake/token.json?mint=BBB").json()
    assert (token["together"], len(token["candles"])) == (3, 40)
    assert sum(volume for *_, volume in token["candles"]) == 120 * 10.0


def test_what_is_written_about_a_run_stays_with_it(pages, made):
    _, run_id = made
    change = {"name": "tight stop", "labels": ["good", "for ann"], "notes": f"why: {HOSTILE}", "pinned": True}
    said = pages.patch(f"/runs/{run_id}", json=change).json()
    assert {name: said[name] for name in change} == change
    assert pages.patch(f"/runs/{run_id}", json={"name": "loose"}).json()["labels"] == ["good", "for ann"]
    page = pages.get(f"/lab/runs/{run_id}").text
    assert "loose" in page
    assert "<img" not in page
    listed = pages.get("/lab/runs").text
    assert "★" in listed
    assert "for ann" in listed
    assert not pages.patch(f"/runs/{run_id}", json={"pinned": False}).json()["pinned"]
    for wrong in ({"labels": ["a,b"]}, {"name": "x" * 201}, {"summary": {}}, {"pinned": "maybe"}):
        assert pages.patch(f"/runs/{run_id}", json=wrong).status_code == 422
    assert pages.patch("/runs/none", json=change).status_code == 404
