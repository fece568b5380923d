"""Schedules and sensors that were evaluated at a time which the clock, put back since, has yet to come to.

Dagster evaluates a schedule after its newest tick only, and a sensor so long after its last one. A clock that was
ahead by a year and is right again would leave them all alone for a year.
"""

import zlib
from datetime import datetime

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._core.storage.schedules.sql_schedule_storage import SqlScheduleStorage
from dagster._daemon.asset_daemon import asset_daemon_cursor_from_instigator_serialized_cursor
from dagster._time import datetime_from_timestamp
from dagster_shared.serdes.errors import DeserializationError

from lab_pipeline.domain.errors import LabError

SENSOR_TIMES = (
    "last_tick_timestamp",
    "last_tick_start_timestamp",
    "last_sensor_start_timestamp",
    "last_tick_success_timestamp",
)
AHEAD_SECONDS = 30.0
"""Clocks of several hosts differ by less, and a schedule may well wait so long."""


def ahead(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Name the schedules and sensors that were evaluated later than it is now, sorted.

    Args:
        instance: whose daemon evaluates them.
        now: the clock's time.
    """
    until = now.timestamp() + AHEAD_SECONDS
    return sorted(
        state.instigator_name for state in instance.all_instigator_state() if _is_ahead(instance, state, until)
    )


def rewind(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Let schedules and sensors go on from what they did up to now, and return the names of those that were ahead.

    The ticks that are yet to come are forgotten, their runs are not: a schedule that comes to such a time again finds
    the runs that it made. Call it while no daemon runs, which has times of its own in memory.

    Raises:
        LabError: if ticks are kept where they cannot be deleted.
    """
    until = now.timestamp() + AHEAD_SECONDS
    rewound = [state for state in instance.all_instigator_state() if _is_ahead(instance, state, until)]
    for state in rewound:
        data = state.instigator_data
        if isinstance(data, SensorInstigatorData):
            _keep_newest(instance, state, now.timestamp(), until)
        _forget_ticks(instance, state, until)
        if isinstance(data, ScheduleInstigatorData):
            state = state.with_data(_schedule_data(data, now.timestamp(), until))  # noqa: PLW2901 - the same, changed
        elif isinstance(data, SensorInstigatorData):
            late = {name: now.timestamp() for name in SENSOR_TIMES if (getattr(data, name) or 0.0) > until}
            state = state.with_data(data._replace(**late))  # type: ignore[arg-type]  # noqa: PLW2901 - times are floats
        instance.update_instigator_state(state)
    return sorted(state.instigator_name for state in rewound)


def clear_unreadable(instance: dg.DagsterInstance) -> list[str]:
    """Clear the cursors of automation that Dagster cannot read, and return the names of their sensors.

    It evaluates these sensors itself, and fails to at every tick while anybody's text stands in their cursor.
    """
    cleared = []
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        data = state.instigator_data
        if (
            isinstance(data, SensorInstigatorData)
            and data.sensor_type is SensorType.AUTO_MATERIALIZE
            and data.cursor
            and not _is_readable(data.cursor)
        ):
            instance.update_instigator_state(state.with_data(data._replace(cursor=None)))
            cleared.append(state.instigator_name)
    return sorted(cleared)


def _is_readable(cursor: str) -> bool:
    try:
        asset_daemon_cursor_from_instigator_serialized_cursor(cursor, asset_graph=None)
    except (dg.DagsterError, DeserializationError, ValueError, TypeError, KeyError, RecursionError, zlib.error):
        return False
    return True


def _is_ahead(instance: dg.DagsterInstance, state: InstigatorState, until: float) -> bool:
    return any(time > until for time in _times(state)) or bool(
        instance.get_ticks(state.instigator_origin_id, state.selector_id, after=until, limit=1)
    )


def _times(state: InstigatorState) -> list[float]:
    data = state.instigator_data
    if isinstance(data, ScheduleInstigatorData):
        return [time for time in (data.start_timestamp, data.last_iteration_timestamp) if time]
    if isinstance(data, SensorInstigatorData):
        return [time for name in SENSOR_TIMES if (time := getattr(data, name))]
    return []


def _schedule_data(data: ScheduleInstigatorData, now: float, until: float) -> ScheduleInstigatorData:
    """Go on after the newest tick that is left, so that one that was missed meanwhile is made up for."""
    started = data.start_timestamp if data.start_timestamp is None or data.start_timestamp <= until else now
    looked = data.last_iteration_timestamp
    return ScheduleInstigatorData(
        data.cron_schedule, started, looked if looked is not None and looked <= until else None
    )


def _keep_newest(instance: dg.DagsterInstance, state: InstigatorState, now: float, until: float) -> None:
    """Keep the newest tick of a sensor: if it was interrupted or failed, the daemon asks for the runs that it left."""
    for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, after=until, limit=1):
        instance.update_tick(tick._replace(tick_data=tick.tick_data._replace(timestamp=now)))


def _forget_ticks(instance: dg.DagsterInstance, state: InstigatorState, until: float) -> None:
    storage = instance.schedule_storage
    if not isinstance(storage, SqlScheduleStorage):
        raise LabError(f"the ticks of this lab are kept in {type(storage).__name__}, which answers no SQL")
    with storage.connect() as connection:
        connection.execute(
            JobTickTable.delete().where(
                JobTickTable.c.selector_id == state.selector_id,
                JobTickTable.c.timestamp > datetime_from_timestamp(until),
            )
        )
