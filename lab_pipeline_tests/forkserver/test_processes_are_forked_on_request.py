import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lab_pipeline.forkserver import client
from lab_pipeline.forkserver.client import SOCKET, address, fork

IGNORING = """\
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
PROGRAM = Path(__file__).parent / "program.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs handles of processes")


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / ("a directory whose path is longer than that of a socket may be, " * 3)
    made.mkdir(parents=True)
    return made


@pytest.fixture
def server(directory):
    process = subprocess.Popen(
        [sys.executable, PROGRAM, directory],
        env={**os.environ, "OF_THE_SERVER": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: answers(directory))
    yield process
    process.kill()
    process.communicate()


def answers(directory):
    try:
        with socket.socket(socket.AF_UNIX) as connection, address(directory) as path:
            connection.connect(path)
    except OSError:
        return False
    return True


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.02)
    return value


class Asked:
    """A process that was asked for, and what it printed."""

    def __init__(self, directory, target, *arguments, environment=None):
        self.out, out = os.pipe()
        fourth, end = os.pipe()
        os.write(end, b"by the way")
        os.close(end)
        with Path(os.devnull).open() as nothing:
            variables = environment or {**os.environ, "OF_THE_CLIENT": "1"}
            self.process = fork(directory, target, arguments, variables, [nothing.fileno(), out, out, fourth])
        os.close(out)
        os.close(fourth)

    def end(self):
        assert self.process.has_ended(30)
        with os.fdopen(self.out) as out:
            return self.process.status(), out.read()


@pytest.mark.usefixtures("server")
def test_it_works_with_the_arguments_variables_directory_and_descriptors_of_the_client(directory, monkeypatch):
    elsewhere = directory.parent
    monkeypatch.chdir(elsewhere)
    asked = Asked(directory, "tell", "one", "two words")
    status, printed = asked.end()
    told = json.loads(printed.splitlines()[0])
    assert status == 0
    assert printed.splitlines()[1] == "to standard error"
    assert told["arguments"] == ["one", "two words"]
    assert told["cwd"] == str(elsewhere)
    assert told["environment"]["OF_THE_CLIENT"] == "1"
    assert "OF_THE_SERVER" not in told["environment"]
    assert told["sent"] == "by the way"
    assert told["collects"]
    assert told["pid"] == told["session"] == asked.process.pid
    assert " ".join(told["title"]).strip() == "a tell one two words"
    assert told["open"] == 5, "standard input, output, error, what was sent, and the directory that lists them"


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [(0, 0, ""), (3, 3, ""), ("a sentence", 1, "a sentence"), (None, 0, ""), ("raise", 1, "ValueError: as asked")],
)
@pytest.mark.usefixtures("server")
def test_it_ends_as_a_program_does(directory, how, status, said):
    ended, printed = Asked(directory, "end", json.dumps(how)).end()
    assert ended == status
    assert said in printed


@pytest.mark.usefixtures("server")
def test_signals_reach_it_and_its_end_by_one_is_told(directory):
    asked = Asked(directory, "sleep")
    assert not asked.process.has_ended(0.1)
    asked.process.send_signal(signal.SIGTERM)
    assert asked.end()[0] == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_it_though_the_server_was_started_to_ignore_them(directory, server, number):
    server.kill()
    server.wait()
    deaf = subprocess.Popen([sys.executable, "-c", IGNORING, PROGRAM, directory], stdout=subprocess.DEVNULL)
    try:
        until(lambda: answers(directory))
        asked = Asked(directory, "sleep")
        asked.process.send_signal(number)
        assert asked.end()[0] not in {0, None}
    finally:
        deaf.kill()
        deaf.wait()


@pytest.mark.usefixtures("server")
def test_what_it_leaves_running_ends_with_it(directory):
    _, printed = Asked(directory, "leave_another").end()
    until(lambda: not psutil.pid_exists(int(printed)) or psutil.Process(int(printed)).status() == "zombie")


@pytest.mark.usefixtures("server")
def test_a_service_is_called_what_it_is_asked_for_and_shows_the_variables_of_the_server(directory):
    status, printed = Asked(directory, "lasting_tell", "a", "service", "of several words").end()
    told = json.loads(printed.splitlines()[0])
    assert status == 0
    assert told["arguments"] == ["service", "of several words"]
    assert " ".join(told["title"]).strip() == "a service of several words"
    assert "OF_THE_SERVER" not in told["environment"]
    assert told["begun_with"]["OF_THE_SERVER"] == "1"


@pytest.mark.usefixtures("server")
def test_what_a_service_leaves_running_goes_on(directory):
    asked = Asked(directory, "lasting_leave_another", "a service")
    left = psutil.Process(int(os.read(asked.out, 100)))
    assert asked.process.has_ended(30)
    assert asked.process.status() == 0
    assert left.is_running()
    left.kill()


@pytest.mark.usefixtures("server")
def test_what_is_loaded_later_keeps_nobody_waiting_and_is_there_for_those_that_come_then(directory):
    def loaded():
        return json.loads(Asked(directory, "tell").end()[1].splitlines()[0])["loaded"]

    assert loaded() == []
    (directory / "later").write_text("now")
    assert until(loaded) == ["something"]


@pytest.mark.usefixtures("server")
def test_many_run_at_once(directory):
    began = [Asked(directory, "tell", str(number)) for number in range(40)]
    told = [json.loads(one.end()[1].splitlines()[0]) for one in began]
    assert [one["arguments"] for one in told] == [[str(number)] for number in range(40)]
    assert len({one["pid"] for one in told}) == 40


def test_it_outlives_a_server_that_is_killed_whose_client_learns_its_end_without_a_status(directory, server):
    asked = Asked(directory, "sleep")
    server.kill()
    server.wait()
    assert not asked.process.has_ended(0.2)
    assert psutil.pid_exists(asked.process.pid)
    asked.process.send_signal(signal.SIGKILL)
    assert asked.end()[0] is None


def test_nothing_runs_without_a_server_or_where_one_was_killed(directory, server):
    server.kill()
    server.wait()
    assert Asked(directory, "tell").process is None
    assert Asked(directory.parent, "tell").process is None
    assert Asked(directory / "missing", "tell").process is None


def test_a_client_that_goes_before_the_answer_leaves_nothing_behind(directory, server, monkeypatch):
    server.send_signal(signal.SIGSTOP)  # as on a machine that has no time
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)
    assert Asked(directory, "sleep").process is None
    server.send_signal(signal.SIGCONT)
    monkeypatch.setattr(client, "ANSWER_SECONDS", 10)
    assert Asked(directory, "tell").end()[0] == 0
    until(lambda: not psutil.Process(server.pid).children())


@pytest.mark.parametrize(
    "sent", [b"", b"\n", b"[1]\n", b"{}\n", b"no JSON\n", b'{"target": "tell"}\n', b"\xff\xfe\n", b"x" * 3_000_000]
)
@pytest.mark.usefixtures("server")
def test_a_request_that_is_none_is_refused_and_the_next_one_is_served(directory, sent):
    with socket.socket(socket.AF_UNIX) as connection, address(directory) as path:
        connection.connect(path)
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
    assert Asked(directory, "tell").end()[0] == 0


@pytest.mark.usefixtures("server")
def test_what_is_not_offered_is_refused(directory):
    assert Asked(directory, "os.system").process is None


@pytest.mark.parametrize("name", ["POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "PYTHONPATH", "LD_PRELOAD"])
@pytest.mark.usefixtures("server")
def test_variables_that_libraries_read_as_they_are_loaded_need_a_process_of_its_own(directory, name):
    assert Asked(directory, "tell", environment={**os.environ, name: "1"}).process is None


def test_it_ends_for_its_reason_once_the_last_process_has_ended_and_takes_no_more(directory, server):
    asked = Asked(directory, "sleep")
    (directory / "end").write_text("new code")
    assert Asked(directory, "tell").process is None
    assert not answers(directory)
    assert server.poll() is None
    asked.process.send_signal(signal.SIGTERM)
    assert asked.end()[0] == -signal.SIGTERM
    assert server.communicate(timeout=30)[0].strip() == "ended: new code"


def test_it_does_not_wait_for_services_when_it_ends(directory, server):
    service = Asked(directory, "lasting_sleep", "a service")
    (directory / "end").write_text("new code")
    assert Asked(directory, "tell").process is None
    assert server.communicate(timeout=30)[0].strip() == "ended: new code"
    assert not service.process.has_ended(0.1)
    service.process.send_signal(signal.SIGTERM)
    assert service.end()[0] is None


def test_it_forks_no_more_once_another_thread_runs(directory, server):
    (directory / "thread").touch()
    until(lambda: Asked(directory, "tell").process is None)
    assert "threads have come up" in server.communicate(timeout=30)[0]


def test_a_program_with_threads_does_not_serve(directory):
    program = """
import sys, threading, time
from pathlib import Path
from lab_pipeline.forkserver.server import serve
threading.Thread(target=time.sleep, args=(60,), daemon=True, name="busy").start()
serve(Path(sys.argv[1]), {}, lambda: None)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, directory], check=False, capture_output=True, text=True, timeout=60
    )
    assert "busy" in done.stderr
    assert done.returncode == 1
    assert not (directory / SOCKET).exists()
