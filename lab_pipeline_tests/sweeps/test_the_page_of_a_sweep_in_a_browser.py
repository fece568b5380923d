"""The one script of a sweep's page: other dimensions of the map, and lines that are chosen."""

import re

import polars as pl
import pytest
from playwright.sync_api import sync_playwright

from lab_pipeline_tests.support.browser import FLAGS, listen
from lab_pipeline_tests.sweeps.swept_walks import data_of, once, world

__all__ = ["once", "world"]
pytestmark = pytest.mark.long
LINES = "svg:has(g.sets)"


@pytest.fixture
def opened(chromium, once, tmp_path):
    """The page in a window of a desktop; in the end, nothing may have gone wrong."""
    (tmp_path / "report.html").write_text(once.html)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        complaints = listen(page)
        page.goto((tmp_path / "report.html").as_uri())
        yield page
        browser.close()
    assert [one for one in complaints if "file://" not in one] == []


def cells(page):
    return page.eval_on_selector_all(
        "#heat tr",
        "rows => rows.map(row => [...row.cells].map(one => [one.textContent, one.className, one.style.cssText]))",
    )


def test_the_script_draws_the_map_as_the_page_has_it(opened):
    drawn = cells(opened)
    opened.select_option("#heat-reduce", "median")
    assert cells(opened) != drawn
    opened.select_option("#heat-reduce", "best")
    assert cells(opened) == drawn


@pytest.mark.parametrize("reduce", ["best", "median"])
def test_any_two_dimensions_can_be_chosen(opened, once, reduce):
    data = data_of(once.html)
    opened.select_option("#heat-x", "2")
    opened.select_option("#heat-y", "0")
    opened.select_option("#heat-reduce", reduce)
    heading, *rows = cells(opened)
    assert [text for text, *_ in heading[1:]] == data["dimensions"][2]["labels"]
    assert [row[0][0] for row in rows] == data["dimensions"][0]["labels"]
    told = [[float(re.sub("\N{MINUS SIGN}", "-", text).rstrip("%")) for text, *_ in row[1:]] for row in rows]
    assert told == [[value / 10 for value in line] for line in data["maps"]["0 2"][reduce]]
    assert ["peak" in kind.split() for _, kind, _ in rows[data["winner"][0]][1:]].index(True) == data["winner"][2]


def test_a_dimension_is_not_drawn_against_itself(opened):
    opened.select_option("#heat-y", "0")
    assert opened.eval_on_selector("#heat-x", "one => one.value") == "1"
    opened.select_option("#heat-x", "0")
    assert opened.eval_on_selector("#heat-y", "one => one.value") == "1"


def test_lines_are_chosen_by_dragging_along_an_axis(opened, once):
    able = once.frames["sets"].filter(pl.col("rank").is_not_null())
    opened.locator(LINES).scroll_into_view_if_needed()
    box = opened.locator(LINES).bounding_box()
    right = box["x"] + box["width"] * (1120 - 70) / 1120

    def drag(begin, end):
        opened.mouse.move(right, box["y"] + begin * box["height"])
        opened.mouse.down()
        opened.mouse.move(right, box["y"] + end * box["height"], steps=3)
        opened.mouse.up()

    drag(0.02, 0.5)
    kept = opened.locator("g.sets path:not(.off)").count()
    assert 0 < kept < able.height
    told = opened.text_content("#lines-told")
    assert told.startswith(f"{kept} of {able.height} sets; the best of them is set {once.selection['winner']}, ")
    drag(0.5, 0.5)
    assert opened.locator("g.sets path.off").count() == 0
    assert opened.text_content("#lines-told") == f"{able.height} sets that may win."


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_is_no_wider_than_its_window(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth") == width


def test_without_scripts_everything_but_the_choice_is_there(chromium, once, tmp_path):
    (tmp_path / "report.html").write_text(once.html)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto((tmp_path / "report.html").as_uri())
        assert page.locator("#heat td").count() > 3
        assert page.locator("g.sets path").count() == len(data_of(once.html)["lines"])
        assert not page.locator("#heat-choice").is_visible()
        browser.close()
