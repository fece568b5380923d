import re
from base64 import b64decode
from typing import get_args
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from lab_pipeline import Strategy, generate_market, simulate, sweep
from lab_pipeline.domain.errors import LabError
from lab_pipeline.engine import simulate as simulate_only
from lab_pipeline.engine.sweep import sweep as sweep_only
from lab_pipeline.notebook.shown import Chart
from lab_pipeline.reports.formats import signed_percent
from lab_pipeline_tests.reports.page import Page

HOSTILE = "<script>alert(1)</script>"
STRATEGY = Strategy.parse({"id": "mine", "horizonMinutes": 1440, "exit": {"stopLoss": 0.3}})
SPACE = {"exit.stopLoss": [0.1, 0.2, 0.3, 0.4], "exit.maxHoldMinutes": [60, 240, None]}


@pytest.fixture(scope="module")
def market():
    return generate_market(tokens=40, calls=200)


@pytest.fixture(scope="module")
def result(market):
    return simulate(market.candles, market.calls, STRATEGY, timeframe="5m")


@pytest.fixture(scope="module")
def rules(market):
    return sweep(market.candles, market.calls, STRATEGY, SPACE, timeframe="5m")


def shown(thing):
    """Parse what a notebook displays, which is well-formed and executes nothing."""
    page = Page(thing._repr_html_())
    assert page.problems == []
    assert not {tag for tag, _ in page.elements} & {"script", "style", "link"}
    assert not [name for _, attributes in page.elements for name in attributes if name == "id" or name.startswith("on")]
    return page


def picture_of(page):
    """Return the SVG of the only image of a page."""
    (image,) = [attributes for tag, attributes in page.elements if tag == "img"]
    assert image["alt"]
    head, _, data = image["src"].partition(",")
    assert head == "data:image/svg+xml;base64"
    return b64decode(data).decode()


def test_a_result_is_that_of_the_engine(market, result):
    alone = simulate_only(market.candles, market.calls, STRATEGY, timeframe="5m", doubted=True)
    for name in ("trades", "fills", "paths", "outcomes", "equity", "fill_certainty", "nulls"):
        assert getattr(result, name).equals(getattr(alone, name))
    assert result.summary == alone.summary


def test_a_result_displays_what_to_conclude_its_numbers_and_its_equity(result):
    page = shown(result)
    summary = result.summary
    for said in (f"{summary.trades:,}", f"{summary.win_rate:.1%}", "mine", "5m candles", "95% interval"):
        assert said in page.said
    assert f"{abs(summary.expectancy):.2%}" in page.said
    assert re.search(r"Conclude nothing yet|It (gains|loses) whatever", page.said)
    ET.fromstring(picture_of(page))  # noqa: S314 - our own
    assert "mean net return" in repr(result)
    assert "\n" not in repr(result)


def test_without_other_fills_nothing_is_concluded(market):
    quick = simulate(market.candles, market.calls, STRATEGY, timeframe="5m", doubted=False)
    for said in (shown(quick).said, quick.sheet().html):
        assert "what other fills would have made of these trades was not simulated" in said
    with pytest.raises(LabError, match="was not simulated"):
        quick.plot("fills")


@pytest.mark.parametrize("chart", get_args(Chart))
def test_every_chart_is_a_file_of_its_own(result, chart, tmp_path):
    picture = result.plot(chart)
    path = picture.save(tmp_path / "picture.svg")
    root = ET.fromstring(path.read_text())  # noqa: S314 - our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert float(root.get("width")) > 300
    assert "var(" not in picture.svg
    assert len(picture.svg) < 100_000
    assert picture_of(shown(picture)) == picture.svg
    assert picture.title in repr(picture)
    assert re.search(r"\d", picture.described)


def test_a_chart_that_is_not_there_is_named_with_those_that_are(result):
    with pytest.raises(LabError, match="no chart 'pie': choose one of equity, returns, mean, hours, excursions, fills"):
        result.plot("pie")


def test_a_sheet_is_a_file_and_stays_in_its_frame(result, tmp_path):
    sheet = result.sheet()
    path = sheet.save(tmp_path / "sheet.html")
    assert path.read_text() == sheet.html
    assert "none: computed from frames in memory" in sheet.html
    ((tag, attributes),) = shown(sheet).elements
    assert tag == "iframe"
    assert attributes["srcdoc"] == sheet.html
    assert attributes["sandbox"] == "allow-scripts"
    assert len(repr(sheet)) < 100


def test_without_calls_it_says_so(market):
    nothing = simulate(market.candles, market.calls.clear(), STRATEGY, timeframe="5m")
    assert "No call lies in this range" in shown(nothing).said
    with pytest.raises(LabError, match="No call lies in this range"):
        nothing.plot()
    with pytest.raises(LabError, match="no tear sheet of no calls"):
        nothing.sheet()


def test_names_stay_text(market):
    calls = market.calls.with_columns(caller=pl.lit(HOSTILE))
    result = simulate(market.candles, calls, STRATEGY.config, timeframe="5m")
    assert HOSTILE not in result._repr_html_()
    assert HOSTILE not in result.sheet().html
    assert "&lt;script&gt;" in result.sheet().html
    assert HOSTILE not in result.sheet()._repr_html_()


def test_a_sweep_is_that_of_the_engine(market, rules):
    alone = sweep_only(market.candles, market.calls, STRATEGY, SPACE, timeframe="5m")
    assert rules.sets.equals(alone.sets)
    assert rules.day_cells().equals(alone.day_cells())


def test_a_sweep_displays_its_best_sets_and_what_luck_does(rules):
    page = shown(rules)
    for said in (
        "mine, a sweep of 12 sets",
        "by luck alone",
        "exit.stopLoss",
        "exit.maxHoldMinutes",
        "is not to be expected",
    ):
        assert said in page.said
    best = rules.best(3)
    assert best["rank"].to_list() == [1, 2, 3]
    assert best["expectancy_lower"].is_sorted(descending=True)
    assert best["set_id"][0] == rules.sets.sort("expectancy_lower", descending=True)["set_id"][0]
    assert len([tag for tag, _ in page.elements if tag == "tr"]) == 1 + 10
    ET.fromstring(picture_of(page))  # noqa: S314 - our own
    assert "12 sets" in repr(rules)


def test_a_sweep_is_drawn_along_a_parameter(rules):
    picture = rules.plot("exit.stopLoss")
    assert picture.title == "Objective along exit.stopLoss"
    assert "of 4 values" in picture.described
    with pytest.raises(LabError, match=r"'exit\.targets' is not varied: choose one of exit\.stopLoss, exit\.maxHold"):
        rules.plot("exit.targets")


def test_a_sweep_is_drawn_as_a_heat_map_of_two_parameters(rules):
    picture = rules.plot("exit.stopLoss", "exit.maxHoldMinutes")
    texts = [one.text for one in ET.fromstring(picture.svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 - our own
    assert len([text for text in texts if text.endswith("%")]) >= 12
    best = rules.best(1)
    assert signed_percent(best["expectancy_lower"][0]) in picture.described
    assert f"exit.stopLoss {best['p.exit.stopLoss'][0]:g} " in picture.described
    with pytest.raises(LabError, match="given twice"):
        rules.plot("exit.stopLoss", "exit.stopLoss")
    with pytest.raises(LabError, match="is not varied"):
        rules.plot("exit.stopLoss", "exit.targets")


def test_sets_without_two_days_of_trades_are_not_ranked(market):
    one_call = sweep(market.candles, market.calls.head(1), STRATEGY, SPACE, timeframe="5m")
    assert one_call.best().is_empty()
    assert "none can be ranked" in shown(one_call).said
    with pytest.raises(LabError, match="no set has trades enough"):
        one_call.plot()
