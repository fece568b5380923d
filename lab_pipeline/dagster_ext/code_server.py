"""The code server of `lab up`: `dagster api grpc`, which does load code again when the UI's *Reload definitions* asks.

It restarts as the same process, so that whoever watches it sees no process end. Dagster's own `code-server start`
keeps the definitions in another process, and goes on answering when that one is dead. Code that cannot be loaded is
an error in the UI, not the end of the server (`--lazy-load-user-code`): the next reload may find it well again.
"""

import os
import signal
import sys
import threading
from multiprocessing.connection import wait
from typing import Any

from dagster._cli.api import grpc_command
from dagster._grpc import server
from dagster._grpc.__generated__ import dagster_api_pb2

from lab_pipeline.dagster_ext.worker_locks import PARENT_PIPE

asked = threading.Event()
"""Whether somebody wants the code to be loaded again."""


class CodeServer(server.DagsterApiServer):
    """Answers what Dagster's answers; asked to reload, it ends, and `main` begins again."""

    def ReloadCode(self, _request: Any, _context: Any) -> dagster_api_pb2.ReloadCodeReply:  # noqa: ANN401, N802 - gRPC's
        """Begin again once this is answered."""
        asked.set()
        self._logger.info("asked to load the code again")
        self._shutdown_once_executions_finish_event.set()
        return dagster_api_pb2.ReloadCodeReply()


def main() -> None:
    """Serve with the options of `dagster api grpc` until this process is ended."""
    parent_pipe = os.environ.get(PARENT_PIPE)
    if parent_pipe is not None:
        threading.Thread(target=_end_with, args=[int(parent_pipe)], name="parent_pipe", daemon=True).start()
    server.DagsterApiServer = CodeServer  # type: ignore[misc]  # which the command looks up when it is called
    grpc_command.main(args=sys.argv[1:], prog_name="dagster api grpc", standalone_mode=False)
    if asked.is_set():
        if parent_pipe is not None:
            os.set_inheritable(int(parent_pipe), True)  # noqa: FBT003 - its only parameter
        again = [sys.executable, "-m", "lab_pipeline.dagster_ext.code_server", *sys.argv[1:]]
        os.execv(sys.executable, again)  # noqa: S606 - this very program, however it was started


def _end_with(parent_pipe: int) -> None:
    """End when `lab up` has: the forked process was told of that, but the one that started again is not."""
    wait([parent_pipe])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
