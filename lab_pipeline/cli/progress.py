"""Progress bars, on standard error, so that standard output holds results only."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def progress_bar(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs; yields the function that moves it: (done, total)."""
    # A descriptor of its own: Dagster redirects the process's standard error while an op runs.
    with os.fdopen(os.dup(2), "w") as stderr:
        bar = Progress(
            SpinnerColumn(),
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            console=Console(file=stderr),
            transient=True,
            redirect_stdout=False,  # Dagster's own lines must go where `lab backtest` sends them, not into the bar
            redirect_stderr=False,
        )
        with bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
