"""The files by which processes find the one embedded server, and the locks that make it one.

All locks are flocks: they end with the process that holds them, however it ends. In the state directory (0700):

- `gateway.lock`: held by the server as long as it lives; its text is the server's pid.
- `start.lock`: held by whoever is starting one.
- `users.lock`: shared by clients; a server that is idle stops only once it holds it alone, so that nobody is given
  the address of a server that is about to stop.
- `endpoint.json` (0600): where the server listens; written once it does, and again if it is lost or damaged meanwhile;
  removed when it stops.
- `password`, `port` (0600): kept, so that clients survive a restart of the server.

The last two are rebuilt if a power cut or a full disk damaged them.
"""

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from lab_pipeline.files.atomic import make_directory, write_whole
from lab_pipeline.files.locks import lock_within, try_lock
from lab_pipeline.files.process_lock import lock_holders

LARGEST_PORT = 65535
PASSWORD = re.compile(r"[!-~]{16,1024}")
"""What can be one: neither empty nor cut short, and text that fits into a header."""


@dataclass(frozen=True)
class Endpoint:
    """Where the embedded server listens.

    Attributes:
        host, port, username, password, database: as clients take them.
        pid: of the server.
        version: of ClickHouse.
        schema: version of the tables that the server has made sure of.
        instance: name of this start of the server, which it tells everybody who asks.
    """

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    database: str
    pid: int
    version: str
    schema: int
    instance: str


ENDPOINT = TypeAdapter(Endpoint)


@dataclass(frozen=True)
class StateFiles:
    """The files of one embedded server."""

    directory: Path

    @property
    def data(self) -> Path:
        """The engine's own files."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What the server has to say."""
        return self.directory / "gateway.log"

    def prepare(self) -> None:
        """Create the directory, for this user only."""
        make_directory(self.directory)
        self.directory.chmod(0o700)

    def endpoint(self) -> Endpoint | None:
        """Return what the last server to start wrote; it may be dead."""
        try:
            return ENDPOINT.validate_json((self.directory / "endpoint.json").read_bytes(), strict=True)
        except (FileNotFoundError, ValidationError):  # not valid: damaged, or of another version of this package
            return None

    def publish(self, endpoint: Endpoint) -> None:
        """Tell everybody where the server listens."""
        write_whole(self.directory / "port", f"{endpoint.port}\n")
        write_whole(self.directory / "endpoint.json", json.dumps(asdict(endpoint), indent=2) + "\n")

    def unannounce(self) -> None:
        """Tell everybody that it does not."""
        (self.directory / "endpoint.json").unlink(missing_ok=True)

    def last_port(self) -> int:
        """Return the port of the server before, or 0 if nothing says it."""
        try:
            port = int((self.directory / "port").read_bytes())
        except (FileNotFoundError, ValueError):
            return 0
        return port if 0 < port <= LARGEST_PORT else 0

    def password(self) -> str:
        """Return the password of the server that is starting, made up where none is kept that could be one."""
        path = self.directory / "password"
        kept = path.read_bytes().decode(errors="replace").strip() if path.exists() else ""
        if PASSWORD.fullmatch(kept):
            return kept
        new = secrets.token_urlsafe(24)
        write_whole(path, new + "\n")
        return new

    def try_to_be_the_server(self) -> IO[str] | None:
        """Take the server's lock for as long as the returned file is open; None if there is a server."""
        lock = self._open("gateway.lock")
        if not try_lock(lock):
            lock.close()
            return None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def is_server_lock(self, lock: IO[str]) -> bool:
        """Return whether a lock is still that of this directory: not if the directory was deleted or moved away."""
        try:
            return os.path.samestat(os.fstat(lock.fileno()), (self.directory / "gateway.lock").stat())
        except FileNotFoundError:
            return False

    def server_pid(self) -> int | None:
        """Return the pid of the living server, or None."""
        with self._open("gateway.lock") as lock:
            if try_lock(lock, shared=True):
                return None
            holder = next((pid for pid in lock_holders(self.directory / "gateway.lock") if pid > 0), None)
            if holder is not None:  # what the kernel says, rather than a text that may be damaged
                return holder
            lock.seek(0)
            written = lock.read()
            return int(written) if written.isascii() and written.isdigit() else None

    def try_to_be_alone(self) -> IO[str] | None:
        """Lock clients out for as long as the returned file is open; None while there is one."""
        lock = self._open("users.lock")
        if try_lock(lock):
            return lock
        lock.close()
        return None

    def lease(self, timeout: float) -> IO[str]:
        """Keep the server from stopping for idleness for as long as the returned file is open.

        Raises:
            TimeoutError: if a server that is stopping does not come to its end.
        """
        lock = self._open("users.lock")
        try:
            lock_within(lock, timeout, shared=True)
        except TimeoutError:
            lock.close()
            raise
        return lock

    @contextmanager
    def starting(self, timeout: float) -> Iterator[None]:
        """Be the only one who starts a server.

        Raises:
            TimeoutError: if another has not come to an end with it.
        """
        with self._open("start.lock") as lock:
            lock_within(lock, timeout)
            yield

    def _open(self, name: str) -> IO[str]:
        descriptor = os.open(self.directory / name, os.O_RDWR | os.O_CREAT, 0o600)
        return open(descriptor, "r+", encoding="ascii", errors="replace")  # noqa: PTH123 - a path has no mode to create with
