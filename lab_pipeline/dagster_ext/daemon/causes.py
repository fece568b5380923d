"""What sensors wait for, and whether it has stirred lately, looked at from outside: a few stats and numbers."""

import os
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from lab_pipeline.dagster_ext.daemon.internals import RemoteSensor
from lab_pipeline.dagster_ext.internals import NOT_FINISHED_STATUSES, TickStatus
from lab_pipeline.dagster_ext.sensor_causes import CALLS, FILES, RUNS, WAITS_FOR
from lab_pipeline.settings import Settings
from lab_pipeline.storage.internals import InstigatorState, RunsTable, SensorInstigatorData, SqlRunStorage

LINGER_SECONDS = 120.0
"""For which sensors tick as often as they ask for after something stirred: longer than any leaves work for later."""
LONGEST_PAUSE_SECONDS = 300.0
"""After which a sensor ticks though nothing stirred, in case something did that cannot be seen from outside."""
ALWAYS = object()
"""A fingerprint that differs from every other."""
PUT_AWAY, TAKEN, LOG = ("done", "rejected"), ".taken", "calls/_delta_log"
"""Names that `lab_pipeline.lake` gives: it is too heavy for a process that only looks."""


class Causes:
    """Tells which sensors have something to look at.

    A sensor of the lab names what it waits for in a tag (`WAITS_FOR`). One that does not, such as of another code
    location, ticks as often as it asks for.
    """

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self._instance = instance
        self._things = {
            FILES: _Thing(lambda: _files_now(settings.inbox_dir)),
            CALLS: _Thing(lambda: _calls_now(settings.lake_root)),
            RUNS: _Thing(lambda: _runs_now(instance)),
        }
        self._ticked: dict[str, _Ticked] = {}

    def has_any(self, sensor: RemoteSensor, state: InstigatorState | None) -> bool:
        """Return whether a sensor that is due is to tick, and take note of its tick if so.

        Beside what it waits for, a sensor has cause to tick if its last tick failed or was cut off, if somebody
        switched it on or set its cursor since, and after a while in any case.
        """
        thing = self._things.get(sensor.tags.get(WAITS_FOR, ""))
        now, looks_like = time.monotonic(), _looks_like(state)
        last = self._ticked.get(sensor.selector_id)
        is_stirred = thing is None or thing.is_stirred(now)
        if (
            not is_stirred
            and last is not None
            and last.state == looks_like
            and now - last.at < LONGEST_PAUSE_SECONDS
            and not self._failed(sensor, state)
        ):
            return False
        self._ticked[sensor.selector_id] = _Ticked(now, looks_like)
        return True

    def _failed(self, sensor: RemoteSensor, state: InstigatorState | None) -> bool:
        if state is None or not isinstance(state.instigator_data, SensorInstigatorData):
            return True
        if not sensor.sensor_type.is_handled_by_asset_daemon:
            return not state.instigator_data.last_tick_success_timestamp
        ticks = self._instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        return not ticks or ticks[0].status in {TickStatus.FAILURE, TickStatus.STARTED}


@dataclass(frozen=True)
class _Ticked:
    """When a sensor last ticked, and what its state was before."""

    at: float
    state: Hashable


@dataclass
class _Thing:
    """Something that sensors wait for: stirred if it looks different from before, and for a while after that.

    Attributes:
        look: returns what it looks like now, `ALWAYS` if it is stirred however it looks.
    """

    look: Callable[[], Hashable]
    seen: Hashable = None
    looked_at: float = field(default=float("-inf"))
    stirred_at: float = field(default=float("-inf"))

    def is_stirred(self, now: float) -> bool:
        if now - self.looked_at > 1.0:  # else another sensor of the same round has looked
            self.looked_at, looks = now, self.look()
            if looks is ALWAYS or looks != self.seen:
                self.seen, self.stirred_at = looks, now
        return now - self.stirred_at < LINGER_SECONDS


def _looks_like(state: InstigatorState | None) -> Hashable:
    if state is None or not isinstance(state.instigator_data, SensorInstigatorData):
        return None
    return state.status, state.instigator_data.cursor, state.instigator_data.last_sensor_start_timestamp


def _files_now(inbox: Path) -> Hashable:
    """Look at an inbox: it stirs for as long as anything in it is not put away, or cannot be looked at."""
    unseen: list[OSError] = []
    for parent, names, files in os.walk(inbox, onerror=unseen.append):
        if parent == str(inbox):
            names[:] = [name for name in names if name not in PUT_AWAY]
        names[:] = [name for name in names if name == TAKEN or not name.startswith(".")]
        if any(not name.startswith(".") for name in files):
            return ALWAYS
    return ALWAYS if any(not isinstance(error, FileNotFoundError) for error in unseen) else None


def _calls_now(lake: Path | str) -> Hashable:
    """Look at a lake: every commit of calls adds a record to their log; a bucket cannot be looked at from here."""
    if isinstance(lake, str):
        return ALWAYS
    try:
        found = (lake / LOG).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns


def _runs_now(instance: dg.DagsterInstance) -> Hashable:
    """Look at the record of runs and at the events of all: they stir for as long as a run is not at its end."""
    storage = instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        return ALWAYS
    unfinished = RunsTable.c.status.in_([status.value for status in NOT_FINISHED_STATUSES])
    row = storage.fetchone(
        sa.select(
            sa.func.count().label("runs"),
            sa.func.max(RunsTable.c.update_timestamp).label("updated"),
            sa.func.sum(sa.case((unfinished, 1), else_=0)).label("unfinished"),
        )
    )
    if row is None or row["unfinished"]:
        return ALWAYS
    return row["runs"], row["updated"], instance.event_log_storage.get_maximum_record_id()
