"""One Dagster daemon a home, whoever started it."""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.locks import try_lock

MODULES = ("dagster._daemon", "lab_pipeline.dagster_ext.daemon")
PROGRAM = "dagster-daemon"
LOCK = "daemon.lock"
POLL_SECONDS = 0.2
DYING_SECONDS = 10.0
"""For so long the daemon of a killed `lab up` may be on its way out."""


@contextmanager
def only_daemon(dagster_home: Path) -> Iterator[None]:
    """Hold a home against every other daemon: of `lab up` and `lab daemon` anywhere, and by hand on this machine.

    Raises:
        LabError: if there is one.
    """

    def taken(holder: str) -> LabError:  # which keeps its daemon running: there is no end to wait for
        return _another(dagster_home, _named(daemons(dagster_home)) or f"process {holder}, on this host or another")

    with held(dagster_home / LOCK, taken):
        require_no_other_daemon(dagster_home)
        yield


@contextmanager
def held(path: Path, taken: Callable[[str], LabError]) -> Iterator[None]:
    """Hold a file against all other processes, with the number of this one in it.

    Args:
        path: the file.
        taken: makes the error to raise if another holds it, of that one's number.
    """
    with path.open("a+") as lock:
        if not try_lock(lock):
            lock.seek(0)
            raise taken(lock.read().strip())
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def require_no_other_daemon(dagster_home: Path, wait_seconds: float = DYING_SECONDS) -> None:
    """Require that no daemon of this user works on a home; one that is about to end is waited for.

    Args:
        dagster_home: what its DAGSTER_HOME would be.
        wait_seconds: how long one may take to end.

    Raises:
        LabError: naming its process, if there is one all the time.
    """
    deadline = time.monotonic() + wait_seconds
    while found := list(daemons(dagster_home)):
        if time.monotonic() > deadline:
            raise _another(dagster_home, _named(found))
        time.sleep(POLL_SECONDS)


def _named(found: Iterable[psutil.Process]) -> str:
    return " and ".join(f"process {process.pid}" for process in found)


def _another(dagster_home: Path, named: str) -> LabError:
    return LabError(
        f"a Dagster daemon works on {dagster_home} already ({named}): stop it, since `lab up` and `lab daemon` "
        "run their own, and two of them would each do what is scheduled"
    )


def daemons(dagster_home: Path) -> Iterator[psutil.Process]:
    """Find the daemons on this machine that work on a home: of the lab, `dagster-daemon run`, and of `dagster dev`."""
    for process in psutil.process_iter():
        try:
            if is_daemon(" ".join(process.cmdline()).split()) and _works_on(dagster_home, process.environ()):
                yield process
        except psutil.Error:  # it has ended, or is another user's, who could not write this home either
            continue


def is_daemon(command: Sequence[str]) -> bool:
    """Return whether a command line is a Dagster daemon's.

    >>> is_daemon(["python", "/venv/bin/dagster-daemon", "run"])
    True
    >>> [is_daemon(["python", "-m", module, "run"]) for module in MODULES]
    [True, True]
    >>> is_daemon(["tail", "-f", "dagster-daemon.log"]), is_daemon(["/venv/bin/dagster-daemon", "heartbeat-dump"])
    (False, False)
    """
    return any(
        argument == "run" and (Path(before).name == PROGRAM or before in MODULES)
        for before, argument in itertools.pairwise(command)
    )


def _works_on(dagster_home: Path, environment: Mapping[str, str]) -> bool:
    named = environment.get("DAGSTER_HOME")
    return bool(named) and Path(str(named)).resolve() == dagster_home.resolve()
