"""Start, find and stop the embedded server; one server, whatever races."""

import http.client
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from threading import Thread
from time import monotonic, sleep
from types import TracebackType
from typing import IO, Self

from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.errors import EmbeddedServerError
from lab_pipeline.clickhouse.gateway.files import Endpoint, StateFiles
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.files.locks import POLL_SECONDS
from lab_pipeline.settings import PRIVATE

START_SECONDS = 60.0
STOP_SECONDS = 20.0
SIGNAL_EVERY_SECONDS = 1.0
PING_SECONDS = 5.0
NEEDED_VARIABLES = re.compile(r"PATH|HOME|LANG|TZ|TMPDIR|VIRTUAL_ENV|(?:LC|LD|DYLD|PYTHON|COV|COVERAGE|FAKETIME)_?.*")
"""What the server's process is given of the environment: a secret that it lacks, no statement can get at."""
LOG_BYTES = 1 << 20  # beyond which the log of former servers is dropped


@dataclass(frozen=True)
class LaunchSettings:
    """The settings passed to the server's process, as in `ClickHouseConfig`."""

    state_dir: str
    database: str
    retention_days: int | None
    idle_seconds: float
    memory_bytes: int
    body_bytes: int


class Lease:
    """The right to an embedded server: while it is open, the server does not stop for idleness.

    Attributes:
        endpoint: where it listens.
    """

    def __init__(self, endpoint: Endpoint, lock: IO[str]) -> None:
        self.endpoint = endpoint
        self._lock = lock

    def close(self) -> None:
        """Give the right back."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lease_server(config: ClickHouseConfig) -> Lease:
    """Find the embedded server, or start it, and keep it from stopping.

    Raises:
        EmbeddedServerError: if it cannot be started; the message says why.
    """
    files = StateFiles(config.state_dir)
    files.prepare()
    try:
        lock = files.lease(START_SECONDS)
        try:
            return Lease(answering(files) or _start(config, files), lock)
        except BaseException:
            lock.close()
            raise
    except TimeoutError as error:
        raise EmbeddedServerError(
            f"the embedded ClickHouse does not come up: {error}. Stop it with `lab clickhouse stop`, then try again."
        ) from None


def answering(files: StateFiles) -> Endpoint | None:
    """Return the endpoint of the server if it is the one that answers there."""
    endpoint = files.endpoint()
    if endpoint is None:
        return None
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=PING_SECONDS)
    try:
        connection.request("GET", "/ping")
        name = connection.getresponse().headers.get("X-ClickHouse-Server-Display-Name")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return endpoint if name == endpoint.instance else None


def stop_server(config: ClickHouseConfig) -> bool:
    """Stop the embedded server; say whether there was one.

    What it is doing has some seconds to end. Clients get a connection error; the lab's own start a new server.
    """
    if not config.state_dir.is_dir():
        return False
    files = StateFiles(config.state_dir)
    pid = files.server_pid()
    if pid is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = monotonic() + STOP_SECONDS
        while monotonic() < deadline:
            os.kill(pid, number)  # again and again: a server that is just starting does not hear the first
            if _ends_soon(files, pid):
                return True
    raise EmbeddedServerError(f"the embedded ClickHouse (process {pid}) does not end, not even by SIGKILL")


def _ends_soon(files: StateFiles, pid: int) -> bool:
    deadline = monotonic() + SIGNAL_EVERY_SECONDS
    while monotonic() < deadline:
        if files.server_pid() != pid:
            return True
        sleep(POLL_SECONDS)
    return False


def _start(config: ClickHouseConfig, files: StateFiles) -> Endpoint:
    deadline = monotonic() + START_SECONDS
    with files.starting(START_SECONDS):
        server = None
        while (endpoint := answering(files)) is None:
            ended = server.poll() if server else 0
            if ended is not None and ended <= 0:
                # 0: another server still lives, such as one that is just stopping; negative: somebody killed it.
                server = _spawn(config, files)
            elif ended is not None:
                words = _last_words(files)
                reason = disk_error(EmbeddedServerError(words), config.state_dir) or words
                raise EmbeddedServerError(f"the embedded ClickHouse ended at its start: {reason}")
            if monotonic() > deadline:
                raise TimeoutError(f"nothing answers after {START_SECONDS:.0f} s")
            sleep(POLL_SECONDS)
    return endpoint


def require_engine() -> None:
    """Make sure that an embedded server could be started.

    Raises:
        EmbeddedServerError: if chDB is not installed.
    """
    if importlib.util.find_spec("chdb") is None:
        raise EmbeddedServerError(
            "there is no ClickHouse: install the embedded one (pip install 'lab-pipeline[embedded]'), "
            "or set LAB_CLICKHOUSE_URL to that of a server"
        )


def _spawn(config: ClickHouseConfig, files: StateFiles) -> "subprocess.Popen[bytes]":
    require_engine()
    settings = LaunchSettings(
        state_dir=str(config.state_dir.absolute()),
        database=config.database,
        retention_days=config.retention_days,
        idle_seconds=config.idle_seconds,
        memory_bytes=config.memory_bytes,
        body_bytes=config.body_bytes,
    )
    mode = "ab" if files.log.exists() and files.log.stat().st_size < LOG_BYTES else "wb"
    with files.log.open(mode) as log:
        server = subprocess.Popen(  # noqa: S603 - this interpreter, this package
            [sys.executable, "-m", "lab_pipeline.clickhouse.gateway", json.dumps(asdict(settings))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={name: value for name, value in os.environ.items() if NEEDED_VARIABLES.fullmatch(name)},
            umask=PRIVATE,
            start_new_session=True,  # it outlives whoever needed it first, and Ctrl-C is not meant for it
        )
    Thread(target=server.wait, daemon=True).start()  # or it would stay a zombie as long as this process lives
    return server


def _last_words(files: StateFiles) -> str:
    lines = files.log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), f"see {files.log}")
