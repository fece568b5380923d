"""Dagster daemons that were not started by `lab up` but work on the same home."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from lab_pipeline.domain.errors import LabError

MODULE = "dagster._daemon"
PROGRAM = "dagster-daemon"
POLL_SECONDS = 0.2
DYING_SECONDS = 10.0
"""For so long the daemon of a killed `lab up` may be on its way out."""


class AnotherDaemonError(LabError):
    """A daemon works on this home already, and two would each carry out what is scheduled."""


def require_no_other_daemon(dagster_home: Path, wait_seconds: float = DYING_SECONDS) -> None:
    """Require that no daemon of this user works on a home; one that is about to end is waited for.

    Args:
        dagster_home: what its DAGSTER_HOME would be.
        wait_seconds: how long one may take to end.

    Raises:
        AnotherDaemonError: naming its process, if there is one all the time.
    """
    deadline = time.monotonic() + wait_seconds
    while found := list(daemons(dagster_home)):
        if time.monotonic() > deadline:
            named = " and ".join(f"process {process.pid}" for process in found)
            raise AnotherDaemonError(
                f"a Dagster daemon works on {dagster_home} already ({named}): stop it, since `lab up` runs its own, "
                "and two of them would each do what is scheduled"
            )
        time.sleep(POLL_SECONDS)


def daemons(dagster_home: Path) -> Iterator[psutil.Process]:
    """Find the daemons on this machine that work on a home: `dagster-daemon run` and that of `dagster dev`."""
    for process in psutil.process_iter():
        try:
            if is_daemon(process.cmdline()) and _works_on(dagster_home, process.environ()):
                yield process
        except psutil.Error:  # it has ended, or is another user's, who could not write this home either
            continue


def is_daemon(command: Sequence[str]) -> bool:
    """Tell whether a command line is a Dagster daemon's.

    >>> is_daemon(["python", "/venv/bin/dagster-daemon", "run"])
    True
    >>> is_daemon(["python", "-m", "dagster._daemon", "run"])
    True
    >>> is_daemon(["tail", "-f", "dagster-daemon.log"]), is_daemon(["/venv/bin/dagster-daemon", "heartbeat-dump"])
    (False, False)
    """
    return any(
        argument == "run" and (Path(before).name == PROGRAM or before == MODULE)
        for before, argument in itertools.pairwise(command)
    )


def _works_on(dagster_home: Path, environment: Mapping[str, str]) -> bool:
    named = environment.get("DAGSTER_HOME")
    return bool(named) and Path(str(named)).resolve() == dagster_home.resolve()
