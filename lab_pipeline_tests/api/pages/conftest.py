"""A lab to look at, served by this process, and a browser that looks at it."""

from types import SimpleNamespace

import pytest
from playwright.sync_api import expect, sync_playwright

from lab_pipeline.api.app import create_app
from lab_pipeline.settings import Settings
from lab_pipeline_tests.api.pages.addresses import settle
from lab_pipeline_tests.api.servers import serving
from lab_pipeline_tests.support.browser import FLAGS, PATIENCE_MS, listen
from lab_pipeline_tests.support.shown_lab import stock


@pytest.fixture(scope="module")
def shown(chromium, tmp_path_factory):  # noqa: ARG001 - it skips before anything is made
    """The lab: `settings`, what is `there`, and the `url` that it is served at."""
    home = tmp_path_factory.mktemp("shown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        settings = Settings(home=home, port=1)
        there = stock(settings)
        with serving(create_app(settings), lifespan="on") as port:
            yield SimpleNamespace(settings=settings, there=there, url=f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def program(chromium):
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        program = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield program
        program.close()


@pytest.fixture
def look(program, shown):
    """A function that opens an address in a window of its own; `page.complaints` is what went wrong in it."""
    windows = []

    def look(address, *, width=1440, height=1000, dark=False, print_=False, rows=True):
        window = program.new_context(
            viewport={"width": width, "height": height}, locale="en-US", timezone_id="UTC",
            color_scheme="dark" if dark else "light",
        )  # fmt: skip
        windows.append(window)
        window.set_default_timeout(PATIENCE_MS)
        page = window.new_page()
        page.complaints = listen(page)
        page.on("request", lambda request: note_foreign(page, shown.url, request.url))
        page.on("dialog", lambda dialog: page.complaints.append(f"dialog: {dialog.message}") or dialog.dismiss())
        if print_:
            page.emulate_media(media="print")
        page.goto(shown.url + address)
        return settle(page, rows=rows)

    yield look
    for window in windows:
        window.close()


def note_foreign(page, own, asked):
    if not asked.startswith((own, "data:")):
        page.complaints.append(f"asked elsewhere: {asked}")
