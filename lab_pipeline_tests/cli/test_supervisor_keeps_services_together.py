import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from lab_pipeline.cli import supervisor
from lab_pipeline.cli.supervisor import Service, Supervisor
from lab_pipeline.domain.errors import LabError
from lab_pipeline.forkserver.client import SOCKET

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def run(tmp_path, services, *, on_ready, said=None):
    Supervisor(dict(os.environ), tmp_path, (said if said is not None else []).append).run(services, on_ready)


def stop_soon():
    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()


def test_services_start_in_order_and_all_stop_on_a_signal(tmp_path):
    pids = tmp_path / "pids"
    code = "import os,sys,time; open(sys.argv[1],'a').write(f'{sys.argv[2]} {os.getpid()}\\n'); time.sleep(60)"

    def started(name):
        return pids.exists() and name in pids.read_text()

    order = [
        Service(name, [sys.executable, "-c", code, str(pids), name], ready=lambda name=name: started(name))
        for name in ("first", "second")
    ]
    run(tmp_path, order, on_ready=stop_soon)
    lines = [line.split() for line in pids.read_text().splitlines()]
    assert [name for name, _ in lines] == ["first", "second"]
    assert not any(alive(int(pid)) for _, pid in lines)


def test_a_service_that_dies_is_started_again(tmp_path):
    starts = tmp_path / "starts"
    code = f"import os,time; open({str(starts)!r},'a').write(f'{{os.getpid()}}\\n'); time.sleep(60)"
    said = []

    def kill_the_first():
        def act():
            os.kill(int(starts.read_text().split()[0]), signal.SIGKILL)
            while len(starts.read_text().split()) < 2:
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=act).start()

    run(
        tmp_path,
        [Service("one", [sys.executable, "-c", code], ready=starts.exists)],
        on_ready=kill_the_first,
        said=said,
    )
    assert said == ["one ended with status -9; starting it again"]


FORK_SERVER = """
import sys
from pathlib import Path
from lab_pipeline.forkserver.server import Offer, serve

def act(_):
    del sys.argv[:2]  # python -c
    exec(sys.argv[0])

serve(Path(sys.argv[1]), {"service": Offer("", act, lasts=True)}, lambda: None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs handles of processes")
def test_services_are_started_by_the_fork_server_outlive_it_and_are_watched_as_ever(tmp_path):
    starts, said = tmp_path / "starts", []
    code = "import os,sys,time; open(sys.argv[1],'a').write(f'{os.getppid()} {os.getpid()}\\n'); time.sleep(60)"
    first, second = (
        Service(name, [sys.executable, "-c", code, str(tmp_path / name)], (tmp_path / name).exists, forked_in=tmp_path)
        for name in ("first", "second")
    )
    server = Service("server", [sys.executable, "-c", FORK_SERVER, str(tmp_path)], (tmp_path / SOCKET).exists)

    def numbers(name):
        return [[int(word) for word in line.split()] for line in (tmp_path / name).read_text().splitlines()]

    def until(condition):
        while not condition():
            time.sleep(0.02)

    def kill_one_after_the_other():
        ((parent, first),), ((_, second),) = numbers("first"), numbers("second")
        starts.write_text(f"{parent}")
        os.kill(first, signal.SIGKILL)
        until(lambda: len(numbers("first")) == 2)
        os.kill(parent, signal.SIGKILL)
        until(lambda: len(said) == 2)
        assert alive(second)
        os.kill(second, signal.SIGKILL)
        until(lambda: len(numbers("second")) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    def on_ready():
        threading.Thread(target=kill_one_after_the_other).start()

    run(tmp_path, [server, first, second], on_ready=on_ready, said=said)
    assert said == [f"{name} ended with status -9; starting it again" for name in ("first", "server", "second")]
    parent = int(starts.read_text())
    assert [before for before, _ in numbers("first")] == [parent, parent]
    assert numbers("second")[0][0] == parent
    until(lambda: not any(alive(pid) for name in ("first", "second") for _, pid in numbers(name)))


def test_a_service_that_will_not_stay_up_stops_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.02)
    services = [
        Service("good", SLEEPER, ready=lambda: True),
        Service("bad", [sys.executable, "-c", "import sys; sys.exit('no')"], ready=lambda: True),
    ]
    with pytest.raises(LabError, match=r"bad dies again and again \(status 1\): see .*bad\.log"):
        run(tmp_path, services, on_ready=lambda: None)
    assert "no" in (tmp_path / "logs" / "bad.log").read_text()


def test_a_long_log_begins_anew_and_the_one_before_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "LOOK_AT_LOGS_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "LONGEST_LOG_BYTES", 10_000)
    log, older, done = tmp_path / "logs" / "one.log", tmp_path / "logs" / "one.log.1", tmp_path / "done"
    code = textwrap.dedent(f"""
        import pathlib, time
        for number in range(3000):
            print(number, "x" * 20, flush=True)
            time.sleep(0.0005)
        pathlib.Path({str(done)!r}).touch()
        time.sleep(60)
    """)

    def await_end():
        while not done.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    service = Service("one", [sys.executable, "-c", code], ready=lambda: True)
    run(tmp_path, [service], on_ready=threading.Thread(target=await_end).start)
    assert {path.name for path in log.parent.iterdir()} == {log.name, older.name}
    assert older.stat().st_size > 10_000
    assert log.stat().st_size + older.stat().st_size < 60_000  # of 80,000 bytes that were written
    numbers = [int(line.split()[0]) for line in (older.read_text() + log.read_text()).splitlines()]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 2999


def test_on_a_full_disk_a_service_is_tried_after_growing_pauses_until_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "SHORTEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_SECONDS", 0.4)
    starts, room = tmp_path / "starts", tmp_path / "room"
    monkeypatch.setattr(supervisor, "is_full", lambda _: not room.exists())
    code = (
        f"import sys,time; starts = open({str(starts)!r},'a'); starts.write(f'{{time.monotonic()}}\\n'); "
        f"starts.close(); import os; os.path.exists({str(room)!r}) or sys.exit(3); time.sleep(60)"
    )
    said, count = [], supervisor.RESTARTS_IN_A_ROW + 3

    def times():
        return [float(line) for line in starts.read_text().split()] if starts.exists() else []

    def make_room():
        while len(times()) < count:
            time.sleep(0.01)
        room.touch()
        while len(times()) == count:
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    service = Service("hungry", [sys.executable, "-c", code], ready=lambda: True)
    run(tmp_path, [service], on_ready=threading.Thread(target=make_room).start, said=said)
    told = [line for line in said if line.startswith("hungry ended with status 3 while the disk of ")]
    assert len(told) == 1
    assert f"{tmp_path} is full (" in told[0]
    assert said[0] == told[0]
    pauses = [later - before for before, later in zip(times(), times()[1:], strict=False)]
    assert pauses[0] >= 0.1
    assert min(pauses[2 : count - 1]) >= 0.4  # while it was full
    assert len(pauses) >= count


def test_a_log_that_the_disk_does_not_take_puts_the_start_off(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(supervisor, "SHORTEST_PAUSE_SECONDS", 0.05)
    starts, said, refused = [], [], []
    popen = subprocess.Popen

    def starting(*args, **options):
        if starts and len(refused) < 3:
            refused.append(1)
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "logs" / "one.log"))
        starts.append(popen(*args, **options))
        return starts[-1]

    monkeypatch.setattr(subprocess, "Popen", starting)

    def kill_the_first():
        starts[0].kill()
        while len(starts) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    service = Service("one", SLEEPER, ready=lambda: True)
    run(tmp_path, [service], on_ready=threading.Thread(target=kill_the_first).start, said=said)
    assert [line.partition(":")[0] for line in said] == [
        "one ended with status -9; starting it again",
        "one cannot be started",
    ]
    assert "one.log is full (" in said[1]
    assert len(refused) == 3


def test_a_service_that_ends_before_it_answers_is_an_error(tmp_path):
    with pytest.raises(LabError, match="gone ended with status 0"):
        run(tmp_path, [Service("gone", [sys.executable, "-c", ""], ready=lambda: False)], on_ready=lambda: None)


def test_a_service_that_is_killed_before_it_answers_is_started_again(tmp_path):
    starts = tmp_path / "starts"
    code = (
        f"import os,signal,time; starts = open({str(starts)!r},'a+'); starts.write('start\\n'); starts.flush(); "
        "starts.seek(0); len(starts.readlines()) < 3 and os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)"
    )
    said = []
    service = Service(
        "hit", [sys.executable, "-c", code], ready=lambda: starts.exists() and len(starts.read_text().split()) == 3
    )
    run(tmp_path, [service], on_ready=stop_soon, said=said)
    assert said == ["hit ended with status -9; starting it again"] * 2


def test_a_service_that_does_not_answer_in_time_is_an_error(tmp_path):
    with pytest.raises(LabError, match="slow did not answer"):
        run(tmp_path, [Service("slow", SLEEPER, ready=lambda: False, ready_within_seconds=0.3)], on_ready=lambda: None)


def test_a_service_that_ignores_the_request_to_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.3)
    flag = tmp_path / "armed"
    code = (
        "import signal,sys,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1],'w'); time.sleep(60)"
    )
    said = []
    run(
        tmp_path,
        [Service("deaf", [sys.executable, "-c", code, str(flag)], ready=flag.exists)],
        on_ready=stop_soon,
        said=said,
    )
    assert said == ["deaf does not stop; killing it"]


def test_a_second_lab_on_the_same_home_says_so(tmp_path):
    home = tmp_path / "home"
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from lab_pipeline.cli.up import only_one
        from lab_pipeline.settings import Settings
        lab = Settings(home=Path(sys.argv[1]))
        lab.dagster_home.mkdir(parents=True, exist_ok=True)
        with only_one(lab):
            print("held", flush=True)
            time.sleep(60)
    """)
    repository = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script, home], stdout=subprocess.PIPE, text=True, cwd=repository
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        second = subprocess.run(
            [sys.executable, "-c", script, home], capture_output=True, text=True, cwd=repository, check=False
        )
        assert f"is already up (process {holder.pid})" in second.stderr
        holder.kill()
    again = subprocess.Popen([sys.executable, "-c", script, home], stdout=subprocess.PIPE, text=True, cwd=repository)
    assert again.stdout.readline() == "held\n"
    again.kill()
    again.communicate()
