"""Every page, wide and narrow, light, dark and printed: it works, keeps to itself, fits, and keeps nobody out."""

import pytest
from playwright.sync_api import expect

from lab_pipeline_tests.api.pages.addresses import PAGES, address, settle
from lab_pipeline_tests.support.browser import barriers

pytestmark = pytest.mark.long
PAPER = 718
"""Width of A4 within the margins that browsers print with, in CSS pixels."""
VIEWS = {
    "wide": {"width": 1440},
    "wide, dark": {"width": 1440, "dark": True},
    "narrow": {"width": 390, "height": 844},
    "narrow, dark": {"width": 390, "height": 844, "dark": True},
    "printed": {"width": PAPER, "print_": True},
    "printed, dark": {"width": PAPER, "print_": True, "dark": True},
}
BEYOND = """() => [...document.querySelectorAll("body *")].filter(
  one => one.checkVisibility() && one.getBoundingClientRect().right > document.documentElement.clientWidth + 1
  && !one.closest(".scroll, .window, .candles, svg")).map(one => one.outerHTML.slice(0, 120))"""
ASIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_works_keeps_to_itself_fits_and_keeps_nobody_out(look, shown, name, view):
    page = look(address(name, shown.there), **VIEWS[view])
    assert page.complaints == []
    assert page.evaluate(ASIDE) <= 0, page.evaluate(BEYOND)
    assert barriers(page) == []
    assert page.evaluate("window.hit") is None


@pytest.mark.parametrize("view", ["wide", "narrow, dark"])
@pytest.mark.parametrize("wrong", ["/lab/runs/none", "/lab/nothing", "/lab/compare?run=none", "/lab/lake?timeframe=7m"])
def test_a_page_that_says_what_is_wrong_is_one_of_them(look, wrong, view):
    page = look(wrong, **VIEWS[view])
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate(ASIDE) <= 0
    assert barriers(page) == []


def test_what_is_wide_is_printed_as_a_whole(look, shown):
    """What a reader would have to scroll to is on paper, too: paper does not scroll."""
    for name in PAGES:
        page = look(address(name, shown.there), width=PAPER, print_=True)
        cut = page.evaluate(
            """() => [...document.querySelectorAll("table")]
            .filter(one => one.checkVisibility() && !one.closest(".candles"))
            .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
            .map(one => `${one.className} ${one.getBoundingClientRect().right}`)"""
        )
        assert cut == [], name


def test_a_person_goes_from_the_answer_to_a_trade_on_its_candles(look, shown):
    page = look(f"/lab/answer?run={shown.there.run}&run={shown.there.other}")
    page.locator("td.cell a").first.click()
    page.wait_for_url("**/trades?caller=*")
    settle(page)
    page.get_by_role("button", name="Net return").click()
    expect(page.locator("[data-sort=net_return]")).to_have_attribute("aria-sort", "descending")
    page.locator("#rows a").first.click()
    page.wait_for_url("**/calls?call=*")
    settle(page)
    page.get_by_label("Logarithmic").click()
    expect(page.locator("#chart canvas").first).to_be_visible()
    page.get_by_role("link", name="Other calls of this token").click()
    page.wait_for_url("**/trades?mint=*")
    settle(page)
    page.get_by_label("Taken by the account").select_option("yes")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**taken=yes*")
    expect(page.locator("#sum")).to_contain_text("trades in")
    assert page.complaints == []


def test_a_person_compares_two_runs_and_writes_about_one(look, shown):
    there = shown.there
    page = look("/lab/runs")
    for run in (there.run, there.other):
        page.locator(f"input[value='{run}']").check()
    page.get_by_role("button", name="Compare those that are ticked").click()
    page.wait_for_url("**/lab/compare?run=*")
    page.get_by_role("columnheader", name="trend-rider").get_by_role("link").click()
    page.wait_for_url(f"**/lab/runs/{there.other}")
    page.get_by_text("Name, labels and notes").click()
    page.get_by_label("Name").fill("slow and steady")
    page.get_by_label("Notes").fill("it waits")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("Saved")
    page.reload()
    expect(page.get_by_label("Notes")).to_have_value("it waits")
    assert page.complaints == []


def test_a_person_looks_through_the_lake(look):
    page = look("/lab/lake")
    page.locator("table.list a").first.click()
    page.wait_for_url("**/lake/token?mint=*")
    settle(page)
    page.get_by_role("link", name="Launch").click()
    settle(page)
    expect(page.locator("#estimate")).to_contain_text("Candles")
    assert page.complaints == []
