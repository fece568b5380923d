"""The process that forks: one thread, one loop, and nothing that a fork would break."""

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from setproctitle import setproctitle

from lab_pipeline.forkserver.client import DESCRIPTORS_SENT, GO, address

REQUEST_SECONDS = 1.0
"""Within which a client that has connected has said what it wants; nobody else is served meanwhile."""
LONGEST_REQUEST = 2**20
WAITING = 64
CREDENTIALS = "3i"
"""Process, user and group of a peer, as the system tells them."""

READ_AT_IMPORT = ("BLIS_", "LD_", "MALLOC_", "MKL_", "NUMBA_", "OMP_", "OPENBLAS_", "POLARS_", "PYTHON")
"""How variables begin that libraries read as they are loaded: a process that is to have others needs its own start."""

SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""By which people and programs end a program."""

Target = Callable[[int], None]
"""What a child does; it is given the descriptor that came with the request, and finds its arguments in sys.argv."""


class Offer(NamedTuple):
    """What a client may ask for.

    Attributes:
        title: the name that a child has in lists of processes, before its arguments; empty if they begin with it.
        target: what it does.
        lasts: whether it is a service. The server does not wait for its end before its own, nor ends what it leaves
            behind, and the system goes on telling with which variables it was started: those of the server.
    """

    title: str
    target: Target
    lasts: bool = False


class Awaited(NamedTuple):
    """What is loaded later, while processes are forked that do not need it so soon.

    Attributes:
        descriptor: can be read from once it is there.
        load: loads it.
    """

    descriptor: int
    load: Callable[[], None]


class _RefusedError(Exception):
    """A request that gets no process."""


def serve(
    directory: Path,
    offers: Mapping[str, Offer],
    reason_to_end: Callable[[], str | None],
    awaited: Awaited | None = None,
) -> str:
    """Fork a process for each request until there is a reason to stop; return that once all but services have ended.

    Everything that children are to find loaded has been loaded, but for what is awaited. The caller must have no other
    thread, now or later: a child inherits what other threads hold locked, and never gets it.

    Args:
        directory: for the socket, which only its owner may enter.
        offers: what may be asked for.
        reason_to_end: says, before each fork, why there must be none any more, such as code that changed.
        awaited: what is to be loaded later.

    Raises:
        RuntimeError: if there are other threads already.
    """
    if threading.active_count() > 1:
        raise RuntimeError(f"threads that a fork would break: {[thread.name for thread in threading.enumerate()]}")
    native = _native_threads()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit what is ignored, as under nohup
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    _keep()
    listener = socket.socket(socket.AF_UNIX)
    with address(directory) as path:
        coming = Path(f"{path}.new")
        coming.unlink(missing_ok=True)
        listener.bind(str(coming))
        listener.listen(WAITING)
        coming.rename(path)  # whoever finds it can connect
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        if awaited is not None:
            selector.register(awaited.descriptor, selectors.EVENT_READ)
        reason = None
        while reason is None or any(key.data and not key.data.lasts for key in selector.get_map().values()):
            for key, _ in selector.select():
                if key.data:
                    _end(selector, key)
                elif awaited is not None and key.fd == awaited.descriptor:
                    selector.unregister(key.fileobj)
                    awaited.load()
                    _keep()
                    native = _native_threads()
                elif reason := _threads_since(native) or reason_to_end():
                    selector.unregister(listener)
                    listener.close()  # those who wait get an error, those who come find nobody
                else:
                    _accept(selector, listener, offers)
    return reason


class _Child(NamedTuple):
    """A process that was forked, and the connection to whoever asked for it."""

    pid: int
    connection: socket.socket
    lasts: bool


class _Request(NamedTuple):
    """What a client wants, and where it waits for its end.

    Attributes:
        connection: to the client.
        descriptors: standard input, output and error, and one that the target knows of.
        target: the name of one of what is offered.
        arguments: of it.
        environment: all variables.
        cwd: the directory to work in.
    """

    connection: socket.socket
    descriptors: list[int]
    target: str
    arguments: list[str]
    environment: dict[str, str]
    cwd: str


def _keep() -> None:
    """Keep all that there is now: a collection in a child would write to, and so copy, what it shares."""
    gc.collect()
    gc.freeze()


def _accept(selector: selectors.BaseSelector, listener: socket.socket, offers: Mapping[str, Offer]) -> None:
    connection, _ = listener.accept()
    connection.settimeout(REQUEST_SECONDS)
    descriptors: list[int] = []
    try:
        request = _request(connection, descriptors)
        offer = offers[request.target]
    except (OSError, ValueError, KeyError, TypeError, _RefusedError) as error:
        sys.stderr.write(f"no process for a request: {error!r}\n")
        connection.close()
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # what comes while the interpreter forks would be swallowed
        pid = os.fork()
        if not pid:
            _be_the_child(selector, request, offer)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        handle = os.pidfd_open(pid)
        selector.register(handle, selectors.EVENT_READ, _Child(pid, connection, offer.lasts))
        with suppress(OSError):  # the client has gone, and its process hears no word to go
            socket.send_fds(connection, [str(pid).encode()], [handle])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _request(connection: socket.socket, descriptors: list[int]) -> _Request:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(CREDENTIALS))
    _, owner, _ = struct.unpack(CREDENTIALS, credentials)
    if owner != os.getuid():
        raise _RefusedError(f"user {owner} is another one")
    text, received, _, _ = socket.recv_fds(connection, LONGEST_REQUEST, DESCRIPTORS_SENT, socket.MSG_CMSG_CLOEXEC)
    descriptors += received
    while not text.endswith(b"\n"):
        more = connection.recv(LONGEST_REQUEST)
        text += more
        if not more or len(text) > LONGEST_REQUEST:
            raise _RefusedError("it is cut off, or too long")
    if len(descriptors) != DESCRIPTORS_SENT:
        raise _RefusedError("its descriptors are missing")
    request = _Request(connection, descriptors, **json.loads(text))
    if _read_at_import(request.environment) != _read_at_import(os.environ):
        raise _RefusedError("it wants libraries set up in another way")
    return request


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT)}


def _end(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Collect a child that has ended, and what it leaves in its session, and tell its client."""
    child: _Child = key.data
    if not child.lasts:
        with suppress(ProcessLookupError):  # not collected yet, its number is still its own
            os.killpg(child.pid, signal.SIGKILL)
    _, status = os.waitpid(child.pid, 0)
    selector.unregister(key.fileobj)
    os.close(key.fd)
    with suppress(OSError):  # nobody waits for it
        child.connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    child.connection.close()


def _be_the_child(selector: selectors.BaseSelector, request: _Request, offer: Offer) -> None:
    """Become the process that was asked for, and end as it does."""
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.setsid()  # what ends the server, or its terminal, is not meant for its children
        for key in list(selector.get_map().values()):
            os.close(key.fd)
            if key.data:
                key.data.connection.close()
        selector.close()
        gc.enable()  # for what comes from here on
        _await_go(request.connection)
        for number, descriptor in enumerate(request.descriptors[:3]):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]  # the interpreter's own
        sys.argv = [offer.title, *request.arguments] if offer.title else request.arguments
        if offer.lasts:
            os.environ["SPT_NOENV"] = "1"  # a longer title is cut off, where it would take the place of the variables
        setproctitle(" ".join(sys.argv))  # before the variables change, beside which the system keeps it
        os.environ.clear()
        os.environ |= request.environment
        os.chdir(request.cwd)
        offer.target(request.descriptors[3])
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
    except BaseException:  # noqa: BLE001 - the child must not go on in the server's loop
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # noqa: SLF001 - nameless in public; the interpreter's own end takes half a second more
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status)


def _await_go(connection: socket.socket) -> None:
    connection.settimeout(None)
    if connection.recv(1) != GO:
        os._exit(1)  # nobody waits for this process, or somebody has started another instead
    connection.close()


def _native_threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def _threads_since(native: int) -> str | None:
    """Say that threads have come up which a child would not have."""
    if threading.active_count() > 1 or _native_threads() > native:
        return f"{_native_threads() - native} threads have come up"
    return None
