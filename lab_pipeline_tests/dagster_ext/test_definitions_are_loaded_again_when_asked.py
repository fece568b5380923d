"""The code server of `lab up` reads changed code when the UI asks, as the process that it was."""

import socket
import subprocess
import sys
import time

import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient
from dagster._serdes import deserialize_value
from dagster._utils.error import SerializableErrorInfo

MODULE = "import dagster as dg\n\n{name} = dg.Definitions()\n"


@pytest.fixture
def served(tmp_path):
    """A code server of a file that can be changed: the file, a client, the process."""
    file = tmp_path / "mine.py"
    file.write_text(MODULE.format(name="before"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lab_pipeline.dagster_ext.code_server", "-f", str(file)]
    command += ["-h", "127.0.0.1", "-p", str(port), "--lazy-load-user-code"]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        yield file, DagsterGrpcClient(host="127.0.0.1", port=port), process
        process.terminate()


def patiently(ask, wanted=lambda _: True):
    deadline = time.monotonic() + 180
    while True:
        try:
            if wanted(answer := ask()):
                return answer
        except DagsterUserCodeUnreachableError:
            assert time.monotonic() < deadline
        time.sleep(0.1)


def named(client):
    """Return the name of the definitions that the server has loaded, or else why it could not."""
    answer = deserialize_value(client.list_repositories())
    return answer.to_string() if isinstance(answer, SerializableErrorInfo) else answer.repository_symbols[0].attribute


@pytest.mark.slow
def test_changed_code_is_loaded_and_broken_code_is_an_error_that_a_later_reload_heals(served):
    file, client, process = served
    patiently(client.get_server_id)
    assert named(client) == "before"

    def reload(code):
        file.write_text(code)
        known = client.get_server_id()
        client.reload_code(timeout=60)
        patiently(client.get_server_id, lambda seen: seen != known)
        return named(client)

    assert reload(MODULE.format(name="after_it")) == "after_it"
    assert "SyntaxError" in reload("def broken(:")
    assert reload(MODULE.format(name="well_again")) == "well_again"
    assert process.poll() is None
