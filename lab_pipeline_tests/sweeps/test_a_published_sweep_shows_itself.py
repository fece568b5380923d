"""What a notebook displays of a sweep that a lab has published."""

import pytest

from lab_pipeline import Lab, Strategy
from lab_pipeline.domain.errors import LabError
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps import running
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.store import UnknownSweepError
from lab_pipeline_tests.engine.sweep.walks import walks
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.support.sweeps import sweeps_of

BASE = {
    "id": "mine",
    "horizonMinutes": 60,
    "exit": {"targets": [{"multiple": 1.3, "fraction": 1.0}], "stopLoss": 0.2, "stopFill": {"through": 0}},
}
REQUEST = {
    "strategy": "mine",
    "timeframe": "1m",
    "space": {
        "exit.stopLoss": [None, 0.1, 0.2],
        "exit.trailing": {"choice": [None, {"activation": 1.2, "distance": 0.15}]},
        "exit.maxHoldMinutes": [15, 30],
    },
    "objective": {"min_trades": 20, "min_days": 5},
    "validation": {"walk_forward": {"train_days": 10, "test_days": 4, "step_days": 4}, "bootstrap": 100, "placebo": 0},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a lake of random walks, and a sweep over it."""
    made = tmp_path_factory.mktemp("home")
    lake, strategies = Lake(made / "lake"), StrategyStore(made / "catalog.duckdb")
    candles, calls = walks(tokens=60, calls_each=4)
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    strategies.add(Strategy.parse(BASE))
    running.run_sweep(SweepSpec.parse(REQUEST), lake=lake, strategies=strategies, store=sweeps_of(made))
    return made


@pytest.fixture
def swept(home):
    lab = Lab(home)
    (sweep_id,) = lab.sweeps.sweep_ids()
    return lab.sweep(sweep_id[:8])


def test_it_displays_the_verdict_the_best_sets_and_how_all_are_spread(swept):
    page = Page(swept._repr_html_())
    assert page.problems == []
    for said in ("mine version 1, sweep ", "of 12 sets", "upported", "good by luck, too", "exit.trailing.activation"):
        assert said in page.said
    assert [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert "upported" in repr(swept)
    assert len(repr(swept)) < 600


def test_its_best_sets_are_ranked_as_published(swept):
    best = swept.best(4)
    assert best["rank"].to_list() == [1, 2, 3, 4]
    published = swept.sets.filter(best["set_id"][0] == swept.sets["set_id"])
    assert published["rank"].to_list() == [1]
    assert {"p.exit.stopLoss", "p.exit.trailing.activation", "trades", "expectancy"} <= set(best.columns)
    assert swept.best(100).height == swept.sets["rank"].count()


def test_it_is_drawn_along_whatever_it_varies(swept):
    for path, count in (("exit.stopLoss", 3), ("exit.trailing", 2), ("exit.maxHoldMinutes", 2)):
        assert f"of {count} values" in swept.plot(path).described
    with pytest.raises(LabError, match=r"'entry\.delayMinutes' is not varied: choose one of exit\.stopLoss"):
        swept.plot("entry.delayMinutes")


def test_a_lab_lists_its_sweeps(swept):
    (row,) = swept.store().to_dicts()
    assert (row["sweep_id"], row["strategy"], row["sets"]) == (swept.manifest.sweep_id, "mine", 12)
    assert "upported" in row["verdict"]


def test_its_sheet_is_the_report_as_it_was_published(swept, tmp_path):
    report = swept.store.path(swept.manifest.sweep_id, "report").read_text()
    assert swept.sheet().save(tmp_path / "sweep.html").read_text() == report


def test_one_that_is_deleted_meanwhile_is_named(swept):
    swept.store.delete(swept.manifest.sweep_id)
    with pytest.raises(UnknownSweepError, match="no artifacts of sweep"):
        swept.sheet()
