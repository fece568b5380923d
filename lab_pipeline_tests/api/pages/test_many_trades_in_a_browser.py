"""A hundred thousand rows scroll and sort as a hundred do, and the page holds but those that are seen."""

import pytest
from playwright.sync_api import expect

from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline_tests.support.shown_lab import publish_many

pytestmark = pytest.mark.long
ROWS = 100_000
MANY = "many"
HELD = 150
"""Rows that the page may hold at once."""


@pytest.fixture
def page(look, shown):
    artifacts = ArtifactStore(shown.settings.artifacts_dir)
    if not artifacts.has(MANY):
        publish_many(artifacts, shown.there.run, MANY, ROWS)
    page = look(f"/lab/runs/{MANY}/trades")
    expect(page.locator("#sum")).to_contain_text("100,000 trades")
    yield page
    assert page.complaints == []


def scroll(page, share):
    move = "(box, share) => { box.scrollTop = share * box.scrollHeight; }"
    page.locator("#window").evaluate(move, share)


def first_seen(page):
    """Return the number of the first row below the head of the table, as its caller and time tell it."""
    return page.evaluate(
        """() => { const box = document.getElementById('window').getBoundingClientRect();
        const head = document.querySelector('thead').getBoundingClientRect().height;
        const link = document.elementFromPoint(box.left + 40, box.top + head + 20).closest('tr').querySelector('a');
        return link && Number(new URL(link.href).searchParams.get('call').slice(5)); }"""
    )


def test_all_rows_can_be_scrolled_to(page):
    for share in (0.5, 1.0, 0.25, 0.9, 0.0):
        scroll(page, share)
        wanted = min(share * ROWS, ROWS - 1)
        page.wait_for_function("() => document.querySelectorAll('#rows tr:not(.filler)').length > 10")
        expect(page.locator("#rows")).to_contain_text("caller")
        for _ in range(100):
            found = first_seen(page)
            if found is not None and abs(found - wanted) < 60:
                break
            page.wait_for_timeout(100)
        assert found is not None
        assert abs(found - wanted) < 60
        assert page.locator("#rows tr").count() < HELD


def test_rows_are_sorted_however_many(page):
    first = page.locator("#rows tr:not(.filler) a").first
    for call in ("call-99999", "call-0"):
        page.get_by_role("button", name="Net return").click()
        expect(first).to_have_attribute("href", f"/lab/runs/{MANY}/calls?call={call}")
    assert page.evaluate("() => document.getElementById('window').scrollTop") == 0


def test_a_screen_reader_is_told_how_many_rows_there_are(page):
    table = page.locator("table.rows")
    expect(table).to_have_attribute("aria-rowcount", str(ROWS + 1))
    expect(page.locator("#rows tr:not(.filler)").first).to_have_attribute("aria-rowindex", "2")


def test_the_columns_stay_where_they_are_while_rows_pass(page):
    widths = "() => [...document.querySelectorAll('.rows th')].map(one => Math.round(one.offsetWidth))"
    before = page.evaluate(widths)
    scroll(page, 0.7)
    page.wait_for_timeout(500)
    assert page.evaluate(widths) == before


def test_paper_has_the_rows_that_are_seen_and_no_empty_pages(page):
    page.emulate_media(media="print")
    assert page.evaluate("() => document.documentElement.scrollHeight") < 10_000
