"""Serve the application."""

import contextlib
import logging

import uvicorn

from lab_pipeline.api.app import create_app
from lab_pipeline.defs.operations.instance import open_instance
from lab_pipeline.domain.text import log_to_stderr
from lab_pipeline.doors import address, listen, require_token_off_loopback
from lab_pipeline.settings import Settings

GOODBYE_SECONDS = 3
"""For which requests may go on once the server was told to stop; streams that follow a run never end by themselves."""


def serve(settings: Settings) -> None:
    """Serve until a signal comes.

    Raises:
        OpenDoorError: if the API would be open to the network without a token.
        LabError: if the address is taken, or the stores cannot be opened.
    """
    require_token_off_loopback(settings)
    with open_instance(settings):
        app = create_app(settings)  # which opens it again, where an error would come with uvicorn's stack
    with listen(settings.host, settings.api_port, "LAB_API_PORT") as listener:
        log_to_stderr(("lab_pipeline", "uvicorn"), "%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("lab_pipeline.api").info("listening on %s", address(listener))
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            log_config=None,
            access_log=False,  # the gate's line has the request's id
            server_header=False,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
        )
        with contextlib.suppress(KeyboardInterrupt):  # the server has stopped in order; the signal is raised once more
            uvicorn.Server(config).run(sockets=[listener])
