"""Put backtests and sweeps into Dagster's queue."""

import time
import uuid
from collections.abc import Mapping

import dagster as dg

from lab_pipeline.dagster_ext.graphql import DagsterDownError, Webserver
from lab_pipeline.dagster_ext.reconcile import STORE_ERRORS
from lab_pipeline.domain.errors import ConflictError, LabError
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.runs import Runs
from lab_pipeline.operations.sweep_config import fields_of
from lab_pipeline.runs.idempotency import IdempotencyKeys, LaunchUnknownError, Reservation
from lab_pipeline.runs.tags import (
    BACKTEST_JOB,
    FINGERPRINT_TAG,
    RESULT_TAG,
    SWEEP_JOB,
    SWEEP_OP,
    run_config,
    search_tags,
    status_of,
)
from lab_pipeline.sweeps.spec import SweepSpec

LAUNCH_TAG = ".dagster/lab_launch"
"""Tells the run of one request from all others, where its answer was lost; Dagster shows no tag that begins so."""
IDEMPOTENCY_TAG = "lab/idempotency_key"
ROOT_TAG = "dagster/root_run_id"
OWN_TAGS = {FINGERPRINT_TAG, RESULT_TAG, IDEMPOTENCY_TAG, LAUNCH_TAG}
OLDER_TAGS = ".lab/"
"""How the lab's own tags began once; runs of then still have them."""
DAGSTER_TAGS_KEPT = {"dagster/priority"}

LOST_ANSWER_SECONDS = 5.0
CUT_OFF_SECONDS = 20.0
"""After which an interrupted launch for which there is no run is assumed never to have reached Dagster."""
LOOK_AGAIN_SECONDS = 0.25


class QueueFullError(LabError):
    """As many runs as allowed are waiting."""


class Launcher:
    """Starts backtests and sweeps through the webserver, at most once each."""

    def __init__(self, runs: Runs, webserver: Webserver, keys: IdempotencyKeys, max_queued: int) -> None:
        self._runs = runs
        self._webserver = webserver
        self._keys = keys
        self._max_queued = max_queued

    def backtest(self, config: BacktestConfig, *, key: str | None = None, request: bytes = b"") -> str:
        """Queue a backtest and return its run id.

        Args:
            config: checked, with a version.
            key: of which there is at most one run, whatever breaks on the way.
            request: canonical bytes of what the client asked for, which a key stands for.

        Raises:
            QueueFullError: if no more may wait.
            ConflictError: if the key was used for another request.
            DagsterDownError: if it cannot be queued now; nothing was.
            LaunchUnknownError: if it is not known whether it was; the same key finds out.
        """
        return self._once(BACKTEST_JOB, run_config(config.fields()), search_tags(config.fields()), key, request)

    def sweep(self, spec: SweepSpec, *, key: str | None = None, request: bytes = b"") -> str:
        """Queue a sweep and return its run id, which is that of the sweep; arguments and errors as of `backtest`.

        Args:
            spec: what to sweep.
            key: of which there is at most one run.
            request: canonical bytes of what the client asked for.
        """
        fields = fields_of(spec)
        return self._once(SWEEP_JOB, run_config(fields, op=SWEEP_OP), search_tags(fields), key, request)

    def resume(self, run: dg.DagsterRun) -> str:
        """Queue a sweep again that was canceled or has failed, and return the new run's id.

        What it has of its parts is found again.

        Raises:
            ConflictError: if it is not done yet, or has published.
            QueueFullError, DagsterDownError, LaunchUnknownError: as for a new one.
        """
        if not run.is_finished or run.is_success:
            status = status_of(run.status.value)
            raise ConflictError(f"sweep {run.run_id} is {status}: only one that has failed or was canceled is resumed")
        tags = {key: value for key, value in run.tags.items() if _is_inherited(key)}
        return self._launch(SWEEP_JOB, run.run_config, tags, parent=(run.run_id, run.root_run_id or run.run_id))

    def retry(self, run_id: str) -> str:
        """Queue the same backtest again, with the version that it ran with, and return the new run's id.

        Raises:
            UnknownRunError: if there is no such run.
            ConflictError: if it is not done yet.
            QueueFullError, DagsterDownError, LaunchUnknownError: as for a new one.
        """
        run = self._runs.get(run_id)
        if not run.finished:
            raise ConflictError(f"run {run_id} is {run.status}: only a finished run can be retried")
        config = dict(run.asked)
        if run.strategy_version is not None:
            config["strategy_version"] = run.strategy_version
        if run.timeframe is not None:  # which a partition does not say
            config.setdefault("timeframe", run.timeframe)
        tags = {key: value for key, value in run.tags.items() if _is_inherited(key)}
        execution = run.dagster_run.run_config.get("execution")
        asked = run_config(config) | ({"execution": execution} if execution else {})
        return self._launch(BACKTEST_JOB, asked, tags, parent=(run_id, run.tags.get(ROOT_TAG, run_id)))

    def _once(
        self, job: str, asked: Mapping[str, object], tags: Mapping[str, str], key: str | None, request: bytes
    ) -> str:
        if key is None:
            return self._launch(job, asked, tags)

        def launch(cut_off: Reservation | None) -> str:
            found = self._what_became(key, cut_off)
            return found or self._launch(job, asked, {**tags, IDEMPOTENCY_TAG: key})

        return self._keys.once(key, request, launch)

    def _launch(
        self,
        job: str,
        asked: Mapping[str, object],
        tags: Mapping[str, str],
        parent: tuple[str, str] | None = None,
    ) -> str:
        if (waiting := self._runs.waiting()) >= self._max_queued:
            raise QueueFullError(f"{waiting:,} runs wait already, and LAB_MAX_QUEUED is {self._max_queued:,}")
        mark = uuid.uuid4().hex
        try:
            return self._webserver.launch(job, asked, {**tags, LAUNCH_TAG: mark}, parent=parent)
        except LaunchUnknownError:
            found = self._await(LAUNCH_TAG, mark, LOST_ANSWER_SECONDS)
            if found is None:
                raise
            return found
        except DagsterDownError as error:
            found = self._recorded(mark, error)
            if found is None:
                raise
            return found

    def _recorded(self, mark: str, error: DagsterDownError) -> str | None:
        """Find the run that Dagster recorded before it failed over it, as on a full disk; the lab queues it later."""
        try:
            return self._await(LAUNCH_TAG, mark, 0.0)
        except STORE_ERRORS as unreachable:
            raise LaunchUnknownError(f"{error}; whether it recorded the run is unknown: {unreachable}") from unreachable

    def _what_became(self, key: str, cut_off: Reservation | None) -> str | None:
        """Find the run of a launch whose process died, giving Dagster the time to come to it."""
        if cut_off is None:
            return None
        rest = CUT_OFF_SECONDS - max(0.0, cut_off.age.total_seconds())  # below zero if the clock was set back
        return self._await(IDEMPOTENCY_TAG, key, max(0.0, rest))

    def _await(self, tag: str, value: str, seconds: float) -> str | None:
        """Return the newest run that has a tag, giving it time to be recorded."""
        deadline = time.monotonic() + seconds
        while (found := self._runs.tagged(tag, value)) is None and time.monotonic() < deadline:
            time.sleep(LOOK_AGAIN_SECONDS)
        return found


def _is_inherited(tag: str) -> bool:
    if tag in OWN_TAGS:
        return False
    return tag in DAGSTER_TAGS_KEPT or not tag.startswith(("dagster/", ".dagster/", OLDER_TAGS))
