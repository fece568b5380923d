"""Dagster's webserver as an application that others serve."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.types import ASGIApp

STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, POOL_OVERFLOW = 15_000, 3600, 20
POLL_MS = 2000
"""How often pages ask for news of assets; it and the line above are as `dagster-webserver` has them."""


@contextmanager
def webserver_app(instance: dg.DagsterInstance, workspace: Path) -> Iterator[ASGIApp]:
    """Return the application, whose logs go where Dagster's go.

    Args:
        instance: of the lab.
        workspace: the file that names the code server.
    """
    configure_loggers()
    instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, POOL_OVERFLOW)
    target = WorkspaceFileTarget(paths=[str(workspace)])
    with WorkspaceProcessContext(instance, workspace_load_target=target, version=__version__) as context:
        yield create_app_from_workspace_process_context(context, live_data_poll_rate=POLL_MS)
