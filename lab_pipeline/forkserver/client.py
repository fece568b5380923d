"""Ask the fork server for a process. Needs nothing but the standard library, so that a command line starts at once."""

import json
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path

SOCKET = "fork-server.sock"
ANSWER_SECONDS = 5.0
"""Within which the server answers; it takes milliseconds, on a crowded machine a few hundred."""
STATUS_SECONDS = 5.0
"""Within which the server has told the status of a process that ended, unless it is dead itself."""
GO = b"g"
LONGEST_ANSWER = 32
DESCRIPTORS_SENT = 4


class Forked:
    """A process that the fork server started for us.

    Attributes:
        pid: of the process, which leads a session of its own.
    """

    def __init__(self, pid: int, handle: int, connection: socket.socket) -> None:
        self.pid = pid
        self._handle = handle
        self._connection = connection

    def has_ended(self, within_seconds: float | None = None) -> bool:
        """Wait for the end of the process, for so long or for as long as it takes, and tell whether it came."""
        return bool(wait([self._handle], within_seconds))

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    def status(self) -> int | None:
        """Return the exit status of a process that has ended, negative for a signal; None if the server died, too.

        That is the last that can be asked of it.
        """
        self._connection.settimeout(STATUS_SECONDS)
        try:
            return int(self._connection.recv(LONGEST_ANSWER))
        except (OSError, ValueError):
            return None
        finally:
            self._connection.close()
            os.close(self._handle)


def fork(
    directory: Path,
    target: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Sequence[int],
    *,
    within_seconds: float | None = None,
) -> Forked | None:
    """Start a process that has everything loaded.

    Args:
        directory: where the server's socket is.
        target: what the process is to do, of what the server offers.
        arguments: of the process.
        environment: its variables.
        descriptors: its standard input, output and error, and one more that its target knows of.
        within_seconds: the server has to answer; ANSWER_SECONDS if not given.

    Returns:
        None if there is no server that would do it; then nothing runs, and nothing will.
    """
    if not hasattr(os, "pidfd_open"):  # a system without the handle by which a process is watched
        return None
    request = {"target": target, "arguments": list(arguments), "environment": dict(environment)}
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(ANSWER_SECONDS if within_seconds is None else within_seconds)
    try:
        with address(directory) as path:
            connection.connect(path)
        text = json.dumps({**request, "cwd": str(Path.cwd())}).encode() + b"\n"
        connection.sendall(text[socket.send_fds(connection, [text], descriptors) :])
        answer, handles, _, _ = socket.recv_fds(connection, LONGEST_ANSWER, 1)
        if not handles:
            connection.close()
            return None
        (handle,) = handles
        try:
            connection.sendall(GO)  # until it hears this it does nothing, and without it never will
        except OSError:
            os.close(handle)
            raise
    except OSError:  # no server, or one that is going, or has no time
        connection.close()
        return None
    return Forked(int(answer), handle, connection)


@contextmanager
def address(directory: Path) -> Iterator[str]:
    """Yield a path of the socket in a directory that is short enough for the system (108 bytes), however long it is.

    Raises:
        OSError: if there is no such directory.
    """
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)
