"""Dagster's run launcher of the lab: every run is a process of its own, whose life and death are known at once."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self

import dagster as dg

from lab_pipeline.dagster_ext import worker_locks
from lab_pipeline.dagster_ext.internals import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from lab_pipeline.dagster_ext.queue_signal import stir
from lab_pipeline.dagster_ext.reconcile import STORE_ERRORS, reconcile_dead
from lab_pipeline.dagster_ext.worker_locks import PARENT_PIPE, WORKER_TAG
from lab_pipeline.forkserver.client import Forked, fork
from lab_pipeline.settings import PRIVATE, load_settings
from lab_pipeline.storage.internals import ConfigurableClass, ConfigurableClassData, UserConfigSchema

KILLED_AFTER_SECONDS = worker_locks.GRACE_SECONDS + 1.0
"""After a request to stop; a process that can does it by itself before."""
ENDED_WITHIN_SECONDS = 3 * worker_locks.GRACE_SECONDS
"""For which a run that leaves the queue waits for the processes of runs that have ended, until it goes back."""
LOOK_SECONDS = 0.1
LINGER_LOOK_SECONDS = 0.02
"""A process takes so long, or a few times that, from the end of its run to its own."""
RECONCILE_AGAIN_SECONDS = 5.0
"""After which it is tried again to record an end that could not be recorded, such as on a full disk."""
FOREIGN = "whoever executes it was not started by this launcher, and has to be stopped where it was started."
logger = logging.getLogger(__name__)


class Process(Protocol):
    """The process of a run, however it was started: a `client.Forked`, or a `Spawned`."""

    @property
    def pid(self) -> int:
        """Its number."""

    def has_ended(self, within_seconds: float) -> bool:
        """Wait for its end, for so long, and tell whether it came."""

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""

    def status(self) -> int | None:
        """End what it has left running, and return its exit status, negative for a signal; None if nobody knows it."""


class Spawned:
    """A process that this one started, as the leader of a session."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def has_ended(self, within_seconds: float) -> bool:
        """Wait for its end, for so long, and tell whether it came."""
        deadline = time.monotonic() + within_seconds
        while not (ended := os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)):
            if time.monotonic() > deadline:
                break
            time.sleep(LOOK_SECONDS)
        return ended is not None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def status(self) -> int:
        """End what it has left running, and return its exit status, negative for a signal."""
        with suppress(ProcessLookupError):  # it is not collected yet, so that its number is still its own
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()


class LabRunLauncher(RunLauncher, ConfigurableClass):
    """Start a process for each run, on the machine of the daemon.

    Dagster's default launcher lets the code server start the runs and forgets them with it: a run whose code server
    was killed together with it stays "started" for ever. This one needs no code server, notices the end of a process
    at once, and can tell after any crash which runs have no process any more (`workers`).

    Where a fork server is at work (`forking`) it starts the process, else this launcher does: which of the two makes
    no difference but for the seconds that loading takes.

    The queue counts runs, not processes: the place of a run that was failed or canceled over the head of its process
    is free to it at once. So nothing is started while the process of a run lives that has ended, and what does not end
    by itself is killed. Dagster's own timeouts for runs that start or stop have no part in it, and are as good as off;
    `reconcile` has ones that know of processes. Put this into the ``dagster.yaml`` of the instance:

    .. code-block:: YAML

        run_launcher:
          module: lab_pipeline.dagster_ext.run_launcher
          class: LabRunLauncher

        run_monitoring:
          enabled: true
          start_timeout_seconds: 2147483647
          cancel_timeout_seconds: 2147483647
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self._children: set[str] = set()
        super().__init__()  # type: ignore[no-untyped-call]  # Dagster's

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The configuration this object was made from."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Describe the ``config`` block of dagster.yaml: there is none."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Build the launcher from a validated ``config`` block."""
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the process of a run, once no process lives whose run has ended; put it back into the queue else."""
        instance: dg.DagsterInstance = self._instance
        run = context.dagster_run
        lock = worker_locks.take(self._workers, run.run_id)
        process: Process | None = None
        try:
            instance.add_run_tags(run.run_id, {WORKER_TAG: run.run_id})
            lingering = self._end_lingering(run.run_id)
            if worker_locks.was_canceled(instance, run.run_id):
                instance.report_run_canceled(run, message="Canceled while it left the queue.")
            elif lingering:
                whose = ", ".join(lingering)
                instance.report_engine_event(f"Back into the queue: the processes of ended runs go on: {whose}.", run)
                instance.report_dagster_event(dg.DagsterEvent.job_enqueue(run), run_id=run.run_id)
            else:
                process = self._start(run.run_id, lock)
        finally:
            if process is None:
                worker_locks.give_up(self._workers, run.run_id, lock)
            else:
                os.close(lock)  # the process has it
        if process is not None:
            threading.Thread(target=self._await, args=(instance, run.run_id, process), daemon=True).start()

    def terminate(self, run_id: str) -> bool:
        """Ask the process of a run to stop; a run without one is canceled on the spot.

        One that others started is left as it is, since it would go on: this returns False, and its log says so. In the
        daemon, which also fails what runs for longer than it may, this waits until the process is gone.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if run.status is dg.DagsterRunStatus.STARTED and worker_locks.worker_of(run) is None:
            self._instance.report_engine_event(f"Not canceled: {FOREIGN}", run)
            return False
        self._instance.report_run_canceling(run)
        if not worker_locks.request_stop(self._workers, worker_locks.worker_of(run) or run_id):
            self._instance.report_run_canceled(run, message="It had no process.")
        deadline = time.monotonic() + KILLED_AFTER_SECONDS + worker_locks.GRACE_SECONDS
        while run_id in self._children and worker_locks.is_alive(self._workers, run_id) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Tell Dagster's monitor that it may ask."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether the process of a run lives; of a run that others execute nothing is known, so nothing bad."""
        name = worker_locks.worker_of(run)
        if name is None or run.run_id in self._children or worker_locks.is_alive(self._workers, name):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "the process that ran it is gone")

    @property
    def _workers(self) -> Path:
        return worker_locks.workers_dir(Path(self._instance.root_directory))

    def _start(self, run_id: str, lock: int) -> Process:
        process = self._forked(run_id, lock) or self._spawned(run_id, lock)
        self._children.add(run_id)
        worker_locks.sign(lock, process.pid)
        return process

    def _forked(self, run_id: str, lock: int) -> Forked | None:
        home = self._instance.root_directory
        with Path(os.devnull).open() as nothing:
            descriptors = [nothing.fileno(), 1, 2, lock]
            return fork(Path(home), "run", [run_id], {**os.environ, "DAGSTER_HOME": home}, descriptors)

    def _spawned(self, run_id: str, lock: int) -> Spawned:
        parent_pipe = os.environ.get(PARENT_PIPE)
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "lab_pipeline.dagster_ext.run_worker", run_id, str(lock)],
            env={**os.environ, "DAGSTER_HOME": self._instance.root_directory},
            stdin=subprocess.DEVNULL,
            pass_fds=[lock, *([int(parent_pipe)] if parent_pipe else [])],
            start_new_session=True,  # what stops the daemon must not stop its runs
            umask=PRIVATE,
        )
        return Spawned(process)

    def _end_lingering(self, starting: str) -> list[str]:
        """Wait for processes of runs that have ended; stop, then kill, what goes on. Return the runs that still do."""
        began = time.monotonic()
        while lingering := self._lingering(starting):
            waited = time.monotonic() - began
            if waited > ENDED_WITHIN_SECONDS:
                break
            for run_id in lingering if waited > worker_locks.GRACE_SECONDS else ():
                worker_locks.request_stop(self._workers, run_id)
                if waited > 2 * worker_locks.GRACE_SECONDS:
                    worker_locks.kill(self._workers, run_id)
            time.sleep(LINGER_LOOK_SECONDS if waited < 1.0 else LOOK_SECONDS)
        return lingering

    def _lingering(self, starting: str) -> list[str]:
        names = [name for name in worker_locks.living(self._workers) if not name.startswith(worker_locks.FOREGROUND)]
        names = [name for name in names if name != starting]
        runs = self._instance.get_runs(dg.RunsFilter(run_ids=names)) if names else []
        goes_on = {run.run_id for run in runs if not run.is_finished}
        return [name for name in names if name not in goes_on]

    def _await(self, instance: dg.DagsterInstance, run_id: str, process: Process) -> None:
        status = _end(process, lambda: worker_locks.stop_requested_at(self._workers, run_id) is not None)
        if status is None:
            how = "is gone, and so is the fork server that started it,"
        else:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        stir(Path(instance.root_directory))
        _reconcile(instance, run_id, how)
        self._children.discard(run_id)


def _reconcile(instance: dg.DagsterInstance, run_id: str, how: str) -> None:
    """Try again until no store fails, such as on a full disk: nobody comes back to this run otherwise."""
    while True:
        try:
            reconcile_dead(instance, load_settings(), {run_id: how})
        except STORE_ERRORS as error:
            logger.warning("the end of run %s is recorded later: %s", run_id, error)
            time.sleep(RECONCILE_AGAIN_SECONDS)
        else:
            return


def _end(process: Process, is_to_stop: Callable[[], bool]) -> int | None:
    """Wait for the end of a run's process, and return its status.

    One that is to stop, and cannot hear of it, such as while it is still being loaded, is killed.
    """
    kill_at = None
    while not process.has_ended(LOOK_SECONDS):
        if kill_at is None and is_to_stop():
            kill_at = time.monotonic() + KILLED_AFTER_SECONDS
        if kill_at is not None and time.monotonic() > kill_at:
            process.send_signal(signal.SIGKILL)
    return process.status()
