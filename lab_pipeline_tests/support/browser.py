"""A browser on pages of the lab: Chromium as the system has it, driven by Playwright, which brings none of its own."""

import os
from pathlib import Path

PATIENCE_MS = 60_000
# /dev/shm of a container is small, and a page crashes when it is full. Chromium refuses to start for root, as whom
# containers and CI run, if its sandbox is on.
FLAGS = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]


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


AXE = (Path(__file__).with_name("axe") / "axe.min.js").read_text()
"""axe-core 4.14.1 of Deque Systems, MPL-2.0: what of a page keeps people out who cannot see, or use no mouse."""
FOUND = """() => axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.flatMap(
  one => one.nodes.map(node => `${one.impact} ${one.id}: ${node.target.join(" ")}: ${node.failureSummary}`)))"""


def barriers(page):
    """Return what axe finds on a page; it is put there from outside, past the rules of what the page itself may run."""
    page.evaluate(AXE)
    return page.evaluate(FOUND)
