"""The lab's fork server: `python -m lab_pipeline.cli.fork_server`, which `lab up` runs.

A run's process imports three thousand modules, loads the definitions and the kernel's machine code: seconds, for
milliseconds of simulation. This process does it once. What it forks then executes a run (`worker`), a command that
somebody typed, or a service of `lab up`, as one started by itself would, in the environment of whoever asks. What a
service has loaded and not changed is shared with this process: an idle lab has it in memory once.

It never queries with polars, opens DuckDB or the lab's Dagster instance: these start threads, which no fork survives.
If the code of the lab or of its libraries changes, it restarts; until it has, runs start without it.
"""

import ctypes
import gc
import importlib
import os
import pkgutil
import runpy
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dagster as dg

import lab_pipeline
from lab_pipeline.dagster_ext.run_worker import execute
from lab_pipeline.dagster_ext.worker_locks import PARENT_PIPE
from lab_pipeline.forkserver.server import Awaited, Offer, serve
from lab_pipeline.settings import PRIVATE, load_settings
from lab_pipeline.storage.compute_logs import OwnComputeLogManager
from lab_pipeline.storage.event_log_storage import BatchingEventLogStorage
from lab_pipeline.storage.schedule_storage import AnyPathScheduleStorage

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PACKAGE = Path(lab_pipeline.__file__).parent
NOT_LOADED = tuple(
    f"lab_pipeline.{room}"
    for room in (
        "api.agents",
        "backup",
        "cli",
        "clickhouse.gateway",
        "dagster_ext.daemon.__main__",
        "dagster_ext.dask_executor",
    )
)
"""What no forked process needs, programs, what needs an extra, and the command line, which looks at its
terminal at once."""
LIBRARIES = (
    "dagster._core.storage.root",
    "encodings.idna",
    "dagster._api.list_repositories",
    "dagster._cli",
    "dagster._core.instance.factory",
    "dagster._core.storage.legacy_storage",
    "dagster._core.storage.sqlite_storage",
    "dagster._daemon.controller",
    "dagster._grpc.client",
    "dagster._grpc.server",
    "httpcore",
    "typer.main",
    "upath.core",
    "upath.implementations.local",
    "uvicorn.protocols.websockets.auto",
    "uvloop",
)
"""What runs and services import beyond that: a configuration names it, or a library imports it when it is used."""
M_ARENA_MAX = -8
"""The C library's number of the option that limits its arenas."""
ARENAS = 2
"""Among which the threads of a service share out memory: each of them keeps pages of its own."""
LOADED = "runs begin with the kernel's machine code"
"""What the server says once it has everything."""
RUN = f"{sys.executable} -m lab_pipeline.dagster_ext.run_worker"
"""How the process of a run is called in lists of processes, however it was started."""


def main() -> None:
    """Load everything, then serve in LAB_HOME until this process is ended; if code changes, restart."""
    os.umask(PRIVATE)
    code = _code()
    load()
    reason = serve(
        load_settings().dagster_home,
        {"run": Offer(RUN, _run), "command": Offer("lab", _command), "service": Offer("", _service, lasts=True)},
        lambda: None if _code() == code else "the code of the lab or its libraries has changed",
        _kernel(),
    )
    # Services that it forked stay what they are; their supervisor learns of their ends from the system.
    sys.stderr.write(f"the fork server restarts: {reason}\n")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very program


def load() -> None:
    """Import what runs and services need, and resolve the jobs."""
    for module in pkgutil.walk_packages(lab_pipeline.__path__, "lab_pipeline."):
        if not module.name.startswith(NOT_LOADED):
            importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    from lab_pipeline import definitions
    from lab_pipeline.runs.strategies import example_strategies

    with TemporaryDirectory() as directory:
        BatchingEventLogStorage(directory).pattern()  # as which the log of a run begins
        _rehearse(directory)
    example_strategies()
    loaded = definitions.defs()
    loaded.get_repository_def().get_all_jobs()
    definitions.defs = dg.definitions(lambda: loaded)  # what a run loads by that name


def _kernel() -> Awaited:
    """Begin to make the kernel's machine code, if it is not made, and say how to load it then.

    The types that a simulation uses are found by running one; that starts threads, so a child does it. If it has to
    be compiled, that takes a while, and services do not wait for it.
    """
    from lab_pipeline.engine import compiled

    ours, theirs = Pipe(duplex=False)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            _simulate(theirs)
            status = 0
        except BaseException:  # noqa: BLE001 - the child must not go on as a server
            traceback.print_exc()
        finally:
            os._exit(status)
    theirs.close()

    def load() -> None:
        types = ours.recv()
        ours.close()
        os.waitpid(pid, 0)
        compiled.load(types)
        sys.stderr.write(f"{LOADED}\n")

    return Awaited(ours.fileno(), load)


def _rehearse(directory: str) -> None:
    """Execute a trivial job, so that what Dagster and SQLAlchemy create on first use is there already.

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
        if instance.schedule_storage is not None:
            instance.schedule_storage.dispose()  # which the instance leaves open


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
    if PARENT_PIPE in _OWN:
        os.environ[PARENT_PIPE] = _OWN[PARENT_PIPE]
    execute(sys.argv[1], lock)


def _service(parent_pipe: int) -> None:
    """Be the service whose command is the arguments, in a process that ends with the `lab up` that started it."""

    def end_with_it() -> None:
        wait([parent_pipe])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end_with_it, name="parent_pipe", daemon=True).start()
    os.environ[PARENT_PIPE] = str(parent_pipe)
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_ARENA_MAX, ARENAS)
    program = sys.argv[0]
    if program == sys.executable:
        _, _, module, *_ = sys.argv  # python -m module
        del sys.argv[:2]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")


def _command(parent_pipe: int) -> None:
    """Carry out a typed command, in a process that ends with the one in which it was typed."""
    os.environ[PARENT_PIPE] = str(parent_pipe)
    importlib.import_module("lab_pipeline.cli.app").carry_out()


def _code() -> dict[str, tuple[int, int]]:
    """Return what tells one state of the code from another: times and sizes of our modules, a time of the libraries."""
    files = [*PACKAGE.rglob("*.py"), Path(sysconfig.get_path("purelib"))]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


_OWN = dict(os.environ)

if __name__ == "__main__":
    gc.disable()  # what is loaded stays
    main()
