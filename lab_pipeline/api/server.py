"""Serve the application."""

import contextlib
import logging
import resource
import sys

import uvicorn

from lab_pipeline.api.app import create_app
from lab_pipeline.api.connections import MOST_CONNECTIONS, Connection, Server
from lab_pipeline.domain.loglines import log_to_stderr
from lab_pipeline.doors import BACKLOG, address, listen, require_token_off_loopback
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.log_shipper import shipping_beside
from lab_pipeline.settings import Settings

OTHER_FILES = 256
"""Files and sockets that the stores and downloads have open at most, beside the connections."""
TURN_SECONDS = 0.0005
"""For which a thread that computes keeps the interpreter from the one that answers; Python's own 5 ms are many."""
GOODBYE_SECONDS = 3
"""For which requests may go on once the server was told to stop; streams that follow a run never end by themselves."""


def serve(settings: Settings, *, ship_logs: bool = False) -> None:
    """Serve until a signal comes.

    Args:
        settings: of the lab.
        ship_logs: whether this process ships logs to ClickHouse, too: it has loaded what a shipper needs.

    Raises:
        OpenDoorError: if the API would be open to the network without a token.
        LabError: if the address is taken, or the stores cannot be opened.
    """
    require_token_off_loopback(settings)
    with Lab(settings) as lab:
        lab.instance  # noqa: B018 - opened here first: in the application an error would come with uvicorn's stack
        app = create_app(settings)
    Connection.most = _most_connections()
    sys.setswitchinterval(TURN_SECONDS)
    with listen(settings.host, settings.api_port, "LAB_API_PORT") as listener:
        log_to_stderr(("lab_pipeline", "uvicorn"))
        logging.getLogger("lab_pipeline.api").info("listening on %s", address(listener))
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=Connection,
            ws="none",
            backlog=BACKLOG,
            log_config=None,
            access_log=False,  # the gate's line has the request's id
            server_header=False,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
        )
        shipping = shipping_beside(settings) if ship_logs else contextlib.nullcontext()
        # The server has stopped in order; the signal is raised once more.
        with contextlib.suppress(KeyboardInterrupt), shipping:
            Server(config).run(sockets=[listener])


def _most_connections() -> int:
    """Ask the system for as many files as the connections need, and return how many of those there may be."""
    files, at_most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    if files != resource.RLIM_INFINITY and files < wanted:
        files = wanted if at_most == resource.RLIM_INFINITY else min(wanted, at_most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, at_most))
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, max(1, files - OTHER_FILES))
