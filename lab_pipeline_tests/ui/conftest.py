"""A browser on the UI: Chromium as the system has it, driven by Playwright, which brings none of its own."""

import os
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 60_000
WINDOW = {"width": 1600, "height": 1000}
# /dev/shm of a container is small, and a page crashes when it is full.
FLAGS = ["--disable-dev-shm-usage"]
# Chromium refuses to start for root, as whom containers and CI run, if its sandbox is on.
ROOT_FLAGS = ["--no-sandbox"]


@pytest.fixture(scope="session")
def chromium():
    """The browser's program."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("no Chromium: apt-get install --no-install-recommends chromium")
    return program


@pytest.fixture
def browser(chromium):
    """A window of the browser; its pages wait for what a loaded machine takes."""
    flags = FLAGS + (ROOT_FLAGS if os.geteuid() == 0 else [])
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=chromium, args=flags)
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


def listen(page):
    """Return the list in which what goes wrong inside a page will be."""
    complaints = []

    def log(message):
        if message.type == "error":
            complaints.append(f"console: {message.text}")

    def answer(response):
        if not response.ok:
            complaints.append(f"{response.status} of {response.url}")

    page.on("console", log)
    page.on("response", answer)
    page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    return complaints
