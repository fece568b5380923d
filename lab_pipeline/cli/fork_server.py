"""The lab's fork server: `python -m lab_pipeline.cli.fork_server`, which `lab up` runs.

A run's process imports three thousand modules, loads the definitions and the kernel's machine code: seconds, for
milliseconds of simulation. This process does it once. What it forks then executes a run (`worker`), or a command that
somebody typed, as one started by itself would, in the environment of whoever asks.

It never queries with polars, opens DuckDB or a Dagster instance: these start threads, which no fork survives. If the
code of the lab or its libraries change, it begins anew; until it has, runs are started without it.
"""

import gc
import importlib
import multiprocessing
import os
import pkgutil
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dagster as dg

import lab_pipeline
from lab_pipeline.dagster_ext.run_worker import execute
from lab_pipeline.dagster_ext.worker_locks import LIFELINE
from lab_pipeline.forkserver.server import serve
from lab_pipeline.settings import PRIVATE, load_settings
from lab_pipeline.storage.event_log_storage import BatchingEventLogStorage

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PACKAGE = Path(lab_pipeline.__file__).parent
NOT_LOADED = tuple(
    f"lab_pipeline.{part}"
    for part in (
        "api",
        "backup",
        "cli",
        "clickhouse.gateway",
        "dagster_ext.code_server",
        "dagster_ext.daemon",
        "dagster_ext.webserver_app",
        "ui",
    )
)
"""What no run needs; and the command line, which looks at its terminal while it is imported."""
LIBRARIES = ("dagster._core.storage.local_compute_log_manager", "dagster._core.storage.root", "encodings.idna")
"""What a run imports beyond that, since the configuration of its instance or a library names it when it is used."""
RUN = f"{sys.executable} -m lab_pipeline.dagster_ext.run_worker"
"""How the process of a run is called in lists of processes, however it was started."""


def main() -> None:
    """Load everything, then serve in LAB_HOME until this process is ended; if code changes, begin anew."""
    os.umask(PRIVATE)
    code = _code()
    load()
    reason = serve(
        load_settings().dagster_home,
        {"run": (RUN, _run), "command": ("lab", _command)},
        lambda: None if _code() == code else "the code of the lab or its libraries has changed",
    )
    sys.stderr.write(f"the fork server begins anew: {reason}\n")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very program


def load() -> None:
    """Import what runs need, resolve the jobs, and load the kernel's machine code."""
    for module in pkgutil.walk_packages(lab_pipeline.__path__, "lab_pipeline."):
        if not module.name.startswith(NOT_LOADED):
            importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    from lab_pipeline import definitions
    from lab_pipeline.engine import compiled

    with TemporaryDirectory() as directory:
        BatchingEventLogStorage(directory).pattern()  # as which the log of a run begins
    loaded = definitions.defs()
    loaded.get_repository_def().get_all_jobs()
    definitions.defs = dg.definitions(lambda: loaded)  # what a run loads by that name
    # Which types a simulation uses a simulation tells best; it starts threads, so a child has to make it.
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_simulate, args=(theirs,))
    child.start()
    theirs.close()
    compiled.load(ours.recv())
    child.join()


def _simulate(types: "Connection[dict[str, Any], None]") -> None:
    """Simulate a small market and tell which types the kernel was used with; what had no machine code gets it."""
    from lab_pipeline.engine import compiled, simulate
    from lab_pipeline.lake import generate_market
    from lab_pipeline.runs.strategies import example_strategies

    market = generate_market(tokens=6, days=1, calls=20)
    for strategy in example_strategies():
        simulate(market.candles, market.calls, strategy.config, timeframe="5m")
    types.send(compiled.types_in_use())


def _run(lock: int) -> None:
    """Execute a run, whose id is the argument, in a process that ends with the `lab up` of this server."""
    if LIFELINE in _OWN:
        os.environ[LIFELINE] = _OWN[LIFELINE]
    execute(sys.argv[1], lock)


def _command(lifeline: int) -> None:
    """Carry out what was typed, in a process that ends with the one that it was typed to."""
    os.environ[LIFELINE] = str(lifeline)
    importlib.import_module("lab_pipeline.cli.app").carry_out()


def _code() -> dict[str, tuple[int, int]]:
    """Return what tells one state of the code from another: times and sizes of our modules, a time of the libraries."""
    files = [*PACKAGE.rglob("*.py"), Path(sysconfig.get_path("purelib"))]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


_OWN = dict(os.environ)

if __name__ == "__main__":
    gc.disable()  # what is loaded stays
    main()
