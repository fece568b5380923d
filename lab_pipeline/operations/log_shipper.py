"""The log shipper: tails Dagster's event log into ClickHouse.

What has been shipped is known from ClickHouse alone: the newest line of each run that is there, and a seal on the
logs that are complete. So there is no state to lose: a shipper that is killed, or whose ClickHouse was away, emptied
or replaced, goes on where the rows end when it is started again. A line is known by its run and its number in the
event log; one that is sent twice, even by two shippers, counts once.
"""

import logging
import math
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any, Protocol

import dagster as dg
import polars as pl
from sqlalchemy.exc import SQLAlchemyError

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.errors import ClickHouseError
from lab_pipeline.clickhouse.logs import LOG_LINES, append_lines, last_lines, seal_logs, sealed_runs
from lab_pipeline.clickhouse.writer import delete_run
from lab_pipeline.dagster_ext.event_lines import line_of
from lab_pipeline.dagster_ext.internals import DagsterEventLogInvalidForRun, EventLogCursor
from lab_pipeline.files.locks import try_lock
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import Settings
from lab_pipeline.storage.run_storage import DuckDBRunStorage

RUNNING = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]

TICK_SECONDS = 1.0
PASS_SECONDS = 2.0
"""After which a pass looks for what is new before it goes on with what is old."""
PAGE_LINES = 500
BATCH_LINES = 5_000
BATCH_CHARACTERS = 8 << 20
GRACE_SECONDS = 15.0
"""For events that come after a run's final one: its process ends, a monitor adds another."""
OVERLAP = timedelta(seconds=10)
"""By which updates of runs are looked for again: a clock may be late, a transaction slow."""
SEEN_BY_ANY = timedelta(days=1)
"""After which a shipper that was at work has shipped what an updated run had."""
LONGEST_PAUSE_SECONDS = 5.0
STOPPED_WITHIN_SECONDS = 10.0
"""A write to ClickHouse is given up sooner; what it was about is shipped again."""
COUNTED_RUNS = 1_000
LOCK = "shipper.lock"

logger = logging.getLogger("lab_pipeline.shipper")


class Stop(Protocol):
    """When to end: an Event, or what signals set."""

    def is_set(self) -> bool:
        """Return whether it is time."""

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds, or until it is time; return whether it is."""


@dataclass(frozen=True)
class Backlog:
    """What has not arrived yet.

    Attributes:
        runs: with lines that wait, or that are under way.
        lines: that wait; of the first 1,000 runs where there are more.
        oldest: when the first of these lines was written, seconds since 1970; None if none waits.
    """

    runs: int
    lines: int
    oldest: float | None = None


@dataclass
class _Shipment:
    lines: list[dict[str, Any]] = field(default_factory=list)
    characters: int = 0
    read_to: dict[str, int] = field(default_factory=dict)
    """Number of the last line read of each run."""

    @property
    def full(self) -> bool:
        return len(self.lines) >= BATCH_LINES or self.characters >= BATCH_CHARACTERS


class Shipper:
    """Ships the event logs of all runs of an instance, pass by pass."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse
        self._shipped: dict[str, int] = {}
        """Number of the last line that has arrived, of runs that may have more."""
        self._waiting: dict[str, float] = {}
        """Runs to look at that are not running, and until when (monotonic) they are not sealed."""
        self._unreadable: set[str] = set()
        self._looked: tuple[datetime, float] | None = None
        """When runs were last looked for, by the clock and by the machine's own count."""
        self._behind = True
        self._rested_at: tuple[int, ...] | None = None
        """State of the record of runs at the last look, if nothing was to ship: nothing will be until it is another."""

    @property
    def behind(self) -> bool:
        """Whether the last pass left lines behind that it knew of."""
        return self._behind

    def ship(self, instance: dg.DagsterInstance, seconds: float = PASS_SECONDS) -> int:
        """Make a pass over what is new and then, while time permits, over what is old; return the lines sent.

        Raises:
            ClickHouseUnavailableError: if ClickHouse does not answer; nothing is lost, ship again later.
        """
        deadline = time.monotonic() + seconds
        state = _state(instance)
        if state is not None and state == self._rested_at:
            return 0
        running = self._look(instance)
        self._rested_at = None if running or self._waiting else state
        old = [run_id for run_id in self._waiting if run_id not in running]
        sent, looked = 0, 0
        unfinished: list[str] = []
        for chunk in _chunks(old) or [[]]:
            lines, more = self._ship_runs(instance, [*running, *chunk], deadline)
            sent += lines
            looked += len(chunk)
            unfinished += more
            running = []
            if time.monotonic() > deadline:
                break
        self._seal(instance, [run_id for run_id in old[:looked] if run_id not in unfinished])
        for run_id in unfinished:  # to the end of the line
            if run_id in self._waiting:
                self._waiting[run_id] = self._waiting.pop(run_id)
        self._behind = bool(unfinished) or looked < len(old)
        return sent

    def _look(self, instance: dg.DagsterInstance) -> list[str]:
        """Take note of runs that are new or changed, and return those that are running."""
        now, count = datetime.now(UTC), time.monotonic()
        if self._looked is None:
            self._waiting |= dict.fromkeys(_open_runs(instance, self._clickhouse, now), 0.0)
        else:
            changed = instance.get_run_ids(_updated_since(*self._looked, now, count))
            self._waiting |= dict.fromkeys(changed, count + GRACE_SECONDS)
        running = instance.get_run_ids(dg.RunsFilter(statuses=RUNNING))
        self._looked = now, count
        return list(running)

    def _ship_runs(
        self, instance: dg.DagsterInstance, run_ids: list[str], deadline: float = math.inf
    ) -> tuple[int, list[str]]:
        """Ship lines of these runs, a page of each in turn, so that a long log keeps no other waiting.

        Returns the lines sent and the runs that had more at the deadline.
        """
        unknown = [run_id for run_id in run_ids if run_id not in self._shipped]
        self._shipped |= dict.fromkeys(unknown, 0) | last_lines(self._clickhouse, unknown)
        sent, batch, turn = 0, _Shipment(), run_ids
        while turn:
            again = []
            for run_id in turn:
                if self._read_page(instance, run_id, batch):
                    again.append(run_id)
                if batch.full:
                    sent += self._send(batch)
                    batch = _Shipment()
            turn = again
            if time.monotonic() > deadline:
                break
        return sent + self._send(batch), turn

    def _read_page(self, instance: dg.DagsterInstance, run_id: str, batch: _Shipment) -> bool:
        """Read the next page of a run and say whether there is another."""
        after = batch.read_to.get(run_id, self._shipped[run_id])
        try:
            page = instance.get_records_for_run(run_id, cursor=_cursor(after), limit=PAGE_LINES)
        except (DagsterEventLogInvalidForRun, SQLAlchemyError) as error:
            logger.error("cannot read the event log of run %s, going on with others: %s", run_id, error)  # noqa: TRY400
            self._unreadable.add(run_id)
            return False
        lines = [line_of(record) for record in page.records]
        if lines:
            batch.lines += lines
            batch.characters += sum(len(line["message"]) + len(line["stack"]) + len(line["data"]) for line in lines)
            batch.read_to[run_id] = lines[-1]["seq"]
        return bool(page.has_more)

    def _send(self, batch: _Shipment) -> int:
        if batch.lines:
            append_lines(self._clickhouse, _frame(batch.lines))
            self._shipped |= batch.read_to
        return len(batch.lines)

    def _seal(self, instance: dg.DagsterInstance, run_ids: Iterable[str]) -> None:
        """Seal the logs of runs that have ended some time ago; forget what is known of them, and of deleted runs."""
        now = time.monotonic()
        due = [run_id for run_id in run_ids if self._waiting[run_id] < now]
        records = [r for chunk in _chunks(due) for r in instance.get_run_records(dg.RunsFilter(run_ids=chunk))]
        found = {record.dagster_run.run_id: record for record in records}
        complete = {}
        for run_id in due:
            record = found.get(run_id)
            if record is None:  # deleted while its lines were on their way
                delete_run(self._clickhouse, run_id)
            elif record.dagster_run.is_finished:
                if record.end_time is not None and abs(time.time() - record.end_time) < GRACE_SECONDS:
                    self._waiting[run_id] = now + GRACE_SECONDS
                    continue
                if run_id not in self._unreadable:
                    complete[run_id] = self._shipped[run_id]
            self._unreadable.discard(run_id)
            del self._waiting[run_id], self._shipped[run_id]
        seal_logs(self._clickhouse, complete)


def ship_runs(
    instance: dg.DagsterInstance, clickhouse: ClickHouse, run_ids: Sequence[str], *, again: bool = False
) -> int:
    """Ship what is missing of some runs now, whoever else is shipping, and return the lines sent.

    Args:
        instance: whose event log it is.
        clickhouse: where the lines go.
        run_ids: of the runs.
        again: whether to send what has arrived, too.

    Raises:
        ClickHouseUnavailableError: if ClickHouse does not answer.
    """
    shipper = Shipper(clickhouse)
    if again:
        shipper._shipped = dict.fromkeys(run_ids, 0)  # noqa: SLF001 - its own module
    return sum(shipper._ship_runs(instance, chunk)[0] for chunk in _chunks(list(run_ids)))  # noqa: SLF001


def backlog(instance: dg.DagsterInstance, clickhouse: ClickHouse) -> Backlog:
    """Count what has not arrived yet.

    Raises:
        ClickHouseUnavailableError: if ClickHouse does not answer.
    """
    open_runs = _open_runs(instance, clickhouse, datetime.now(UTC))
    counted = open_runs[:COUNTED_RUNS]
    arrived = last_lines(clickhouse, counted)
    lines = 0
    written = []
    for run_id in counted:
        first = instance.get_records_for_run(run_id, cursor=_cursor(arrived.get(run_id, 0)), limit=1).records
        newest = instance.get_records_for_run(run_id, limit=1, ascending=False).records if first else ()
        if newest:
            lines += newest[0].storage_id - first[0].storage_id + 1
            written.append(first[0].timestamp)
    return Backlog(len(open_runs), lines, min(written, default=None))


def run_shipper(lab: Lab, stop: Stop) -> None:
    """Ship until told to stop; wait while another shipper is at work, and try again while ClickHouse is away."""
    with ClickHouse(_impatient(lab.clickhouse.config)) as clickhouse:
        _keep_shipping(lab, clickhouse, stop)


def _keep_shipping(lab: Lab, clickhouse: ClickHouse, stop: Stop) -> None:
    shipper, pause, away = Shipper(clickhouse), TICK_SECONDS, False
    while not stop.is_set():
        with shipping(lab.settings) as mine:
            while mine and not stop.is_set():
                try:
                    shipper.ship(lab.instance)
                except (ClickHouseError, SQLAlchemyError, OSError) as error:
                    if not away:
                        logger.warning("cannot ship now, trying again: %s", error)
                    away, pause = True, min(2 * pause, LONGEST_PAUSE_SECONDS)
                    shipper = Shipper(clickhouse)  # ClickHouse may come back with less than it had
                    stop.wait(pause)
                    continue
                if away:
                    logger.warning("shipping again")
                away, pause = False, TICK_SECONDS
                stop.wait(0 if shipper.behind else TICK_SECONDS)
        stop.wait(TICK_SECONDS)


@contextmanager
def shipping_beside(settings: Settings) -> Iterator[None]:
    """Ship meanwhile, in a thread; an error that nobody foresaw ends the process, as it would one of the shipper's."""
    stop = Event()

    def ship() -> None:
        try:
            with Lab(settings) as lab:
                run_shipper(lab, stop)
        except BaseException:
            logger.exception("the log shipper has failed")
            os.kill(os.getpid(), signal.SIGTERM)

    thread = Thread(target=ship, name="log-shipper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOPPED_WITHIN_SECONDS)


def _impatient(config: ClickHouseConfig) -> ClickHouseConfig:
    """Return the configuration of a shipper, which gives a write up soon because it will come again."""
    return replace(config, write_deadline_seconds=min(config.write_deadline_seconds, LONGEST_PAUSE_SECONDS))


@contextmanager
def shipping(settings: Settings) -> Iterator[bool]:
    """Be the one shipper of this home; yields False if there is another."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)  # Dagster's home may be another, as on Kubernetes
    with (settings.dagster_home / LOCK).open("a") as lock:
        yield try_lock(lock)


def _state(instance: dg.DagsterInstance) -> tuple[int, ...] | None:
    storage = instance.run_storage
    return storage.state() if isinstance(storage, DuckDBRunStorage) else None


def _frame(lines: list[dict[str, Any]]) -> pl.DataFrame:
    numbers = {"seq": pl.UInt64(), "timestamp": pl.Int64()}
    schema = {name: numbers.get(name, kind) for name, kind in LOG_LINES.items()}
    return pl.DataFrame(lines, schema=schema).with_columns(pl.col("timestamp").cast(LOG_LINES["timestamp"]))


def _open_runs(instance: dg.DagsterInstance, clickhouse: ClickHouse, now: datetime) -> list[str]:
    """Find the runs whose logs may have lines that have not arrived.

    A seal tells what was known when it was put. Dagster adds to a log later, when it repeats a run whose process died,
    which may be long after its end if the daemon was down; and the shipper that sealed the log may be gone by then.
    """
    sealed = sealed_runs(clickhouse)
    found = [run_id for run_id in instance.get_run_ids(_not_outdated(clickhouse.config, now)) if run_id not in sealed]
    if sealed:
        alive = min(max(sealed.values()), now)  # a shipper was: it saw what was updated long before
        lately = dg.RunsFilter(updated_after=alive - SEEN_BY_ANY, updated_before=now + OVERLAP)
        found += [
            run_id
            for record in instance.get_run_records(lately)
            if (run_id := record.dagster_run.run_id) in sealed and record.update_timestamp > sealed[run_id] - OVERLAP
        ]
    return found


def _not_outdated(config: ClickHouseConfig, now: datetime) -> dg.RunsFilter | None:
    """Find the runs whose lines ClickHouse would not drop at once for their age."""
    days = config.retention_days
    return None if days is None else dg.RunsFilter(updated_after=now - timedelta(days=days))


def _updated_since(looked: datetime, looked_count: float, now: datetime, count: float) -> dg.RunsFilter:
    """Find the runs that were updated since a look, whether the clock was put ahead or back meanwhile, or not at all.

    Runs dated later than it is now, by a clock that was ahead, are none of them: else every look would find them.
    """
    passed = timedelta(seconds=count - looked_count)
    return dg.RunsFilter(
        updated_after=min(looked, now - passed) - OVERLAP, updated_before=max(looked + passed, now) + OVERLAP
    )


def _cursor(seq: int) -> str:
    return str(EventLogCursor.from_storage_id(seq))


def _chunks(run_ids: list[str], size: int = 50) -> list[list[str]]:
    return [run_ids[first : first + size] for first in range(0, len(run_ids), size)]
