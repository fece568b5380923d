"""Without a mouse: everything is reached in the order in which it is read, and done."""

import pytest
from playwright.sync_api import expect

from lab_pipeline_tests.api.pages.addresses import address, settle

pytestmark = pytest.mark.long
FOCUSED = "() => (document.activeElement.textContent || document.activeElement.name || '').trim()"
LEFT_OUT = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
  .filter(one => one.checkVisibility() && !one.disabled && one.tabIndex < 0).map(one => one.outerHTML)"""
OUTLINE = "() => getComputedStyle(document.activeElement).outlineStyle"


def test_tab_goes_from_the_skip_link_through_the_pages_to_the_content(look):
    page = look("/lab/runs")
    found = []
    for _ in range(7):
        page.keyboard.press("Tab")
        found.append(page.evaluate(FOCUSED))
        assert page.evaluate(OUTLINE) != "none"
    links = page.locator("nav.top a").all_text_contents()
    assert found[: 1 + len(links)] == ["To the content", *links]
    assert page.evaluate(LEFT_OUT) == []


def test_the_skip_link_is_seen_and_leads_past_the_navigation(look):
    page = look("/lab/runs")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="To the content")
    assert skip.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('main') !== null")


def test_g_and_a_letter_lead_to_every_page(look):
    page = look("/lab/runs")
    keys = page.locator("nav.top [data-key]").evaluate_all("links => links.map(one => [one.dataset.key, one.pathname])")
    assert len({key for key, _ in keys}) == len(keys) == page.locator("nav.top a").count()
    for key, path in keys:
        if path == "/docs":
            continue  # the API's own page has no such keys
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"**{path}")
        settle(page)
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.matches('main select, main input')")
    page.get_by_label("Seed").focus()
    page.keyboard.type("gr")  # whoever writes means what he writes
    assert {"g", "r"} <= set(page.get_by_label("Seed").input_value())


def test_trades_are_sorted_and_scrolled_by_keyboard(look, shown):
    page = look(address("trades", shown.there))
    head = page.get_by_role("button", name="Net return")
    head.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-sort=net_return]")).to_have_attribute("aria-sort", "descending")
    page.keyboard.press("Space")
    expect(page.locator("[data-sort=net_return]")).to_have_attribute("aria-sort", "ascending")
    assert page.evaluate("() => document.activeElement.textContent") == "Net return"
    page.locator("#window").focus()
    page.keyboard.press("End")
    page.wait_for_function("() => document.getElementById('window').scrollTop > 0")


def test_what_scrolls_sideways_can_be_reached_and_has_a_name(look, shown):
    page = look(address("run", shown.there), width=390)
    unreached = page.evaluate(
        """() => [...document.querySelectorAll(".scroll")]
        .filter(one => one.checkVisibility() && one.scrollWidth > one.clientWidth)
        .filter(one => one.tabIndex !== 0 || !one.getAttribute("aria-label")).length"""
    )
    assert unreached == 0


def test_a_run_is_compared_and_notes_are_written_by_keyboard(look, shown):
    page = look("/lab/runs")
    boxes = page.get_by_role("checkbox")
    for number in (0, 1):
        boxes.nth(number).focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Compare").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/lab/compare?run=*")
    page.goto(f"{shown.url}/lab/runs/{shown.there.other}")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name")).to_be_visible()
