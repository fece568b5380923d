"""The server's process: `python -m lab_pipeline.clickhouse.gateway <launch settings as JSON>`."""

import asyncio
import json
import logging
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import IO

import uvicorn

import lab_pipeline
from lab_pipeline.clickhouse.errors import LaterSchemaError
from lab_pipeline.clickhouse.gateway.app import HOST, Gateway
from lab_pipeline.clickhouse.gateway.confinement import confine
from lab_pipeline.clickhouse.gateway.engine import Engine
from lab_pipeline.clickhouse.gateway.errors import GatewayError
from lab_pipeline.clickhouse.gateway.files import Endpoint, StateFiles
from lab_pipeline.clickhouse.gateway.launch import LaunchSettings
from lab_pipeline.clickhouse.gateway.requests import Credentials
from lab_pipeline.clickhouse.schema import UploadTarget, latest_version, migrate
from lab_pipeline.domain.loglines import log_to_stderr

USERNAME = "default"
GRACE_SECONDS = 5  # for requests in progress when the server is asked to stop
KEEP_ALIVE_SECONDS = 60
IDLE_CHECK_SECONDS = 0.2
BACKLOG = 256

logger = logging.getLogger("lab_pipeline.clickhouse.gateway")


def main(arguments: list[str]) -> None:
    """Be the embedded server of a state directory, unless there is one already."""
    settings = LaunchSettings(**json.loads(arguments[0]))
    files = StateFiles(Path(settings.state_dir))
    log_to_stderr(("lab_pipeline", "uvicorn"), "%(asctime)s %(process)d %(levelname)s %(message)s")
    lock = files.try_to_be_the_server()
    if lock is None:
        return
    files.unannounce()
    listener = _bound(files.last_port())
    confined = confine(
        [files.directory, *([files.data.resolve()] if files.data.is_symlink() else [])],
        [Path(sys.prefix), Path(sys.base_prefix), Path(lab_pipeline.__file__).parent],
    )
    if not confined:
        logger.warning("this system has no Landlock: only the engine's own permissions keep statements in the store")
    try:
        engine = Engine(files.directory, memory_bytes=settings.memory_bytes)
        migrate(engine.run, UploadTarget(settings.database), settings.retention_days)
    except GatewayError as error:
        sys.exit(f"cannot open {files.data}: {error.message.splitlines()[0]}")
    except LaterSchemaError as error:
        sys.exit(str(error))
    endpoint = Endpoint(
        host=HOST,
        port=listener.getsockname()[1],
        username=USERNAME,
        password=files.password(),
        database=settings.database,
        pid=os.getpid(),
        version=engine.version,
        schema=latest_version(),
        instance=secrets.token_hex(8),
    )
    gateway = Gateway(
        engine,
        instance=endpoint.instance,
        credentials=Credentials(endpoint.username, endpoint.password),
        body_bytes=settings.body_bytes,
        idle_seconds=settings.idle_seconds,
        confined=confined,
    )
    server = uvicorn.Server(
        uvicorn.Config(
            gateway,
            lifespan="off",
            access_log=False,  # URLs may hold passwords
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
    )
    # uvicorn handles the signals, but raises them once more when it has stopped: by then they mean nothing.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        alone = runner.run(_serve(server, gateway, listener=listener, endpoint=endpoint, files=files, lock=lock))
    gateway.close()
    engine.close()
    logger.info("stopped")
    for held in (alone, lock):  # to the very end: whoever gets them next may start a server
        if held is not None:
            held.close()


def _bound(preferred_port: int) -> socket.socket:
    # The protocol is named because asyncio switches Nagle's algorithm off only where it says TCP: 40 ms a request.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, preferred_port))
    except OSError:  # taken by another program since
        listener.bind((HOST, 0))
    return listener


async def _serve(
    server: uvicorn.Server,
    gateway: Gateway,
    *,
    listener: socket.socket,
    endpoint: Endpoint,
    files: StateFiles,
    lock: IO[str],
) -> IO[str] | None:
    """Serve until told to stop; return the lock on clients that the server holds if it stops for idleness."""
    listener.listen(BACKLOG)
    files.publish(endpoint)
    logger.info("ClickHouse %s listens on port %d", endpoint.version, endpoint.port)
    idleness = asyncio.create_task(_stop_when_useless(server, gateway, endpoint, files, lock))
    try:
        await server.serve([listener])
    finally:
        if files.is_server_lock(lock):
            files.unannounce()
    await gateway.quiet.wait()  # uvicorn has cancelled the rest; a second time would leave statements running
    if idleness.done():
        return idleness.result()
    idleness.cancel()
    return None


async def _stop_when_useless(
    server: uvicorn.Server, gateway: Gateway, endpoint: Endpoint, files: StateFiles, lock: IO[str]
) -> IO[str] | None:
    while True:
        await asyncio.sleep(IDLE_CHECK_SECONDS)
        if not files.is_server_lock(lock):
            logger.warning("%s was deleted or moved: nobody can find this server any more", files.directory)
            server.should_exit = True
            return None
        if files.endpoint() != endpoint:
            logger.warning("the endpoint file was lost or damaged: it is written again")
            files.publish(endpoint)
        if gateway.idle and (alone := files.try_to_be_alone()) is not None:
            logger.info("idle")
            files.unannounce()
            server.should_exit = True
            return alone


if __name__ == "__main__":
    main(sys.argv[1:])
