"""Serve Dagster's webserver behind the guard."""

import contextlib
import logging
from pathlib import Path

import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.types import ASGIApp

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.doors import Door, address, listen
from lab_pipeline.settings import Settings
from lab_pipeline.ui.guard import Guard
from lab_pipeline.ui.login import Login

STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, POOL_OVERFLOW = 15_000, 3600, 20
POLL_MS = 2000
"""The rhythm in which pages ask for news of assets; it and the line above are as `dagster-webserver` has them."""
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
    with listen(settings.host, settings.port, "LAB_PORT") as listener, open_instance(settings) as instance:
        configure_loggers()
        instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, POOL_OVERFLOW)
        target = WorkspaceFileTarget(paths=[str(workspace)])
        with WorkspaceProcessContext(instance, workspace_load_target=target, version=__version__) as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=POLL_MS)
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
