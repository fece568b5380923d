"""Progress where somebody looks, and where nobody does."""

import os

from lab_pipeline.cli import progress


def test_a_pipe_gets_a_plain_line_now_and_then(capfd, monkeypatch):
    clock = iter([0.0, 1.0, 11.0, 12.0, 21.5])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.progress_bar("simulating", "calls") as tell:
        for done in (10, 1200, 1300, 1400):
            tell(done, 1500)
    assert capfd.readouterr().err == "simulating: 1,200 of 1,500 calls, 11 s\nsimulating: 1,400 of 1,500 calls, 22 s\n"


def test_a_terminal_gets_a_bar_that_fits_it(monkeypatch):
    ours, theirs = os.openpty()
    saved = os.dup(2)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    try:
        os.dup2(theirs, 2)
        with progress.progress_bar("sweeping its exits", "calls or placebos") as tell:
            tell(39_000, 39_000)
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(theirs)
    text = os.read(ours, 100_000).decode()
    os.close(ours)
    shown = [line for line in text.splitlines() if "39000/39000" in line]
    assert shown
    assert all("calls or placebos" in line for line in shown)
