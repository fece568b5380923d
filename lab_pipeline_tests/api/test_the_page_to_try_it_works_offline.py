import re

import pytest
from playwright.sync_api import expect, sync_playwright

from lab_pipeline.api.app import create_app
from lab_pipeline.settings import Settings
from lab_pipeline_tests.api.servers import serving
from lab_pipeline_tests.support.browser import FLAGS, PATIENCE_MS, listen


def test_everything_that_the_page_loads_is_served_here(api):
    page = api.get("/docs")
    loaded = [name for name in re.findall(r'(?:src|href)="([^"]+)"', page.text) if not name.startswith("data:")]
    assert len(loaded) == 3
    for name in loaded:
        answer = api.get(name)
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff")
    assert "//" not in page.text.replace("<!doctype html>", "")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert api.get("/redoc").status_code == 404


@pytest.mark.long
def test_the_page_shows_and_sends_requests(home, chromium):
    with serving(create_app(Settings(home=home, port=1)), lifespan="on") as port, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(locale="en-US")
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        complaints = listen(page)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/docs#/strategies/listStrategies")
        operation = page.locator("#operations-strategies-listStrategies")
        expect(operation).to_be_visible()
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table")).to_contain_text("dip-scalper")
        browser.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))] == []
