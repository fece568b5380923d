"""What a form is refused stands beside it, in words, and what was typed stays."""

import pytest
from playwright.sync_api import expect

from lab_pipeline.api.app import create_app
from lab_pipeline_tests.api.pages.addresses import address
from lab_pipeline_tests.api.servers import serving

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("Seed", "many", "seed"),
        ("Version", "0", "strategyVersion"),
        ("Calls from, UTC", "yesterday", "write a time as"),
        ("before", "1999-01-01", "must be after start"),
        ("Callers alone, one a line", "nobody", "nobody"),
        ("Changes to the strategy, one a line", "exit.stopLoss", "write path = value"),
        ("Changes to the strategy, one a line", "exit.nothing = 1", "no such field of a strategy"),
    ],
)
def test_what_cannot_be_launched_is_said_beside_the_form(look, field, typed, said):
    page = look("/lab/launch")
    page.get_by_label(field, exact=True).fill(typed)
    expect(page.locator("#said")).to_contain_text(said)
    expect(page.get_by_label(field, exact=True)).to_have_value(typed)
    page.get_by_label(field, exact=True).fill("0" if field == "Seed" else "")


def test_callers_and_tokens_at_once_are_refused_before_anything_is_asked(look):
    page = look("/lab/launch")
    page.get_by_label("Callers alone, one a line").fill("a")
    page.get_by_label("Tokens alone, one a line").fill("b")
    expect(page.locator("#said")).to_have_text("give callers or tokens, not both")


def test_a_lab_whose_dagster_is_down_says_so(look, shown):
    page = look("/lab/launch")
    page.get_by_role("button", name="Launch").click()
    expect(page.locator("#said")).to_contain_text("does not answer")
    page = look(address("run", shown.there))
    page.get_by_role("button", name="Run it again").click()
    expect(page.locator("#said")).to_contain_text("does not answer")
    expect(page.get_by_role("button", name="Run it again")).to_be_enabled()


def test_a_server_that_is_gone_is_said_in_words(look, shown):
    page = look(address("run", shown.there))
    page.context.set_offline(offline=True)
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".said").filter(has_text="the lab does not answer")).to_be_visible()


def test_notes_that_are_refused_say_why(look, shown):
    page = look(address("run", shown.there))
    page.get_by_label("Labels, separated by commas").fill("x" * 300)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("form .said")).to_contain_text("labels")


def test_one_run_is_not_compared_with_itself(look):
    page = look("/lab/runs")
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare those that are ticked").click()
    expect(page.get_by_text("at least 2").first).to_be_visible()


def test_a_read_only_lab_says_so_where_something_would_be_changed(look, shown):
    with serving(create_app(shown.settings.model_copy(update={"read_only": True})), lifespan="on") as port:
        page = look("/lab/runs")
        page.goto(f"http://127.0.0.1:{port}/lab/runs/{shown.there.run}")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("form .said")).to_contain_text("LAB_READ_ONLY")
        page.goto(f"http://127.0.0.1:{port}/lab/launch")
        expect(page.locator("#estimate")).to_contain_text("Calls")
        page.get_by_role("button", name="Launch").click()
        expect(page.locator("#said")).to_contain_text("LAB_READ_ONLY")
