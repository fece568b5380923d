"""What the tutorial tells people to click, clicked in a real browser, on a lab that runs."""

import re

import pytest
from playwright.sync_api import expect

from lab_pipeline.defs.backtest.nightly import SCHEDULE
from lab_pipeline.defs.lake.events import report_calls, report_candles
from lab_pipeline.lake import generate_market
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.processes import processes
from lab_pipeline_tests.support.running_lab import RunningLab, in_the_kernel, left_over
from lab_pipeline_tests.support.waiting import until

RUN = re.compile("/runs/([0-9a-f-]{36})$")
ASSETS = (
    "fills", "trades", "paths", "outcomes", "equity", "fill_certainty", "nulls", "summary", "report", "run_fills",
    "run_metrics",
)  # fmt: skip
START_MS = 180_000  # a run's process imports, and compiles the kernel where nobody has yet
PIXELS = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
SCHEDULE_STATUS = """query($name: String!) {
  scheduleOrError(scheduleSelector: {
    repositoryName: "__repository__", repositoryLocationName: "lab_pipeline", scheduleName: $name
  }) { ... on Schedule { scheduleState { status } } }
}"""


@pytest.fixture
def lab(chromium, tmp_path, monkeypatch, clickhouse_url, stock_endless):  # noqa: ARG001 - it skips before anything is made
    """A lab that runs, on a made-up market and on one that keeps a backtest busy for minutes."""
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    stock_endless(tmp_path)
    market = generate_market(seed=7, tokens=20, calls=100, timeframe="5m")
    with Lab(load_settings()) as stores:
        report_candles(stores, stores.lake.write_candles(market.candles, "5m"))
        report_calls(stores, stores.lake.write_calls(market.calls))
    lab = RunningLab(tmp_path)
    yield lab
    lab.stop()


@pytest.mark.long
def test_backtests_are_launched_looked_at_and_canceled_in_a_browser(lab, page):
    finished = launch(page, strategy="ladder", timeframe="5m")
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=START_MS)
    see_lineage(page)
    see_equity(page, finished)

    large = launch(page, strategy="endless", timeframe="1m", callers="[slow]")
    in_the_kernel(lab, large)
    terminate(page)
    expect(page.get_by_text("Canceled", exact=True)).to_be_visible()
    until(lambda: not processes(lab.home, "dagster_ext.run_worker", large))
    assert left_over(lab.home) == [finished]

    for on, status in ((True, "RUNNING"), (False, "STOPPED")):
        switch(page, SCHEDULE, on=on)
        until(lambda status=status: schedule_status(lab) == status)


def schedule_status(lab):
    """Ask the lab itself; the page shows what was wished for before it has come true."""
    return lab.graphql(SCHEDULE_STATUS, name=SCHEDULE)["scheduleOrError"]["scheduleState"]["status"]


def launch(page, **config):
    """Type a configuration into the launchpad, start the run and return its id; its page opens."""
    go(page, "/jobs")
    page.locator("a[href$='/jobs/backtest']").click()
    page.locator("button", has=page.get_by_label("arrow_drop_down")).click()
    page.get_by_role("menuitem", name="Open launchpad").click()
    launchpad = page.get_by_role("dialog").filter(has_text="Launchpad")
    launchpad.locator(".CodeMirror").first.click()
    page.keyboard.press("Control+A")
    fields = "".join(f"      {name}: {value}\n" for name, value in config.items())
    page.keyboard.insert_text(f"ops:\n  run:\n    config:\n{fields}")
    launchpad.get_by_role("button", name="Materialize").click()
    page.wait_for_url(RUN)
    return RUN.search(page.url)[1]


def go(page, path):
    """Click a link of the navigation on the left."""
    page.locator(f"a[href='{path}']").first.click()


def see_lineage(page):
    """Open the graph: what comes before a backtest and what after; in the list beside it all that one leaves."""
    go(page, "/asset-groups")
    for group in ("lake", "backtest", "statistics", "leaderboard"):
        expect(node(page, group)).to_be_visible()
    page.get_by_role("button", name="asset_group backtest").locator("xpath=preceding::button[1]").click()
    for asset in ASSETS:
        expect(listed(page, asset)).to_be_visible()


def listed(page, asset):
    """Find an asset that the last run made, by its name and the icon that says so, in the list beside the graph."""
    return page.get_by_role("button", name=f"run_success {asset} {asset}", exact=True)


def node(page, name):
    """Find a group or an asset in the graph, which draws only what is in view."""
    return page.locator("svg foreignObject").filter(has_text=re.compile(rf"^{name}(?![a-z_])"))


def see_equity(page, run_id):
    """Go to the equity in the graph; what the run has said about it opens, and in it the picture."""
    listed(page, "equity").click()
    expect(node(page, "equity")).to_be_visible()
    expect(page.get_by_role("link", name=run_id[:8], exact=True)).to_be_visible()
    page.get_by_text("[Show Markdown]").click()
    picture = page.get_by_role("img", name="equity and drawdown")
    expect(picture).to_be_visible()
    assert picture.evaluate(PIXELS) == [900, 400]
    page.keyboard.press("Escape")
    expect(picture).to_be_hidden()


def terminate(page):
    """Cancel the run whose page is open."""
    page.get_by_role("button", name="Terminate").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Terminate 1 run").click()
    dialog.get_by_role("button", name="Done").click()


def switch(page, name, *, on):
    """Switch a schedule or sensor."""
    go(page, "/automation")
    toggle = page.locator("[data-index]").filter(has=page.get_by_text(name, exact=True)).locator("label:has(rect)")
    toggle.click()
    expect(toggle.get_by_role("checkbox")).to_be_checked(checked=on)
