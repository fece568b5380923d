"""Where the pages are, and when they are there."""

from urllib.parse import urlencode

PAGES = (
    "answer", "runs", "run", "run that failed", "run that waits", "run of strange names", "trades",
    "trades of strange names", "call", "call of strange names", "compare", "lake", "faults", "token", "launch",
    "sweeps", "sweep", "launch sweep",
)  # fmt: skip


def address(name, there):
    """Return the address of a page of `PAGES`."""
    runs = f"/lab/runs/{there.run}"
    return {
        "answer": "/lab/answer",
        "runs": "/lab/runs",
        "run": runs,
        "run that failed": f"/lab/runs/{there.failed}",
        "run that waits": f"/lab/runs/{there.queued}",
        "run of strange names": f"/lab/runs/{there.foreign}",
        "trades": f"{runs}/trades",
        "trades of strange names": f"/lab/runs/{there.foreign}/trades",
        "call": f"{runs}/calls?{urlencode({'call': there.call})}",
        "call of strange names": f"/lab/runs/{there.foreign}/calls?{urlencode({'call': there.foreign_call})}",
        "compare": f"/lab/compare?run={there.run}&run={there.other}&run={there.foreign}",
        "lake": "/lab/lake",
        "token": f"/lab/lake/token?{urlencode({'mint': there.mint})}",
        "faults": "/lab/lake/faults",
        "launch": "/lab/launch?strategy=ladder",
        "sweeps": "/lab/sweeps",
        "sweep": f"/lab/sweeps/{there.sweep}",
        "launch sweep": "/lab/launch/sweep?strategy=ladder",
    }[name]


def settle(page, *, rows=True):
    """Wait until a page has what its scripts ask for, such as the rows of trades, unless there are none."""
    page.wait_for_load_state("load")
    if page.locator("#chart").count():
        page.locator("#chart[data-drawn] canvas").first.wait_for()
    if rows and page.locator("#rows").count():
        page.locator("#rows tr:not(.filler)").first.wait_for()
    if page.locator("#estimate").count():
        page.locator("#estimate dd, #said:not(:empty)").first.wait_for(state="attached")
    return page
