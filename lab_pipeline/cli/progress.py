"""Progress bars, on standard error, so that standard output holds results only."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

WIDEST_BAR, NARROWEST_BAR = 40, 8
BESIDE_THE_BAR = 36
"""Columns that numbers, time and blanks take beside title, unit and bar."""
LINE_EVERY_SECONDS = 10.0


@contextmanager
def progress_bar(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs; yields the function that moves it: (done, total).

    Where nobody looks, as in a file or a pipe, there is a plain line every ten seconds instead.
    """
    # A descriptor of its own: Dagster redirects the process's standard error while an op runs.
    with os.fdopen(os.dup(2), "w") as stderr:
        if not stderr.isatty():
            yield _lines(stderr, title, unit)
            return
        console = Console(file=stderr)
        room = console.width - BESIDE_THE_BAR - len(title) - len(unit)
        bar = Progress(
            SpinnerColumn(),
            TextColumn(title),
            BarColumn(min(WIDEST_BAR, max(NARROWEST_BAR, room))),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,  # Dagster's own lines must go where `lab backtest` sends them, not into the bar
            redirect_stderr=False,
        )
        with bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(stderr: TextIO, title: str, unit: str) -> Callable[[int, int], None]:
    """Return what is told of progress, and says so in a line now and then."""
    begun = said = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= LINE_EVERY_SECONDS:
            said = now
            stderr.write(f"{title}: {done:,} of {total:,} {unit}, {now - begun:,.0f} s\n")
            stderr.flush()

    return tell
