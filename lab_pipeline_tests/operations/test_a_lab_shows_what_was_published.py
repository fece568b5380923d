import polars as pl
import pytest

from lab_pipeline import Lab, simulate
from lab_pipeline.domain.errors import LabError
from lab_pipeline.operations.notes import write_notes
from lab_pipeline.runs.artifacts import UnknownRunError
from lab_pipeline.sweeps.store import UnknownSweepError
from lab_pipeline_tests.reports.page import Page

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def home(lab, run):  # noqa: ARG001 - it is in there
    """The lab of the run, on the instance that is open."""
    settings, instance = lab
    with Lab(settings, instance) as opened:
        yield opened


def test_a_home_is_opened_by_its_path_or_where_the_environment_says(lab, tmp_path, monkeypatch):
    settings, _ = lab
    assert Lab().settings == settings
    assert repr(Lab()) == f"Lab({str(settings.home)!r})"
    (tmp_path / "other").mkdir()
    assert Lab(tmp_path / "other").settings.home == tmp_path / "other"
    monkeypatch.chdir(tmp_path)
    assert Lab("other").lake.root == tmp_path / "other" / "lake"


def test_a_directory_that_is_not_there_is_no_lab(tmp_path, monkeypatch):
    with pytest.raises(LabError, match=r"no lab in .*misspelt: name the directory of one"):
        Lab(tmp_path / "misspelt")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "unmade"))
    with pytest.raises(LabError, match=r"no lab in .*unmade.*`lab demo`"):
        Lab()
    assert not (tmp_path / "unmade").exists()


def test_a_run_is_found_by_the_beginning_of_its_id(home, run):
    found = home.run(run.run_id[:8])
    assert found.run_id == run.run_id
    assert found == home.run(run.run_id)
    assert found.trades.height == found.summary.trades >= 3
    with pytest.raises(UnknownRunError, match="unknown run 'nothing'"):
        home.run("nothing")
    with pytest.raises(UnknownSweepError, match="unknown sweep 'nothing'"):
        home.sweep("nothing")


def test_a_run_displays_itself_as_it_was_published(home, run, tmp_path):
    found = home.run(run.run_id)
    page = Page(found._repr_html_())
    assert page.problems == []
    assert f"ladder version 1, run {run.run_id[:8]}" in page.said
    assert "1m candles" in page.said
    assert found.plot("returns").title == "Distribution of net returns"
    report = home.artifacts.path(run.run_id, "report").read_text()
    assert found.sheet().save(tmp_path / "sheet.html").read_text() == report
    assert len(repr(found)) < 400


def test_runs_are_listed_newest_first_with_their_names(home, run):
    write_notes(home.runs, run.run_id, name=HOSTILE)
    runs = home.runs()
    assert [one.run_id for one in runs] == [run.run_id]
    assert runs[0] == home.run(run.run_id)
    assert len(runs[:0]) == 0
    (row,) = runs.frame.to_dicts()
    assert (row["run_id"], row["name"], row["strategy"], row["timeframe"]) == (run.run_id, HOSTILE, "ladder", "1m")
    assert row["trades"] == runs[0].summary.trades
    assert runs.frame.schema["expectancy"] == pl.Float64
    html = runs._repr_html_()
    assert HOSTILE not in html
    assert HOSTILE in Page(html).said
    assert run.run_id[:8] in repr(runs)


def test_runs_are_chosen_by_strategy_timeframe_and_caller(home):
    assert len(home.runs("ladder", timeframe="1m")) == 1
    for nothing in (home.runs("other"), home.runs(timeframe="5m"), home.runs(caller="nobody"), home.runs(limit=0)):
        assert len(nothing) == 0
        assert "0 published runs" in nothing._repr_html_()
        assert repr(nothing) == "<0 published runs>"
        assert nothing.frame.is_empty()


def test_what_the_lake_has_is_simulated_as_the_run_was(home, run):
    found = home.run(run.run_id)
    market = home.lake.market("1m")
    result = simulate(market.candles, market.calls, found.strategy, timeframe="1m")
    assert result.trades.equals(found.trades)
    assert result.summary == found.summary


def test_calls_of_some_callers_come_with_the_candles_of_their_tokens_alone(home):
    market = home.lake.market("1m", callers=["ben"])
    assert market.calls["caller"].to_list() == ["ben"]
    assert market.candles["mint"].unique().to_list() == ["BBB"]
    assert market.candles["timestamp"].is_sorted()
    with pytest.raises(LabError, match="the lake has no 1h candles: it has 1m"):
        home.lake.market("1h")


def test_a_run_that_is_deleted_meanwhile_is_named(home, run):
    found = home.run(run.run_id)
    home.artifacts.delete(run.run_id)
    with pytest.raises(UnknownRunError, match=f"run {run.run_id} was deleted meanwhile"):
        found.sheet()
