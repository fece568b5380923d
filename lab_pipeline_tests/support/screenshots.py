"""Take the pictures of the pages that the demo makes: `make pictures`. Needs a Chromium of the system."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from lab_pipeline_tests.support.browser import FLAGS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {"report": "artifacts", "sweep": "sweeps"}
WINDOW = {"width": 1180, "height": 940}


def main():
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no Chromium: apt-get install --no-install-recommends chromium")
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        lab = Path(sys.executable).with_name("lab")
        subprocess.run([lab, "demo"], env={**os.environ, "LAB_HOME": home}, check=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_context(viewport=WINDOW, color_scheme="light").new_page()
        for name, area in PAGES.items():
            (report,) = Path(home, area).glob("*/report.html")
            page.goto(report.as_uri())
            page.screenshot(path=DOCS / f"{name}.png")
        (heat, lines) = (page.locator(f"section:has({one})").bounding_box() for one in (".heat", ".sets"))
        page.screenshot(
            path=DOCS / "sweep-space.jpg",
            full_page=True,
            clip={**heat, "height": lines["y"] + lines["height"] - heat["y"]},
        )
        browser.close()


if __name__ == "__main__":
    main()
