"""A running lab and a running stock Dagster, to be measured beside each other."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

BIN = Path(sys.executable).parent
LOADED = "runs begin with the kernel's machine code"
"""What the fork server says once it has everything."""
STOCK = """\
import dagster as dg

@dg.op
def nothing():
    pass

@dg.job
def idle():
    nothing()
"""


class Addresses(NamedTuple):
    """Where it is reached.

    Attributes:
        ui: the address of the Dagster UI.
        api: the address of the HTTP API, which a stock Dagster has not.
    """

    ui: str
    api: str = ""


@contextmanager
def lab(home: Path) -> Iterator[Addresses]:
    """Run `lab up` on free ports, and wait until its fork server has loaded everything."""
    environment = {**os.environ, "LAB_HOME": str(home), "LAB_PORT": "0", "LAB_API_PORT": "0"}
    environment.pop("DAGSTER_HOME", None)
    with (home / "up.txt").open("w") as said:
        up = subprocess.Popen([BIN / "lab", "up"], env=environment, stdout=said, stderr=said)
    try:
        wait_until(lambda: "Ctrl-C stops it" in (home / "up.txt").read_text(), up)
        wait_until(lambda: LOADED in (home / "logs" / "fork-server.log").read_text(), up)
        ui, api = re.findall(r"http://[0-9.:]+", (home / "up.txt").read_text())
        yield Addresses(ui, api)
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait()
        subprocess.run([BIN / "lab", "clickhouse", "stop"], env=environment, stdout=subprocess.DEVNULL, check=True)


@contextmanager
def stock(home: Path) -> Iterator[Addresses]:
    """Run Dagster as it is installed, with its default storages: code server, webserver and daemon."""
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (home / "jobs.py").write_text(STOCK)
    code, web = free_port(), free_port()
    (home / "workspace.yaml").write_text(f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {code}}}\n")
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    environment.pop("LAB_HOME", None)
    commands: list[list[str | Path]] = [
        [BIN / "dagster", "api", "grpc", "-f", home / "jobs.py", "-h", "127.0.0.1", "-p", str(code)],
        [BIN / "dagster-webserver", "-h", "127.0.0.1", "-p", str(web), "-w", home / "workspace.yaml"],
        [BIN / "dagster-daemon", "run", "-w", home / "workspace.yaml"],
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command, port in zip(commands, (code, web, None), strict=True):
            with (home / "log.txt").open("ab") as log:
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home))
            if port is not None:
                wait_until(partial(listens, port), started[-1])
        yield Addresses(f"http://127.0.0.1:{web}")
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait()


def wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not answer")
        time.sleep(0.2)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
