"""The lab's fork server: `python -m lab_pipeline.defs.operations.forking`, which `lab up` runs.

A run's process imports three thousand modules, loads the definitions and the kernel's machine code: seconds, for
milliseconds of simulation. This process does it once. What it forks then executes a run (`worker`), or a command that
somebody typed, as one started by itself would, in the environment of whoever asks.

It never queries with polars, opens DuckDB or the lab's Dagster instance: these start threads, which no fork survives.
If the code of the lab or its libraries change, it begins anew; until it has, runs are started without it.
"""

import gc
import importlib
import multiprocessing
import os
import pkgutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import _check as check

import lab_pipeline
from lab_pipeline.defs.operations.worker import execute
from lab_pipeline.defs.operations.workers import LIFELINE
from lab_pipeline.forkserver.server import serve
from lab_pipeline.settings import PRIVATE, load_settings
from lab_pipeline.storage.compute_logs import OwnComputeLogManager
from lab_pipeline.storage.event_log_storage import BatchingEventLogStorage
from lab_pipeline.storage.schedule_storage import AnyPathScheduleStorage

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PACKAGE = Path(lab_pipeline.__file__).parent
NOT_LOADED = tuple(f"lab_pipeline.{room}" for room in ("api", "backup", "cli", "clickhouse.gateway", "daemon", "ui"))
"""What no run needs; and the command line, which looks at its terminal while it is imported."""
LIBRARIES = ("dagster._core.storage.root", "encodings.idna", "upath.core", "upath.implementations.local")
"""What a run imports beyond that, since the configuration of its instance or a library names it when it is used."""
RUN = f"{sys.executable} -m lab_pipeline.defs.operations.worker"
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
    from lab_pipeline import definitions  # noqa: PLC0415 - it loads the folder of this module
    from lab_pipeline.engine import compiled  # noqa: PLC0415 - it loads numba
    from lab_pipeline.runs.strategies import example_strategies  # noqa: PLC0415 - every run looks for them

    with TemporaryDirectory() as directory:
        BatchingEventLogStorage(directory).pattern()  # as which the log of a run begins
        _rehearse(directory)
    example_strategies()
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


def _rehearse(directory: str) -> None:
    """Execute a job of next to nothing, for what Dagster and SQLAlchemy make when they are first used.

    It has SQLite and files, as the runs of a lab, but no DuckDB and no frame: nothing in it starts a thread that stays.
    """

    @dg.asset(check_specs=[dg.AssetCheckSpec("looked_at", asset="rehearsed")])
    def rehearsed(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        context.log.info("rehearsed")
        yield dg.MaterializeResult(metadata={"rows": 1, "seconds": 0.5, "path": dg.MetadataValue.path(directory)})
        yield dg.AssetCheckResult(passed=True)

    kept = {
        "event_log_storage": BatchingEventLogStorage,
        "schedule_storage": AnyPathScheduleStorage,
        "compute_logs": OwnComputeLogManager,
    }
    overrides: dict[str, Any] = {
        name: {"module": one.__module__, "class": one.__name__, "config": {"base_dir": f"{directory}/{name}"}}
        for name, one in kept.items()
    }
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.local_temp(directory, {**overrides, "telemetry": {"enabled": False}}) as instance:
        dg.materialize([rehearsed], instance=instance, run_config=quiet)
        check.not_none(instance.schedule_storage).dispose()  # which the instance leaves open


def _simulate(types: "Connection[dict[str, Any], None]") -> None:
    """Simulate a small market and tell which types the kernel was used with; what had no machine code gets it."""
    from lab_pipeline.engine import compiled, simulate  # noqa: PLC0415
    from lab_pipeline.lake import generate_market  # noqa: PLC0415
    from lab_pipeline.runs.strategies import example_strategies  # noqa: PLC0415

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
