"""A browser on pages of the lab: Chromium as the system has it, driven by Playwright, which brings none of its own."""

import os

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
