"""`lab up`: the Dagster UI and everything behind it, as one command; `lab daemon`: its daemon alone."""

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.request import ProxyHandler, Request, build_opener

import typer

from lab_pipeline.cli.app import app, out, settings
from lab_pipeline.cli.supervisor import Service, Supervisor
from lab_pipeline.domain.errors import LabError
from lab_pipeline.doors import address, listen, require_token_off_loopback
from lab_pipeline.files.atomic import write_whole
from lab_pipeline.files.locks import try_lock
from lab_pipeline.forkserver.client import SOCKET
from lab_pipeline.settings import Settings

LOCATION = "lab_pipeline"
LOOPBACK = "127.0.0.1"
SLACK_SECONDS = 5.0
ANSWER_SECONDS = 2.0
LOADED_WITHIN_SECONDS = 45.0
"""For which the other services wait for the fork server to be loaded; after that they start without it."""
ROOM_FOR_TITLES = 512
"""Characters that the fork server's command line is longer by: the titles of the services that it forks take its place,
and what does not fit is cut off."""
WORKSPACE = """\
# Written by `lab up`: the code server that it runs for the UI and the daemon.
load_from:
  - grpc_server: {{host: {host}, port: {port}, location_name: {name}}}
"""


UP_LOCK = "up.lock"
Result = TypeVar("Result")
Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", exists=True, dir_okay=False, help="Where the code server is.")
]


@app.command("up")
def up() -> None:
    """Run the Dagster UI, the HTTP API, the daemon (queue, schedules, sensors) and the code server until Ctrl-C."""
    from lab_pipeline.cli.daemons import only_daemon

    lab = settings()
    require_token_off_loopback(lab)
    aside(home_prepared, lab)
    with only_one(lab), only_daemon(lab.dagster_home):
        port, ui = _free(lab.host, lab.port, "LAB_PORT")
        api_port, api = _free(lab.host, lab.api_port, "LAB_API_PORT")
        environment = {**os.environ, **aside(lab_prepared, lab, port)}
        environment |= {"LAB_PORT": str(port), "LAB_API_PORT": str(api_port)}
        supervisor = Supervisor(environment, lab.home, _say)
        out.print("starting the lab ...")
        supervisor.run(
            _services(lab, api_port, environment),
            on_ready=lambda: out.print(
                f"lab         {api}/lab\nDagster UI  {ui}\nHTTP API    {api}/docs\nhome        {lab.home}\n"
                f"logs        {lab.home / 'logs'}\nCtrl-C stops it.",
            ),
        )
        _await_end_of_runs(lab)
    out.print("the lab has stopped")


@app.command("daemon")
def daemon(workspace: Workspace = Path("workspace.yaml")) -> None:
    """Run the daemon (queue, schedules, sensors) alone until Ctrl-C."""
    from lab_pipeline.cli.daemons import only_daemon

    lab = settings()
    environment = {**os.environ, **aside(home_prepared, lab)}
    with only_daemon(lab.dagster_home):
        Supervisor(environment, lab.home, _say, log_to_files=False).run(
            [_daemon(workspace)],
            on_ready=lambda: _say(f"the daemon of {lab.home} runs; Ctrl-C stops it"),
        )
        _await_end_of_runs(lab)


@app.command("webserver")
def webserver(workspace: Workspace = Path("workspace.yaml")) -> None:
    """Serve the Dagster UI alone until Ctrl-C, behind the lab's guard; `lab up` serves it beside everything else."""
    from lab_pipeline.ui.server import serve

    serve(settings(), workspace)


def aside(work: Callable[..., Result], *arguments: object) -> Result:
    """Do something in another process, so that this one need not hold for months what it loads, such as Dagster."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("fork")) as process:
        return process.submit(work, *arguments).result()


def home_prepared(lab: Settings) -> dict[str, str]:
    """Make the home, and return the variables that every process of the lab needs."""
    from lab_pipeline.dagster_ext.instance import prepare_environment

    return prepare_environment(lab)


def lab_prepared(settings: Settings, port: int) -> dict[str, str]:
    """Bring the home to these settings and to rest, and return the variables of the lab's services."""
    from lab_pipeline.dagster_ext import io_manager
    from lab_pipeline.dagster_ext.graphql import webserver_url
    from lab_pipeline.dagster_ext.instance import prepare_environment
    from lab_pipeline.dagster_ext.reconcile import reconcile_dead
    from lab_pipeline.operations.lab import Lab

    environment = prepare_environment(settings, apply_settings=True)
    with Lab(settings) as lab:
        lab.strategies.ids()  # makes the catalog
        reconcile_dead(lab.instance, settings)
        io_manager.sweep(settings, lab.instance)
    return {**environment, "LAB_DAGSTER_URL": webserver_url(settings, port)}


def _say(text: str) -> None:
    out.print(text, markup=False)


def _daemon(workspace: Path, forked_in: Path | None = None) -> Service:
    command = [sys.executable, "-m", "lab_pipeline.dagster_ext.daemon", "run", "-w", str(workspace)]
    return Service("daemon", command, ready=lambda: True, forked_in=forked_in)


def _fork_server(lab: Settings) -> Service:
    """It comes first: it forks the others, which then share what it has loaded."""
    place = lab.dagster_home / SOCKET
    place.unlink(missing_ok=True)  # that of one that was
    command = [sys.executable, "-m", "lab_pipeline.cli.fork_server", "-" * ROOM_FOR_TITLES]
    deadline = time.monotonic() + LOADED_WITHIN_SECONDS
    return Service("fork-server", command, ready=lambda: place.exists() or time.monotonic() > deadline)


def _services(lab: Settings, api_port: int, environment: Mapping[str, str]) -> list[Service]:
    code_port = _free_port()
    workspace = lab.dagster_home / "workspace.yaml"
    write_whole(workspace, WORKSPACE.format(host=LOOPBACK, port=code_port, name=LOCATION))
    code = [sys.executable, "-m", "lab_pipeline.dagster_ext.code_server", "-m", lab.definitions]
    code += ["-h", LOOPBACK, "-p", str(code_port), "--location-name", LOCATION]
    code += ["--use-python-environment-entry-point", "--lazy-load-user-code"]
    web = [_program("lab", environment), "webserver", "-w", str(workspace)]
    api = [_program("lab", environment), "api", "--ship-logs"]
    home = lab.dagster_home
    return [
        _fork_server(lab),
        Service("code-server", code, ready=lambda: connects(LOOPBACK, code_port), forked_in=home),
        Service("webserver", web, ready=lambda: _answers(lab, environment["LAB_DAGSTER_URL"]), forked_in=home),
        _daemon(workspace, home),
        Service("api", api, ready=lambda: connects(lab.host, api_port), forked_in=home),
    ]


def _await_end_of_runs(lab: Settings) -> None:
    """Wait until the runs have stopped, which the end of the supervisor tells them; the next start runs them again."""
    from lab_pipeline.dagster_ext import worker_locks

    running = worker_locks.workers_dir(lab.dagster_home)
    deadline = time.monotonic() + worker_locks.GRACE_SECONDS + SLACK_SECONDS
    while names := [name for name in worker_locks.living(running) if not name.startswith(worker_locks.FOREGROUND)]:
        if time.monotonic() > deadline:
            out.print(f"runs that do not stop: {', '.join(names)}")
            return
        time.sleep(worker_locks.POLL_SECONDS)


def _program(name: str, environment: Mapping[str, str]) -> str:
    """Find a program of this very environment, active in the shell or not."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}")
    if found is None:
        raise LabError(f"the program {name} is not installed: install lab-pipeline with its dependencies")
    return found


@contextmanager
def only_one(lab: Settings) -> Iterator[None]:
    """Hold the home of a lab against every other `lab up`.

    Raises:
        LabError: if there is one.
    """
    from lab_pipeline.cli.daemons import held

    path = lab.dagster_home / UP_LOCK
    with held(path, lambda holder: LabError(f"the lab at {lab.home} is already up (process {holder})")):
        yield


def is_up(lab: Settings) -> bool:
    """Return whether a `lab up` holds this home."""
    try:
        with (lab.dagster_home / UP_LOCK).open() as lock:
            return not try_lock(lock, shared=True)
    except FileNotFoundError:
        return False


def _free(host: str, port: int, setting: str) -> tuple[int, str]:
    """Return a port that can be listened on, a free one for 0, and its URL."""
    with listen(host, port, setting) as probe:
        return int(probe.getsockname()[1]), address(probe)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def connects(host: str, port: int) -> bool:
    """Return whether something listens."""
    try:
        with socket.create_connection((host, port)):
            return True
    except OSError:
        return False


def _answers(lab: Settings, url: str) -> bool:
    """Return whether the webserver answers."""
    request = Request(f"{url}/server_info")  # noqa: S310 - our own
    if lab.api_token is not None:
        request.add_header("Authorization", f"Bearer {lab.api_token.get_secret_value()}")
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=ANSWER_SECONDS):
            return True
    except OSError:
        return False
