"""A lab whose processes are killed at random while somebody uses it."""

import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx
import tenacity

from lab_pipeline.client import ApiError, Client
from lab_pipeline.domain.errors import LabError
from lab_pipeline_tests.support.processes import of_home

PROGRAM = Path(sys.executable).parent / "lab"
PAUSE_SECONDS = (1.0, 20.0)
"""Between two kills."""
WHILE_IT_STARTS = 0.25
"""How often a kill that falls into the start of the lab is carried out; were it always, it would never be up."""
ALL_AT_ONCE = 0.03
"""How often it is not one process that is killed, but all of them, as by a power cut."""
PATIENCE_SECONDS = 180
"""For which a client asks again while a lab that was killed comes back."""
COME_BACK = {429, 503}

KINDS = {
    "lab up": "/lab up ",
    "code server": " lab_pipeline.dagster_ext.code_server ",
    "webserver": "/lab webserver ",
    "daemon": " lab_pipeline.dagster_ext.daemon ",
    "api": "/lab api ",
    "run": "dagster_ext.run_worker",
    "clickhouse": "clickhouse.gateway",
}
"""What the processes of a lab are, by words of their command lines; all others are `helper`."""
RUN, HELPER = "run", "helper"
LIKELY = {RUN: 4.0, "lab up": 0.4}
"""How much more likely a kind is hit than others; the end of `lab up` is the end of all but runs and ClickHouse."""

log = logging.getLogger("soak")


class AbusedLab:
    """`lab up` on a home, at ports that stay the same, started again by a thread whenever it has ended."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home = home
        self.kills: Counter[str] = Counter()
        self.starts = 0
        self._random = random.Random(seed)  # noqa: S311 - chooses victims
        self._environment = {
            **os.environ,
            "LAB_HOME": str(home),
            "LAB_PORT": _free_port(),
            "LAB_API_PORT": _free_port(),
        }
        self._up: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()
        self._peace = threading.Event()
        self._keeper = threading.Thread(target=self._keep_up)
        self._killer = threading.Thread(target=self._kill_at_random)
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self._environment['LAB_API_PORT']}", timeout=30)
        self._client = Client(http=self._http)

    def start(self) -> None:
        self._keeper.start()
        self.ask("GET", "/runs")
        self._killer.start()

    def make_peace(self) -> None:
        """Kill nothing any more."""
        self._peace.set()
        self._killer.join()

    def ask(self, method: str, path: str, **request: object) -> dict:
        """Send a request until it is answered, as a client does that is asked to come back; refusals are raised."""
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
            wait=tenacity.wait_random(0.2, 1.0),
            retry=tenacity.retry_if_exception(_passes),
            before_sleep=tenacity.before_sleep_log(log, logging.INFO),
            reraise=True,
        )
        return retrying(lambda: self._client.send(method, path, **request).json())

    def stop(self) -> int:
        """End the lab as its user does, and return its exit status."""
        self._ending.set()
        self._peace.set()
        for thread in (self._keeper, self._killer):
            if thread.ident is not None:
                thread.join()
        self._http.close()
        if self._up is None:
            return 0
        if self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
        return self._up.wait(90)

    def processes(self) -> dict[int, str]:
        """Return what belongs to this home and lives, by process id."""
        return {
            pid: next((kind for kind, words in KINDS.items() if words in command), HELPER)
            for pid, command in of_home(self.home).items()
        }

    def memory(self) -> dict[str, int]:
        """Return the resident bytes of what lives long, by kind."""
        used: Counter[str] = Counter()
        for pid, kind in self.processes().items():
            if kind in {RUN, HELPER}:
                continue
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            used[kind] += sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
        return dict(used)

    def _keep_up(self) -> None:
        while not self._ending.wait(0.2):
            if self._up is None or self._up.poll() is not None:
                with (self.home / "up.log").open("ab") as output:
                    self._up = subprocess.Popen(
                        [PROGRAM, "up"], env=self._environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
                    )
                self.starts += 1

    def _kill_at_random(self) -> None:
        while not self._peace.wait(self._random.uniform(*PAUSE_SECONDS)):
            if not self._listens() and self._random.random() > WHILE_IT_STARTS:
                continue
            everything = self._random.random() < ALL_AT_ONCE
            alive = self.processes()
            if not alive:
                continue
            kinds = sorted(set(alive.values()))
            (kind,) = self._random.choices(kinds, [LIKELY.get(kind, 1.0) for kind in kinds])
            of_kind = [pid for pid, its in sorted(alive.items()) if its == kind]
            for pid in alive if everything else [self._random.choice(of_kind)]:
                _kill(pid)
            self.kills["everything" if everything else kind] += 1

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self._environment["LAB_API_PORT"]))) == 0


def _passes(error: BaseException) -> bool:
    """Return whether asking again can help."""
    return error.status in COME_BACK if isinstance(error, ApiError) else isinstance(error, LabError)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("process %d ended by itself", pid)


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
