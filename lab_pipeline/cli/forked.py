"""A command that is carried out by a process of the fork server, and looks as if it were carried out here."""

import os
import signal
import sys

from lab_pipeline.forkserver.client import fork
from lab_pipeline.home import dagster_home

COMMANDS = {"backtest", "statistics"}
"""Those that execute a Dagster job."""
KILLED = 128
"""Plus the number of a signal: what a shell reports of a program that the signal ended."""
UNKNOWN = 1


def carry_out(arguments: list[str]) -> int | None:
    """Have a command carried out with this terminal, directory and environment, and return its exit status.

    Signals are passed on, and the command ends if this process does.

    Returns:
        None if there is no fork server that would do it; then nothing happened.
    """
    parent_pipe, end_of_parent_pipe = os.pipe()
    try:
        process = fork(dagster_home(), "command", arguments, os.environ, [0, 1, 2, parent_pipe])
    finally:
        os.close(parent_pipe)
    if process is None:
        os.close(end_of_parent_pipe)
        return None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: process.send_signal(number))
    process.has_ended()
    status = process.status()
    if status is None:
        sys.stderr.write("the fork server of `lab up` died meanwhile: `lab runs list` shows what became of the run\n")
        return UNKNOWN
    return KILLED - status if status < 0 else status
