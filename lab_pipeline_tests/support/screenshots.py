"""Take the pictures of the pages that the demo makes: `make pictures`. Needs a Chromium of the system.

What they say in numbers is written beside them, in docs/pictures.json: a test holds it to the demo and to the README.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
from PIL import Image
from playwright.sync_api import sync_playwright

from lab_pipeline.api.app import create_app
from lab_pipeline.settings import Settings
from lab_pipeline_tests.api.pages.addresses import settle
from lab_pipeline_tests.api.servers import serving
from lab_pipeline_tests.support.browser import FLAGS

DOCS = Path(__file__).resolve().parents[2] / "docs"
WINDOW, BESIDE = {"width": 1180, "height": 1000}, {"width": 780, "height": 1000}
CLIP = {"x": 0, "y": 50, "height": 770}
SHEET = {"width": 1180, "height": 940}
STRATEGY = "ladder"
GAP = 24
"""Pixels between the answer and the trade."""
ROWS = """(rows) => [...document.querySelectorAll(rows)].map(row => [...row.children].map(cell => cell.innerText))"""


def main():
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no Chromium: apt-get install --no-install-recommends chromium")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        home = Path(name)
        os.environ |= {"LAB_HOME": name, "DAGSTER_HOME": str(home / "dagster")}
        lab = Path(sys.executable).with_name("lab")
        subprocess.run([lab, "demo"], check=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        with serving(create_app(Settings(home=home)), lifespan="on") as port:
            url = f"http://127.0.0.1:{port}"
            told = take_answer(browser, url, home)
            take_sheets(browser, home)
            browser.close()
    (DOCS / "pictures.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def opened(browser, address, window):
    context = browser.new_context(viewport=window, color_scheme="light", device_scale_factor=1.5)
    page = context.new_page()
    page.goto(address)
    return settle(page)


def take_answer(browser, url, home):
    """Put the answer beside one trade, and return what both say."""
    page = opened(browser, f"{url}/lab/answer", WINDOW)
    answer = Image.open(io.BytesIO(page.screenshot(clip={**CLIP, "width": WINDOW["width"]})))
    rules = page.locator("table.matrix thead tr").first.locator("th.name a").all_inner_texts()
    cells = {
        caller: [cell.split()[0] for cell in row[: len(rules)]]
        for caller, *row in page.evaluate(ROWS, "table.matrix tbody tr")
    }
    run_id = re.search(r"runs/([0-9a-f-]+)", page.locator(f"th.name a:text-is('{STRATEGY}')").get_attribute("href"))[1]
    trades = pl.read_parquet(home / "artifacts" / run_id / "trades.parquet")
    once = trades.filter(pl.len().over("call_id") == 1, exit_reason="trailing_stop")
    best = once.sort("net_return", "call_id", descending=True)
    call = best["call_id"][0]
    page = opened(browser, f"{url}/lab/runs/{run_id}/calls?call={call}", BESIDE)
    page.wait_for_timeout(500)  # the chart draws itself when it can
    trade = Image.open(io.BytesIO(page.screenshot(clip={**CLIP, "width": BESIDE["width"]})))
    both = Image.new("RGB", (answer.width + GAP + trade.width, answer.height), "white")
    both.paste(answer, (0, 0))
    both.paste(trade, (answer.width + GAP, 0))
    both = both.resize((2000, round(2000 * both.height / both.width)), Image.Resampling.LANCZOS)
    both.quantize(128).save(DOCS / "answer.png", optimize=True)
    return {
        "answer": {"rules": rules, "callers": cells},
        "trade": {"call": call, "fills": page.evaluate(ROWS, "table.trades tbody tr")},
    }


def take_sheets(browser, home):
    """Take the top of a tear sheet, the top of a sweep, and where its sets are good."""
    runs = [path.parent.name for path in home.glob("artifacts/*/manifest.json")]
    (first,) = (
        run
        for run in runs
        if json.loads((home / "artifacts" / run / "manifest.json").read_bytes())["spec"]["strategyId"] == STRATEGY
    )
    for name, report in (
        ("report", home / "artifacts" / first),
        ("sweep", next(home.glob("sweeps/*/report.html")).parent),
    ):
        page = browser.new_context(viewport=SHEET, color_scheme="light").new_page()
        page.goto((report / "report.html").as_uri())
        page.screenshot(path=DOCS / f"{name}.png")
    heat, lines = (page.locator(f"section:has({one})").bounding_box() for one in (".heat", ".sets"))
    clip = {**heat, "height": lines["y"] + lines["height"] - heat["y"]}
    page.screenshot(path=DOCS / "sweep-space.jpg", full_page=True, clip=clip)


if __name__ == "__main__":
    main()
