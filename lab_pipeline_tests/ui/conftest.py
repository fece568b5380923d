"""A browser on the UI."""

import pytest
from playwright.sync_api import expect, sync_playwright

from lab_pipeline_tests.support.browser import FLAGS, PATIENCE_MS, listen

WINDOW = {"width": 1600, "height": 1000}


@pytest.fixture
def browser(chromium):
    """A window of the browser; its pages wait for what a loaded machine takes."""
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        window = program.new_context(viewport=WINDOW, locale="en-US", timezone_id="UTC")
        window.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield window
        program.close()


@pytest.fixture
def page(browser, lab):
    """The UI of a lab; in the end, no script may have died, no error been logged, no request refused."""
    page = browser.new_page()
    complaints = listen(page)
    page.goto(lab.url)
    yield page
    assert complaints == []
