"""Serve Dagster's webserver behind the guard."""

import contextlib
import logging
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from lab_pipeline.dagster_ext.webserver_app import webserver_app
from lab_pipeline.doors import Door, address, listen
from lab_pipeline.login import Login
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import Settings
from lab_pipeline.ui.guard import Guard

GOODBYE_SECONDS = 3


def serve(settings: Settings, workspace: Path) -> None:
    """Serve until a signal comes.

    Args:
        settings: of the lab.
        workspace: the file that says where the code server is.

    Raises:
        OpenDoorError: if the UI would be open to the network without a token.
        LabError: if the address is taken, or the stores cannot be opened.
    """
    door = Door.of(settings)
    with (
        listen(settings.host, settings.port, "LAB_PORT") as listener,
        Lab(settings) as lab,
        webserver_app(lab.instance, workspace) as app,
    ):
        config = uvicorn.Config(
            guarded(app, door, listener.getsockname()[1]),
            lifespan="off",
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
        )
        logging.getLogger("dagster-webserver").info("serving the UI on %s", address(listener))
        with contextlib.suppress(KeyboardInterrupt):  # it has stopped in order; the signal is raised once more
            uvicorn.Server(config).run(sockets=[listener])


def guarded(app: ASGIApp, door: Door, port: int) -> Guard:
    """Put the guard before Dagster's application."""
    return Guard(app, door, None if door.token is None else Login(door, door.token, port))
