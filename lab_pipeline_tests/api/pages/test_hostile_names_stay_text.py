"""Names that would be markup or scripts, or would look like others, are text on every page and in every chart."""

from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from lab_pipeline_tests.api.pages.addresses import PAGES, address
from lab_pipeline_tests.support.shown_lab import ARABIC, BIDI, LONG, MARKUP, QUOTES

pytestmark = pytest.mark.long
UNSEEN = r"/[\u0000-\u0008\u000b-\u001f\u007f\u202a-\u202e\u2066-\u2069\u2028\u2029]/"
TEXTS = f"""() => [...document.querySelectorAll("main *:not(textarea)")].flatMap(one => [
    one.title, one.getAttribute("aria-label") || "",
    ...[...one.childNodes].filter(node => node.nodeType === 3).map(node => node.data)])
  .filter(text => {UNSEEN}.test(text))"""


@pytest.mark.parametrize("name", PAGES)
def test_no_name_is_markup_or_acts_on_what_stands_around_it(look, shown, name):
    page = look(address(name, shown.there))
    markup = "img, main script:not([type='application/json']), main iframe, main u, main b"
    assert page.evaluate("(markup) => document.querySelectorAll(markup).length", markup) == 0
    assert page.evaluate("window.hit") is None
    assert page.evaluate(TEXTS) == []
    assert page.complaints == []


def test_names_are_seen_as_they_are(look, shown):
    there = shown.there
    page = look("/lab/answer")
    for caller in (MARKUP, QUOTES, LONG, ARABIC):
        expect(page.get_by_role("rowheader", name=caller, exact=True)).to_be_visible()
    page = look(f"{address('trades', there)}?{urlencode({'caller': MARKUP})}")
    expect(page.get_by_role("cell", name=MARKUP, exact=True).first).to_be_visible()
    page = look(address("trades of strange names", there))
    expect(page.get_by_text(r"evil\u202egnp.exe\u2066", exact=False).first).to_be_visible()


@pytest.mark.parametrize("caller", [MARKUP, QUOTES, ARABIC, "👨\u200d👩\u200d👧"])
def test_a_form_gives_back_the_name_that_it_was_given(look, shown, caller):
    page = look(f"{address('trades', shown.there)}?{urlencode({'caller': caller})}", rows=False)
    expect(page.get_by_label("Caller")).to_have_value(caller)
    expect(page.locator("#sum")).not_to_have_text("Loading")
    before = page.locator("#sum").text_content()
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**outcome=*")
    expect(page.get_by_label("Caller")).to_have_value(caller)
    expect(page.locator("#sum")).to_have_text(before)


def test_notes_that_are_saved_again_are_the_same(look, shown):
    address_ = f"{shown.url}/runs/{shown.there.run}"
    page = look(f"/lab/runs/{shown.there.run}")
    before = page.request.get(address_).json()
    assert BIDI in before["notes"]
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("Saved")
    after = page.request.get(address_).json()
    assert {name: after[name] for name in ("name", "labels", "notes")} == {
        name: before[name] for name in ("name", "labels", "notes")
    }


def test_a_hostile_address_is_said_as_text(look):
    image = "%3Cimg%20src=x%20onerror=window.hit=1%3E"
    asked = ("runs/", "runs?strategy=", "lake/token?mint=%E2%80%AE", "launch?strategy=", "runs?")
    for where in (f"/lab/{path}{image}" for path in asked):
        page = look(where)
        assert page.locator("img").count() == 0, where
        assert page.evaluate(TEXTS) == []


def test_what_is_drawn_is_asked_for_under_the_very_name(look, shown):
    page = look(address("call", shown.there))
    source = page.locator("#chart").get_attribute("data-source")
    assert page.evaluate("source => new URL(source, location).searchParams.get('call')", source) == shown.there.call
