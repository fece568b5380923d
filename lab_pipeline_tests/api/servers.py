"""The API's own server in a thread of this process, and clients that behave badly."""

import contextlib
import socket
import threading
import time

import uvicorn

from lab_pipeline.api.connections import Connection, Server


@contextlib.contextmanager
def serving(app, *, lifespan="off"):
    """Serve an application on a free port meanwhile; yields the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        config = uvicorn.Config(
            app, http=Connection, loop="uvloop", ws="none", log_config=None, access_log=False, lifespan=lifespan
        )
        server = Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            server.force_exit = server.should_exit = True
            thread.join()


def connect(port, data=b""):
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(data)
    return connection


def get(path, *headers):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def read_all(connection):
    """Read until the server hangs up; b'' if it does so without a word."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(1 << 16):
            found += data
    return found
