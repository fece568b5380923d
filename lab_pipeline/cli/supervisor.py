"""Several processes as one: started in order, restarted when they die, stopped together."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lab_pipeline.cli import pdeathsig
from lab_pipeline.cli.stop_signal import StopSignal
from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.disk_errors import disk_error, full_disk, is_full
from lab_pipeline.forkserver.client import Forked, fork

POLL_SECONDS = 0.2
STOP_SECONDS = 15.0
RESTARTS_IN_A_ROW = 3
HEALTHY_SECONDS = 30.0
SHORTEST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
LONGEST_LOG_BYTES = 16 * 2**20
"""Of a service's log; what is older is in a second file beside it, and what is older than that is gone."""
LOOK_AT_LOGS_SECONDS = 10.0
FORKED_WITHIN_SECONDS = 30.0
"""How long a service waits for a busy fork server; if it starts by itself, it takes more memory for good."""
UNKNOWN = -signal.SIGKILL
"""The status of a service that outlived the fork server, which alone could tell it: as if it had been killed."""
PARENT_PIPE = "LAB_PARENT_PIPE"
"""Tells services, and what they start, the descriptor of a pipe that ends when the supervisor does."""


@dataclass(frozen=True)
class Service:
    """A process to keep running.

    Attributes:
        name: also the name of its log file, if it has one.
        command: program and arguments.
        ready: says whether it answers; the next service is started once it does.
        forked_in: the directory of a fork server that has loaded what it needs; without one, it starts by itself.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]
    ready_within_seconds: float = 120.0
    forked_in: Path | None = None


class _Warm:
    """A service that a fork server started, with what of a `Popen` is needed."""

    def __init__(self, process: Forked) -> None:
        self._process = process
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None and self._process.has_ended(0.0):
            status = self._process.status()
            self._status = UNKNOWN if status is None else status
        return self._status

    def wait(self, timeout: float | None = None) -> int | None:
        if self._status is None and not self._process.has_ended(timeout):
            raise subprocess.TimeoutExpired("a service", timeout or 0.0)
        return self.poll()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@dataclass
class _Running:
    """A service and its process.

    Attributes:
        quick_deaths: how often in a row it ended soon after its start, for no reason that is known.
        pause_seconds: before its next start, if it ended on a full disk; 0 if it did not.
        again_at: when that is, by the machine's own count; None while it is not put off.
    """

    service: Service
    process: subprocess.Popen[bytes] | _Warm
    log: IO[bytes]
    started: float = field(default_factory=time.monotonic)
    quick_deaths: int = 0
    pause_seconds: float = 0.0
    again_at: float | None = None


class Supervisor:
    """Runs services until it is stopped: by Ctrl-C, by SIGTERM, or by the end of its terminal.

    If it is killed itself, its services are killed with it (`pdeathsig`); what these have started for others learns of
    it by the end of a pipe.
    """

    def __init__(
        self, environment: Mapping[str, str], home: Path, say: Callable[[str], None], *, log_to_files: bool = True
    ) -> None:
        """Prepare to run services.

        Args:
            environment: of the services.
            home: their directory, on the disk that must not be full.
            say: receives each line about what happens to them.
            log_to_files: whether what they print goes to files in `home`/logs; else it goes where this process prints.
        """
        self._environment = environment
        self._home = home
        self._logs = home / "logs" if log_to_files else None
        self._say = say
        self._stop = StopSignal()
        self._running: list[_Running] = []
        self._look_at_logs_at = 0.0
        self._parent_pipe, self._end_of_parent_pipe = os.pipe()

    def run(
        self,
        services: Sequence[Service],
        on_ready: Callable[[], None],
    ) -> None:
        """Start the services in order, call `on_ready`, and watch them until a signal comes; then stop them all.

        Args:
            services: in the order of their start.
            on_ready: called once all of them answer.

        Raises:
            LabError: if one does not start, or dies again and again; all are stopped then. Not while the disk of
                the logs is full: services are started again after pauses until they stay up.
        """
        before = {
            number: signal.signal(number, self._stop.handle)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            for service in services:
                self._running.append(self._start(service))
                self._await_last()
            if not self._stop.is_set():
                on_ready()
            while not self._stop.wait(POLL_SECONDS):
                self._running = [self._watched(running) for running in self._running]
                self._shorten_logs()
        finally:
            self._end(self._running)
            os.close(self._end_of_parent_pipe)
            os.close(self._parent_pipe)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, service: Service) -> _Running:
        log = self._log(service)
        try:
            return _Running(service, self._forked(service, log) or self._spawned(service, log), log)
        except OSError:
            log.close()
            raise

    def _forked(self, service: Service, log: IO[bytes]) -> _Warm | None:
        if service.forked_in is None:
            return None
        with Path(os.devnull).open() as nothing:
            descriptors = [nothing.fileno(), log.fileno(), log.fileno(), self._parent_pipe]
            process = fork(
                service.forked_in,
                "service",
                service.command,
                self._environment,
                descriptors,
                within_seconds=FORKED_WITHIN_SECONDS,
            )
        return None if process is None else _Warm(process)

    def _spawned(self, service: Service, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own commands
            [sys.executable, "-S", pdeathsig.__file__, str(os.getpid()), *service.command],
            env={**self._environment, PARENT_PIPE: str(self._parent_pipe)},
            pass_fds=[self._parent_pipe],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that Ctrl-C reaches this process alone and the order of the end is ours
        )

    def _log(self, service: Service) -> IO[bytes]:
        if self._logs is None:
            return os.fdopen(os.dup(1), "wb")  # standard output, of this process in fact
        self._logs.mkdir(parents=True, exist_ok=True)
        return (self._logs / f"{service.name}.log").open("ab")

    def _where(self, running: _Running) -> str:
        return "see its own lines above" if self._logs is None else f"see {running.log.name}"

    def _await_last(self) -> None:
        """Wait until the service that was started last answers.

        One that something killed meanwhile is started again; one that ended by itself would only do so again.
        """
        service = self._running[-1].service
        deadline = time.monotonic() + service.ready_within_seconds
        while not self._stop.is_set() and not service.ready():
            running = self._running[-1]
            status = running.process.poll()
            if status is not None and status >= 0:
                raise LabError(f"{service.name} ended with status {status}: {self._where(running)}")
            if time.monotonic() > deadline:
                raise LabError(
                    f"{service.name} did not answer in {service.ready_within_seconds:.0f} s: {self._where(running)}"
                )
            self._running = [self._watched(running) for running in self._running]
            self._stop.wait(POLL_SECONDS)

    def _watched(self, running: _Running) -> _Running:
        status = running.process.poll()
        if status is None:
            return running
        quick = time.monotonic() - running.started < HEALTHY_SECONDS
        if running.again_at is not None:
            return running if time.monotonic() < running.again_at else self._started_again(running)
        if is_full(self._home):
            said = f"ended with status {status} while {full_disk(self._home)}"
            return self._put_off(running, said, running.pause_seconds if quick else 0.0)
        deaths = running.quick_deaths + 1 if quick else 1
        if deaths > RESTARTS_IN_A_ROW:
            raise LabError(f"{running.service.name} dies again and again (status {status}): {self._where(running)}")
        self._say(f"{running.service.name} ended with status {status}; starting it again")
        again = self._started_again(running)
        again.quick_deaths = deaths
        return again

    def _started_again(self, running: _Running) -> _Running:
        """Start a service again; later, if the disk does not take its log."""
        try:
            again = self._start(running.service)
        except OSError as error:
            said = disk_error(error, self._home)
            if said is None:
                raise
            return self._put_off(running, f"cannot be started: {said}", running.pause_seconds)
        running.log.close()
        again.pause_seconds = running.pause_seconds
        return again

    def _put_off(self, running: _Running, said: str, paused_seconds: float) -> _Running:
        """Leave a service down for a pause, longer than the one before; say why at the first of them."""
        if not paused_seconds:
            self._say(f"{running.service.name} {said}; until it stays up it is started again, after pauses")
        running.pause_seconds = min(max(SHORTEST_PAUSE_SECONDS, 2 * paused_seconds), LONGEST_PAUSE_SECONDS)
        running.again_at = time.monotonic() + running.pause_seconds
        return running

    def _shorten_logs(self) -> None:
        """Truncate the logs that have become long, in place, since services and their runs have them open."""
        if self._logs is None or time.monotonic() < self._look_at_logs_at or is_full(self._home):
            return
        self._look_at_logs_at = time.monotonic() + LOOK_AT_LOGS_SECONDS
        for running in self._running:
            log = Path(running.log.name)
            if os.fstat(running.log.fileno()).st_size > LONGEST_LOG_BYTES and log.exists():
                shutil.copyfile(log, log.with_name(f"{log.name}.1"))
                os.ftruncate(running.log.fileno(), 0)  # all write at its end, wherever that is

    def _end(self, services: Sequence[_Running]) -> None:
        """Ask them to stop, in reverse order; then kill."""
        for running in reversed(services):
            running.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for running in reversed(services):
            try:
                running.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._say(f"{running.service.name} does not stop; killing it")
                running.process.kill()
                running.process.wait()
            running.log.close()
